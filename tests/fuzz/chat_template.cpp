// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/tokenizer/chat_template.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "activation_trace/tokenizer/tokenizer_gguf.hpp"
#include "fuzz/inputs.hpp"

using namespace activation_trace;

namespace {

/// A token a byte and the marks of the formats as control tokens.
const Tokenizer& byte_tokenizer() {
  static const Tokenizer tokenizer = [] {
    std::vector<std::string> tokens{"<unk>"};
    std::vector<int> types{2};
    const auto add = [&](const std::string& text, int type) {
      tokens.push_back(text);
      types.push_back(type);
    };
    for (const char* mark : {"<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>", "<|end|>",
                             "<|start_header_id|>", "<|end_header_id|>", "<start_of_turn>", "<end_of_turn>", "<|user|>",
                             "<|assistant|>", "<|system|>", "[INST]", "[/INST]"})
      add(mark, 3);
    constexpr const char* digits = "0123456789ABCDEF";
    for (unsigned b = 0; b < 256; ++b) add({'<', '0', 'x', digits[b / 16], digits[b % 16], '>'}, 6);
    test::GgufBuilder builder;
    builder.value("tokenizer.ggml.model", "llama")
        .value("tokenizer.ggml.add_bos_token", false)
        .array("tokenizer.ggml.tokens", tokens);
    builder.array("tokenizer.ggml.scores", std::vector<float>(tokens.size())).array("tokenizer.ggml.token_type", types);
    return read_tokenizer(GgufFile::parse(builder.bytes(), "bytes.gguf"));
  }();
  return tokenizer;
}

std::ptrdiff_t count_marks(const std::vector<TokenId>& ids) {
  return std::count_if(ids.begin(), ids.end(), [](TokenId id) { return byte_tokenizer().is_control(id); });
}

}  // namespace

// A template, and between lines of "----" messages, each with its role as a first line. What is said to be contents is
// a part of a message each, in order, and whatever the messages say, the control tokens are those that the template
// wrote.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parts = test::input_parts(test::text_of_input(data, size));
  const ChatTemplate chat = ChatTemplate::recognise(parts.front());
  std::vector<ChatMessage> messages;
  for (const std::string_view part : std::span(parts).subspan(1)) {
    const std::size_t line = std::min(part.find('\n'), part.size());
    messages.push_back({std::string(part.substr(0, line)), std::string(part.substr(std::min(line + 1, part.size())))});
    messages.back().content = replace_ill_formed(messages.back().content);
  }
  for (const auto prompt : {GenerationPrompt::add, GenerationPrompt::none}) try {
      const ChatText text = chat.render_parts(messages, prompt);
      std::ptrdiff_t written = 0;
      std::size_t end = 0;
      const auto add = [&](std::size_t to) {
        const std::string_view own = std::string_view(text.text).substr(end, to - end);
        written += count_marks(byte_tokenizer().encode(own, SpecialTokens::parse));
      };
      for (const TextRange& range : text.contents) {
        if (range.begin < end || range.end <= range.begin || range.end > text.text.size()) std::abort();
        const std::string said = text.text.substr(range.begin, range.end - range.begin);
        const auto says = [&](const ChatMessage& m) { return m.content.find(said) != std::string::npos; };
        if (std::none_of(messages.begin(), messages.end(), says)) std::abort();
        add(range.begin);
        end = range.end;
      }
      add(text.text.size());
      if (count_marks(encode_chat(chat, messages, byte_tokenizer(), prompt)) != written) std::abort();
    } catch (const ArgumentError&) {
    }
  return 0;
}
