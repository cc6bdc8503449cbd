// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/evaluation/data_sets.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "activation_trace/evaluation/prompts.hpp"
#include "support/file_builders.hpp"

using namespace activation_trace;
using Strings = std::vector<std::string>;

namespace {

class File {
 public:
  explicit File(std::string_view content) : path_(folder_ / "data") { test::write_file(path_, content); }
  operator const std::filesystem::path&() const { return path_; }

 private:
  test::TemporaryFolder folder_;
  std::filesystem::path path_;
};

/// What `read` complains about, after the file's name.
template <class Read>
std::string complaint(Read read, std::string_view content) {
  const File file(content);
  try {
    read(file);
  } catch (const FormatError& error) {
    const std::string text = error.what();
    const std::string name = static_cast<const std::filesystem::path&>(file).string() + ": ";
    REQUIRE(text.starts_with(name));
    return text.substr(name.size());
  }
  return "accepted";
}

std::string golden(const std::string& name) {
  std::ifstream file(ACTIVATION_TRACE_TEST_DATA "/golden/" + name, std::ios::binary);
  REQUIRE_MESSAGE(file.good(), name);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("prompts, byte for byte") {
  CHECK(truthfulqa_prompt("Why?") == golden("truthfulqa_prompt.txt"));
  CHECK(knowledge_qa_prompt("Why?") == golden("knowledge_qa_prompt.txt"));
  CHECK(knowledge_qa_prompt("Why?", PromptStyle::zero_shot) == "Answer the following question concisely.\nQ:Why?\nA:");
  CHECK(knowledge_qa_answer(" Paris.\n\nQ: And?\nQ:") == "Paris.");
  CHECK(truthfulqa_answer(" Paris.\nQ: And? \nQ:") == "Paris.\nQ: And?");
  CHECK(truthfulqa_answer(" ") == "");
}

TEST_CASE("TriviaQA as lines of aliases and as Hugging Face's records") {
  const File lines(
      "Why?\t['it\\'s', \"d'a\", 'caf\\xe9\\u00e9', 'b\\\\']\r\n\"A \"\"quoted\"\"\tone?\"\t\"['x', "
      "\"\"y's\"\"]\"\r\n");
  const std::vector<QaQuestion> questions = read_triviaqa(lines);
  REQUIRE(questions.size() == 2);
  CHECK(questions[0].question == "Why?");
  CHECK(questions[0].gold == Strings{"it's", "d'a", "caf\u00e9\u00e9", "b\\"});
  CHECK(questions[1].question == "A \"quoted\"\tone?");
  CHECK(questions[1].gold == Strings{"x", "y's"});
  const File records(
      R"({"question_id": "tc_1", "question": "Why?", "answer": {"normalized_aliases": ["b c"], "normalized_value": "The B"}})"
      "\n\n"
      R"({"question": "How?", "answer": {"normalized_value": "d", "HumanAnswers": ["A dee"]}})");
  const std::vector<QaQuestion> published = read_triviaqa(records);
  REQUIRE(published.size() == 2);
  CHECK(published[0].id == "tc_1");
  CHECK(published[0].gold == Strings{"b c", "b"});
  CHECK(published[1].id == "1");
  CHECK(published[1].gold == Strings{"d", "dee"});

  CHECK(complaint(read_triviaqa, "Why?\t['a']\nHow?\n") ==
        "line 2: expected a question, a TAB and a list of answers, found 1 fields");
  for (const char* list : {"['a'", "['a',]", "[a]", "['\\q']", "['\\x4']", "['\\ud800']", "['a'] b", "['a\\"})
    CHECK(complaint(read_triviaqa, std::string("Why?\t") + list) ==
          "line 1: the answers are not a Python list of strings");
  CHECK(complaint(read_triviaqa, "Why?\t['a']\n \t['a']\n") == "line 2: the question is empty");
  CHECK(complaint(read_triviaqa, "Why?\t['a']\nHow?\t[]\n") == "line 2: there is no answer");
  CHECK(complaint(read_triviaqa, "Why?\t['', ' ']\n") == "line 1: there is no answer");
  CHECK(complaint(read_triviaqa, "{\"question\": \" \", \"answer\": {\"normalized_value\": \"a\"}}") ==
        "line 1: 'question' is empty");
  CHECK(complaint(read_triviaqa, "{\"question\": \"Why?\", \"answer\": {}}") == "line 1: there is no answer");
  CHECK(complaint(read_triviaqa, "{\"question\": \"Why?\", \"answer\": 1}") ==
        "line 1: expected 'answer' to be an object");
}

TEST_CASE("NQ-open and HotpotQA") {
  const File nq("{\"question\": \"who\", \"answer\": [\"a\", \"b\"]}\n");
  CHECK(read_nq_open(nq).at(0).gold == Strings{"a", "b"});
  const File hotpot(
      R"([{"question": "Who?", "answer": "yes", "type": "x"}, {"_id": "7", "question": "?", "answer": "no"}])");
  CHECK(read_hotpotqa(hotpot).at(0).gold == Strings{"yes"});
  CHECK(read_hotpotqa(hotpot).at(1).id == "7");
  CHECK(complaint(read_nq_open, "{\"question\": \"a\", \"answer\": [\"b\"]}\n\n{\"answer\": [\"b\"]}") ==
        "line 3: there is no 'question'");
  CHECK(complaint(read_nq_open, "{\"question\": 1, \"answer\": [\"b\"]}") ==
        "line 1: expected 'question' to be a string, found number");
  CHECK(complaint(read_nq_open, "{\"question\": \"a\", \"answer\": \"b\"}") ==
        "line 1: expected 'answer' to be a list");
  CHECK(complaint(read_nq_open, "{\"question\": \"a\", \"answer\": [1]}") ==
        "line 1: expected 'answer' to be a list of strings");
  CHECK(complaint(read_nq_open, "{\"question\": \"a\", \"answer\": []}") == "line 1: there is no 'answer'");
  CHECK(complaint(read_nq_open, "{\"question\": \"a\", \"answer\": [\"\"]}") == "line 1: there is no 'answer'");
  CHECK(complaint(read_nq_open,
                  "{\"question\": \"a\", \"answer\": [\"b\"]}\n{\"question\": \"\", \"answer\": [\"b\"]}") ==
        "line 2: 'question' is empty");
  CHECK(complaint(read_nq_open, "{\"question\": \"a\"} x").starts_with("line 1: at byte "));
  CHECK(complaint(read_nq_open, "{\"question\": \"\xff\"}").starts_with("line 1: at byte "));
  CHECK(complaint(read_nq_open, " \n ") == "holds no records");
  CHECK(complaint(read_hotpotqa, "[]") == "holds no records");
  CHECK(complaint(read_hotpotqa, R"([{"question": "a", "answer": "b"}, {"question": "\n", "answer": "b"}])") ==
        "record 1: 'question' is empty");
  CHECK(complaint(read_hotpotqa, R"([{"question": "a", "answer": " "}])") == "record 0: 'answer' is empty");
  CHECK(complaint(read_hotpotqa, "[{\"question\": \"a\", \"answer\": \"b\"}, 3]") ==
        "record 1: expected a JSON object, found number");
  CHECK_THROWS_AS(read_hotpotqa("/no/such/file"), FormatError);
}

TEST_CASE("TruthfulQA") {
  const std::string header =
      "\xef\xbb\xbfType,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\r\n";
  const File file(header +
                  "Adversarial,Myths, Why? ,\"It, is\",\"No; It, is ;; Maybe. \",\"Yes;\nNever\",x\r\n"
                  "Other,,How?,So.,Thus,Not,y");
  const std::vector<TruthfulQuestion> questions = read_truthfulqa(file);
  REQUIRE(questions.size() == 2);
  CHECK(questions[0].category == "Myths");
  CHECK(questions[0].question == "Why?");
  CHECK(questions[0].correct == Strings{"No.", "It, is.", "Maybe."});
  CHECK(questions[0].incorrect == Strings{"Yes.", "Never."});
  CHECK(questions[0].best == 1);
  CHECK(questions[1].correct == Strings{"Thus.", "So."});
  CHECK(questions[1].best == 1);

  CHECK(complaint(read_truthfulqa, "Question,Answer\na,b\n") ==
        "line 1: expected a column 'Best Answer', found Question, Answer");
  CHECK(complaint(read_truthfulqa, header + "a,b,c\n") == "line 2: expected 7 columns, found 3");
  CHECK(complaint(read_truthfulqa, header + ",,\"a\nb\",c,d,e,f\n,,,c,d,e,f\n") == "line 4: the question is empty");
  CHECK(complaint(read_truthfulqa, header + ",,a,;,d,e,\n") == "line 2: there is no best answer");
  CHECK(complaint(read_truthfulqa, header + ",,a,b,c,,\n") == "line 2: there are no incorrect answers");
  CHECK(complaint(read_truthfulqa, header + ",,a,b,c,d,\n,,\"a,b,c,d,\n\n") == "line 3: a quote is not closed");
  CHECK(complaint(read_truthfulqa, header + ",,\"a\"b,c,d,e,f\n") == "line 2: text after a closing quote");
  CHECK(complaint(read_truthfulqa, header + ",,\xc3,c,d,e,f\n") == "line 2: is not UTF-8");
  CHECK(complaint(read_truthfulqa, header) == "holds no questions");
}

TEST_CASE("known facts and FACTOR") {
  const File facts(R"([{"prompt": "A is", "subject": "A", "attribute": "B", "relation_id": "P1"}])");
  CHECK(read_known_facts(facts).at(0).attribute == "B");
  CHECK(read_known_facts(facts).at(0).relation == "P1");
  const std::vector<KnownFact> circle{
      {"a", "", "x", "P1"}, {"b", "", "y", "P2"}, {"c", "", "x", "P1"}, {"d", "", "z", "P1"}};
  CHECK(false_attribute(circle, 0) == "z");  // not its own, though of another fact
  CHECK(false_attribute(circle, 3) == "x");
  CHECK(false_attribute(circle, 1) == std::nullopt);
  CHECK_THROWS_AS(static_cast<void>(false_attribute(circle, 4)), ArgumentError);
  CHECK(complaint(read_known_facts, R"([{"prompt": "", "subject": "A", "attribute": "B"}])") ==
        "record 0: 'prompt' is empty");
  CHECK(complaint(read_known_facts, R"([{"prompt": "A is", "subject": "A", "attribute": " "}])") ==
        "record 0: 'attribute' is empty");
  const File factor("doc,turncated_prefixes,completion,contradiction_0,contradiction_1,contradiction_2\n1,p,c,x,y,z\n");
  const FactorItem item = read_factor(factor).at(0);
  CHECK(item.prefix == "p");
  CHECK(item.completion == "c");
  CHECK(item.contradictions == Strings{"x", "y", "z"});
  const std::string header = "full_prefix,completion,contradiction_0,contradiction_1,contradiction_2\np,c,x,y,z\n";
  CHECK(complaint(read_factor, header) == "accepted");
  CHECK(complaint(read_factor, header + " ,c,x,y,z\n") == "line 3: the prefix is empty");
  CHECK(complaint(read_factor, header + "p,,x,y,z\n") == "line 3: the completion is empty");
  CHECK(complaint(read_factor, header + "p,c,x,y,\n") == "line 3: a contradiction is empty");
  CHECK(complaint(read_factor, "completion,contradiction_0\nx,y\n") ==
        "line 1: expected a column 'full_prefix', found completion, contradiction_0");
}
