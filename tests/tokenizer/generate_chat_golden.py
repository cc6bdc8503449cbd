# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Writes chat_shapes.json and chat_formats.json in tests/tokenizer/golden: chat templates, and what Jinja2 renders.

    pip install jinja2==3.1.6
    pip download --no-deps --no-binary :all: llama-cpp-python==0.3.16
    python tests/tokenizer/generate_chat_golden.py FOLDER tests/tokenizer/golden

FOLDER is vendor/llama.cpp of that package: its models/templates has models' templates in files, and others stand in
tests/test-chat-template.cpp. Those of Gemma 3 and Phi-4-mini are here. The environment is
that of transformers (sandbox, trim_blocks, lstrip_blocks, strftime_now, raise_exception). Each template has a name,
the words that it is rendered with, whether it must be recognised, and per conversation and generation prompt the text,
null where Jinja raises. The templates called "changed" differ from known ones by one piece, at random: they may be
recognised only if they are rendered alike.
"""

import ast
import datetime
import json
import random
import re
import sys

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

TODAY = datetime.date(2026, 3, 7)
BODY = "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
OPEN = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
FIRST = "{% if loop.first and messages[0]['role'] != 'system' %}{{ SYSTEM }}{% endif %}"
VARIABLE = "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = SYSTEM %}{% endif %}"
LLAMA3 = "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
LLAMA2 = "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
VICUNA = "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% set rest = messages[1:] %}{% else %}{{ SYSTEM }}{% set rest = messages %}{% endif %}{{ ' ' }}{% for m in rest %}{% if m['role'] == 'user' %}{{ 'USER: ' + m['content'] + ' ' }}{% else %}{{ 'ASSISTANT: ' + m['content'] + eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"


def loop(body, messages="messages"):
    return "{% for message in " + messages + " %}" + body + "{% endfor %}"


def known(folder):
    read = lambda name: open(folder + "/models/templates/" + name + ".jinja", encoding="utf-8").read()
    trimmed = BODY.replace("message['content']", "message['content'] | trim")
    in_turn = "{% if loop.index0 == 0 %}{{'<|im_start|>system\\n' + system_message + '<|im_end|>\\n'}}{% endif %}"
    defined = "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    return {
        "chatml": loop(BODY) + OPEN,
        "chatml, asked for a definition": defined + loop(BODY) + OPEN,
        "chatml, trimmed": loop(trimmed) + OPEN,
        "chatml, text outside of expressions": "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        "chatml, in lines": "{%- for message in messages %}\n    {{- \"<|im_start|>\" + message.role + \"\\n\" + message.content + \"<|im_end|>\\n\" }}\n{%- endfor %}\n{# The answer. #}\n{%- if add_generation_prompt %}\n    {{- \"<|im_start|>assistant\\n\" }}\n{%- endif %}\n",
        "chatml, default": loop(FIRST.replace("SYSTEM", "'<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n'") + BODY) + OPEN,
        "chatml, default, trimmed": loop(FIRST.replace("SYSTEM", "'<|im_start|>system\\n You are it. <|im_end|>\\n'") + trimmed) + OPEN,
        "chatml, empty default": loop(FIRST.replace("SYSTEM", "'<|im_start|>system\\n<|im_end|>\\n'") + BODY) + OPEN,
        "chatml, default with an apostrophe": loop(FIRST.replace("SYSTEM", "'<|im_start|>system\\nYou\\'re an \"assistant\".\\n{Don\\'t} fail.<|im_end|>\\n'") + BODY) + OPEN,
        "chatml, default with an apostrophe in quotation marks": loop(FIRST.replace("SYSTEM", "\"<|im_start|>system\\nYou're it, größer.<|im_end|>\\n\"") + BODY) + OPEN,
        "chatml, default in a variable": VARIABLE.replace("SYSTEM", "'You are a helpful assistant.'") + loop(in_turn + BODY, "loop_messages") + OPEN,
        "chatml, default in a variable, asked for a definition": VARIABLE.replace("SYSTEM", "\"You're it.\"") + defined + loop(in_turn + BODY, "loop_messages") + OPEN,
        "llama-2": LLAMA2,
        "llama-3": LLAMA3 + "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        "llama-3, always open": LLAMA3 + "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}",
        "llama-3.1": read("meta-llama-Llama-3.1-8B-Instruct"),
        "llama-3.2": read("meta-llama-Llama-3.2-3B-Instruct"),
        "vicuna": VICUNA.replace("SYSTEM", "\"A chat with an assistant who isn't curious.\""),
    }


def unknown(folder):
    read = lambda name: open(folder + "/models/templates/" + name + ".jinja", encoding="utf-8").read()
    return {
        "qwq": read("Qwen-QwQ-32B"),
        "mistral small 3.2": read("Mistral-Small-3.2-24B-Instruct-2506"),
        "functions": read("meetkai-functionary-medium-v3.1"),
        "alpaca": "{% for m in messages %}{{ '### Instruction:\n' + m['content'] + '\n\n' }}{% endfor %}{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}",
        "vicuna, no default": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ 'USER: ' + m['content'] + '\n' }}{% elif m['role'] == 'assistant' %}{{ 'ASSISTANT: ' + m['content'] + eos_token + '\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
        "chatml, the last turn open": loop("{{'<|im_start|>' + message['role'] + '\\n' + message['content']}}{% if not loop.last %}{{ '<|im_end|>\\n' }}{% endif %}") + OPEN,
        "chatml, raw": "{% raw %}" + loop(BODY) + "{% endraw %}" + OPEN,
    }


GEMMA3 = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '

' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '

' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '
' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
"""
PHI4_MINI = "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and message['tools'] is not none %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"


def formats(folder):
    """Templates of models whose formats are built in, and the BOS and EOS that go with them."""
    read = lambda name: open(folder + "/models/templates/" + name + ".jinja", encoding="utf-8").read()
    tested = open(folder + "/tests/test-chat-template.cpp", encoding="utf-8").read()

    def of_test(name):
        # C++'s escapes in these are Python's.
        return ast.literal_eval(re.search(r'name= \*/ "' + re.escape(name) + r'.*?template_str= \*/ (".*?[^\\]"),\n', tested, re.S)[1])

    s, phi = ("<s>", "</s>"), ("<s>", "<|endoftext|>")
    qwen = read("Qwen-Qwen2.5-7B-Instruct")
    old = of_test("mistralai/Mistral-7B-Instruct-v0.2 (NOTE")
    zephyr = "".join("{% " + ("el" if role != "user" else "") + "if message['role'] == '" + role + "' %}\n{{ '<|" + role + "|>\n' + message['content'] + eos_token }}\n" for role in ("user", "system", "assistant"))
    return {
        "zephyr": (loop("\n" + zephyr + "{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n"), s),
        "mistral, v0.1": (old.replace("message['content'] + eos_token", "message['content'] + eos_token + ' ' "), s),
        "mistral, v0.2": (old, s),
        "mistral, v1": (of_test("mistralai/Mistral-7B-Instruct-v0.2 (mistralai 'v1'"), s),
        "mistral, v3": (of_test("Mistral-Large-Instruct-2407"), s),
        "mistral, tekken": (read("mistralai-Mistral-Nemo-Instruct-2407"), s),
        "mistral, v7": (of_test("mistralai/Mistral-Large-Instruct-2411"), s),
        "gemma 1": (of_test("google/gemma-7b-it"), ("<bos>", "<eos>")),
        "gemma 2": (read("google-gemma-2-2b-it"), ("<bos>", "<eos>")),
        "gemma 3": (GEMMA3, ("<bos>", "<eos>")),
        "phi-3-mini": (of_test("Phi-3-mini"), phi),
        "phi-3-small": (of_test("Phi-3-small"), phi),
        "phi-3-medium": (of_test("Phi-3-medium"), phi),
        "phi-3.5-mini": (read("microsoft-Phi-3.5-mini-instruct"), phi),
        "phi-4-mini": (PHI4_MINI, ("<|endoftext|>", "<|endoftext|>")),
        "granite 3.0": (of_test("ibm-granite/granite-3.0-8b-instruct"), ("<|end_of_text|>", "<|end_of_text|>")),
        "granite 3.3": (read("ibm-granite-granite-3.3-2B-Instruct"), ("<|end_of_text|>", "<|end_of_text|>")),
        "deepseek-r1": (read("deepseek-ai-DeepSeek-R1-Distill-Llama-8B"), ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")),
        "qwen 2.5": (qwen, ("", "<|im_end|>")),
        "llama-3.1": (read("meta-llama-Llama-3.1-8B-Instruct"), ("<|begin_of_text|>", "<|eot_id|>")),
        "llama-3.2": (read("meta-llama-Llama-3.2-3B-Instruct"), ("<|begin_of_text|>", "<|eot_id|>")),
        # As Qwen2.5-Coder-1.5B-Instruct's GGUF has it.
        "qwen 2.5, coder": (qwen.replace('{\\"name', '{{\\"name').replace("<args-json-object>}", "<args-json-object>}}"), ("", "<|im_end|>")),
    }


def change(r, template):
    pieces = re.findall(r"'[^']*'|\"[^\"]*\"|\w+|\{%-?|-?%\}|\{\{-?|-?\}\}|\s+|.", template, re.S)
    i = r.randrange(len(pieces))
    piece = pieces[i]
    choices = [[], [piece, piece], ["\n", piece], [" ", piece], [piece[:1] + "x" + piece[1:]], [piece + "-" if piece in ("{%", "{{") else "-" + piece if piece in ("%}", "}}") else piece[::-1]], ["'user'"], ["{#- x #}", piece]]
    return "".join(pieces[:i] + r.choice(choices) + pieces[i + 1:])


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def main(folder, golden):
    user = {"role": "user", "content": "  What is the capital of France?\n"}
    answer = {"role": "assistant", "content": "\u3000Paris. "}
    system = {"role": "system", "content": " Be brief."}
    empty = lambda role: {"role": role, "content": ""}
    padded = lambda role: {"role": role, "content": "\n \t\u00a0\x1f"}
    conversations = [[user], [system, user], [user, answer, user], [system, user, answer, user, answer], [system],
                     [empty("user")], [empty("system"), empty("user"), empty("assistant")], [padded("system"), padded("user"), padded("assistant"), user], [user, user]]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.globals.update(raise_exception=raise_exception, strftime_now=TODAY.strftime)

    def row(name, template, must, words, conversations, **more):
        texts = []
        for messages in conversations:
            for prompt in (True, False):
                try:
                    text = environment.from_string(template).render(messages=messages, add_generation_prompt=prompt, bos_token=words[0], eos_token=words[1], **more)
                except Exception:
                    text = None
                texts.append(text)
        return {"name": name, "template": template, "known": must, "bos": words[0], "eos": words[1], "texts": texts}

    words = lambda name: ("<|begin_of_text|>", "<|eot_id|>") if name.startswith("llama-3") else ("<s>", "</s>")
    rows = [row(n, t, True, words(n), conversations) for n, t in known(folder).items()]
    rows += [row(n + ", other words", t, True, ("[B]", "[E]"), conversations) for n, t in known(folder).items() if n in ("llama-2", "llama-3", "vicuna")]
    rows += [row(n, t, False, words(n), []) for n, t in unknown(folder).items()]
    r = random.Random(11)
    short = [(n, t) for n, t in known(folder).items() if len(t) < 2000]
    changed = []
    while len(changed) < 200:
        name, template = r.choice(short)
        other = change(r, template)
        try:
            environment.from_string(other)
        except Exception:
            continue
        if other != template:
            changed.append(row("changed " + name, other, None, words(name), [conversations[1], conversations[7]]))
    with open(golden + "/chat_shapes.json", "w", encoding="utf-8") as f:
        head = {"jinja2": jinja2.__version__, "today": TODAY.isoformat(), "conversations": conversations}
        f.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "templates": [\n' + ",\n".join(json.dumps(x, ensure_ascii=False) for x in rows + changed) + "\n]}\n")

    thinks = {"role": "assistant", "content": "<think>\nParis?</think> Rome?</think>\n\nParis."}
    conversations += [[answer], [user, answer], [user, thinks, user], [system, user, user], [empty("system"), user], [system, system, user], [{"role": "tool", "content": "x"}]]
    rows = [row(n, t, True, words, conversations) for n, (t, words) in formats(folder).items()]
    # Where no date is to be had, and where one is given.
    dated = [n for n in formats(folder) if n in ("llama-3.1", "llama-3.2", "granite 3.3")]
    given = [row(n, *formats(folder)[n][:1], "date_string", formats(folder)[n][1], conversations[:2], date_string="1 April") for n in dated]
    del environment.globals["strftime_now"]
    without = [row(n, *formats(folder)[n][:1], "no date", formats(folder)[n][1], conversations[:2]) for n in dated]
    with open(golden + "/chat_formats.json", "w", encoding="utf-8") as f:
        head = {"jinja2": jinja2.__version__, "today": TODAY.isoformat(), "conversations": conversations}
        f.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "templates": [\n' + ",\n".join(json.dumps(x, ensure_ascii=False) for x in rows + given + without) + "\n]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
