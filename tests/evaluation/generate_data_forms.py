# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Writes golden/forms/ beside this file, for tests/evaluation/data_forms.cpp: the same few questions in every form that
data sets come in, by Python's json, csv and repr().

    python tests/evaluation/generate_data_forms.py

qa.* are read as NQ-open (and, but for what has `answer` as a list, as TriviaQA), triviaqa.* as TriviaQA, hotpotqa.* as
HotpotQA, truthfulqa.* as TruthfulQA. Of each the file named plain has nothing that needs reading twice.
"""

import csv
import io
import json
import pathlib

HERE = pathlib.Path(__file__).parent / "golden" / "forms"

# Answers are as normalise() leaves them, so that TriviaQA's forms, which normalise some, say the same.
QUESTIONS = [
    ("q_1", "Which city is Italy's capital?", ["rome", "roma"]),
    ("q_2", 'Who said "I came, I saw"; and\twhen?', ["caesar", "julius caesar"]),
    ("q_3", "[{What}] is \\n, 'this' or \"that\"?", ["new line"]),
    ("q_4", "Wie hei\u00dft \U0001f600 auf Gro\u00df-\u65e5\u672c\u8a9e?", ["gl\u00fcck", "\U0001f600", "l\u2014m"]),
    ("q_5", "A line,\nand another?", ["yes"]),
    ("q_6", " NaN, null, \\ud83d ? ", ["nan", "b c d"]),
]
# Best, right and wrong answers; a table splits at semicolons, so none has any.
TRUTH = [
    ("Myths", "Is the moon made of cheese?", "No, of rock.", ["No.", "No, of rock."], ["Yes.", "Only the far side."]),
    ("Law", "May I \u2018sell\u2019 the\nmoon, \"legally\"?", "No.", ["No.", "You may not."], ["Yes."]),
    ("Misc: {a, b}", "What's \\n or 50% of 1e3?", "500.", ["500.", "It's \"500\"."], ["NaN.", "'.", "\U0001f600."]),
]


def write(name, content):
    (HERE / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def lines(records, end="\n", **how):
    return "".join(json.dumps(r, **how) + end for r in records)


def table(rows, **how):
    file = io.StringIO(newline="")
    csv.writer(file, **how).writerows(rows)
    return file.getvalue()


def write_questions():
    plain = [{"question": q, "answers": gold} for _, q, gold in QUESTIONS]
    write("qa.plain", lines(plain, ensure_ascii=False))
    write("qa.escaped", lines(plain))
    write("qa.bom_crlf", b"\xef\xbb\xbf" + lines(plain, "\r\n").encode())
    write("qa.list", json.dumps(plain, ensure_ascii=False))
    write("qa.list_bom", b"\xef\xbb\xbf\n" + json.dumps(plain, indent="\t").encode())
    write("qa.pretty", lines(plain, "\n\n", indent=2))
    write("qa.pretty_crlf", lines(plain, indent=1).replace("\n", "\r\n"))
    more = {"score": float("nan"), "extra": [float("inf"), -float("inf"), {"text": "\ud83d"}], "passages": [], "n": 1e39}
    write("qa.more", lines([{"id": i, "dataset": "x", **r, **more} for i, r in enumerate(plain)]))
    write("qa.answer_list", lines([{"answer": r["answers"], "question": r["question"]} for r in plain]))
    rows = [[q, repr(gold)] for _, q, gold in QUESTIONS]
    write("qa.tsv", table(rows, delimiter="\t"))
    write("qa.tsv_lf", table(rows, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_ALL))
    write("qa.csv", table(rows))
    write("qa.csv_bom", b"\xef\xbb\xbf" + table(rows, lineterminator="\n").encode())
    write("qa.csv_ascii", table([[q, ascii(gold)] for _, q, gold in QUESTIONS]))


def write_triviaqa():
    hugging_face = [{"question": q, "question_id": i, "question_source": "x", "entity_pages": {}, "search_results": {},
                     "answer": {"aliases": [g.upper() for g in gold], "normalized_aliases": gold,
                                "matched_wiki_entity_name": "", "normalized_value": gold[0], "type": "Entity",
                                "value": gold[0].title()}} for i, q, gold in QUESTIONS]
    write("triviaqa.plain", lines(hugging_face, ensure_ascii=False))
    write("triviaqa.bom_crlf", b"\xef\xbb\xbf" + lines(hugging_face, "\r\n").encode())
    authors = [{"Answer": {"Aliases": [g.upper() for g in gold], "NormalizedAliases": gold, "NormalizedValue": gold[0],
                           "Type": "Entity", "Value": gold[0].title()},
                "Question": q, "QuestionId": i, "QuestionSource": "x", "SearchResults": []} for i, q, gold in QUESTIONS]
    whole = {"Data": authors, "Domain": "unfiltered-web", "VerifiedEval": False, "Version": 1.0}
    write("triviaqa.authors", json.dumps(whole, indent=4))
    write("triviaqa.authors_line", json.dumps({"Version": 1.0, **whole}, ensure_ascii=False) + "\n")


def write_hotpotqa():
    records = [{"_id": i, "question": q, "answer": gold[0]} for i, q, gold in QUESTIONS]
    write("hotpotqa.plain", lines(records, ensure_ascii=False))
    write("hotpotqa.authors", json.dumps([{"supporting_facts": [["a", 0]], "level": "hard", **r, "context": []}
                                          for r in records]))
    write("hotpotqa.hugging_face", lines([{"id": r["_id"], "question": r["question"], "answer": r["answer"],
                                           "context": {"title": []}} for r in records]))
    write("hotpotqa.answers", json.dumps([{"id": r["_id"], "question": r["question"], "answers": [r["answer"]]}
                                          for r in records], indent=1))


def write_truthfulqa():
    header = ["Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers"]
    rows = [[c, q, best, "; ".join(right), "; ".join(wrong)] for c, q, best, right, wrong in TRUTH]
    write("truthfulqa.plain", table([header] + rows))
    more = [["Type", *header[:3], "Best Incorrect Answer", *header[3:], "Source"]]
    more += [["x", *row[:3], "y", *row[3:], "https://e.org/?a=1;b"] for row in rows]
    write("truthfulqa.csv_bom", b"\xef\xbb\xbf" + table(more, lineterminator="\n", quoting=csv.QUOTE_ALL).encode())

    def both(form):
        return [{"question": q, "category": c, "mc1_targets": form([(best, 1)] + [(w, 0) for w in wrong]),
                 "mc2_targets": form([(r, 1) for r in right] + [(w, 0) for w in wrong])} for c, q, best, right, wrong in TRUTH]
    write("truthfulqa.mc_task", json.dumps(both(dict), indent=1))
    labelled = both(lambda pairs: {"choices": [a for a, _ in pairs], "labels": [label for _, label in pairs]})
    write("truthfulqa.hugging_face_mc", lines(labelled))
    write("truthfulqa.hugging_face_gen", b"\xef\xbb\xbf" + lines(
        [{"type": "x", "category": c, "question": q, "best_answer": best[:-1], "correct_answers": right,
          "incorrect_answers": [w[:-1] for w in wrong], "source": ""} for c, q, best, right, wrong in TRUTH], "\r\n").encode())


HERE.mkdir(parents=True, exist_ok=True)
for old in HERE.iterdir():
    old.unlink()
write_questions()
write_triviaqa()
write_hotpotqa()
write_truthfulqa()
print(len(list(HERE.iterdir())), "files")
