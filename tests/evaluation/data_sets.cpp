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

TEST_CASE("What Python reads is read: marks, CRLF, records of several lines, NaN, half characters") {
  const std::string record = R"({"question": "Who?", "answer": ["a"]})";
  CHECK(read_nq_open(File("\xef\xbb\xbf" + record + "\r\n\r\n" + record + "\r\n")).size() == 2);
  CHECK(read_nq_open(File("\xef\xbb\xbf[" + record + "]")).size() == 1);
  CHECK(read_nq_open(File("{\n \"question\": \"{ [ \\\" Who?\",\n \"answer\": [\n  \"a\"\n ]\n}\n" + record))
            .at(0)
            .question == "{ [ \" Who?");
  CHECK(read_nq_open(File("{\"question\":\n\"x\", \"answer\": [\"a\"]}\n\n" + record)).size() == 2);
  // The line is that of the record's beginning, the byte is counted from it.
  CHECK(complaint(read_nq_open, record + "\n\n{\n\"question\": 1,\n\"answer\": [\"a\"]}\n" + record) ==
        "line 3: expected 'question' to be a string, found number");
  CHECK(complaint(read_nq_open, "{\n\"question\": \"a\",\n\"answer\": [\"a\"]}\n" + record + "\n{\"question\": 1}") ==
        "line 5: expected 'question' to be a string, found number");
  CHECK(complaint(read_nq_open, record + "\n{\"question\": \"a\n" + record).starts_with("line 2: at byte "));
  CHECK(complaint(read_nq_open, record + "\n{\"question\": [\"a\"\n" + record).starts_with("line 2: at byte "));

  const File numbers(R"({"question": "NaN \"-Infinity", "answer": ["NaN"], "s": [NaN, -Infinity,Infinity], "n": -1})");
  CHECK(read_nq_open(numbers).at(0).question == "NaN \"-Infinity");
  CHECK(read_nq_open(numbers).at(0).gold == Strings{"NaN"});
  CHECK(complaint(read_nq_open, R"({"question": NaN, "answer": ["a"]})") ==
        "line 1: expected 'question' to be a string, found null");
  CHECK(complaint(read_nq_open, R"({"question": xNaN, "answer": ["a"]})").starts_with("line 1: at byte "));
  const auto question = [](const std::string& text) {
    return read_nq_open(File("{\"question\": \"" + text + "\", \"answer\": [\"a\"]}")).at(0).question;
  };
  CHECK(question("what is \\ud83d here") == "what is \ufffd here");
  CHECK(question("\\uDe00\\uD83d\\ude00\\ud83d") == "\ufffd\U0001f600\ufffd");
  CHECK(question("\\ud83d\\ud83d\\ude00\\\\ud83d") == "\ufffd\U0001f600\\ud83d");
}

TEST_CASE("TriviaQA of its authors, and lists of answers as DPR has them") {
  const File official(R"({
    "Data": [{"Answer": {"Aliases": ["Rome", "Roma"], "NormalizedAliases": ["rome", "roma"], "NormalizedValue": "Rome"},
              "Question": "Which city?", "QuestionId": "q_1", "SearchResults": []}],
    "Domain": "unfiltered-web", "VerifiedEval": false, "Version": 1.0})");
  const std::vector<QaQuestion> questions = read_triviaqa(official);
  REQUIRE(questions.size() == 1);
  CHECK(questions[0].id == "q_1");
  CHECK(questions[0].question == "Which city?");
  CHECK(questions[0].gold == Strings{"rome", "roma", "rome"});
  CHECK(complaint(read_triviaqa, R"({"Data": [{"Question": "a", "Answer": {}}]})") == "record 0: there is no answer");
  CHECK(complaint(read_triviaqa, R"({"Data": []})") == "holds no records");
  CHECK(read_triviaqa(File("\xef\xbb\xbf{\"question\": \"Who?\", \"answer\": {\"normalized_value\": \"a\"}}\r\n"))
            .size() == 1);

  const File several(R"({"question": "Who?", "answers": ["Ann", "Bea"]})");
  CHECK(read_triviaqa(several).at(0).gold == Strings{"Ann", "Bea"});
  CHECK(read_nq_open(several).at(0).gold == Strings{"Ann", "Bea"});
  CHECK(read_hotpotqa(several).at(0).gold == Strings{"Ann", "Bea"});
  CHECK(complaint(read_nq_open, R"({"question": "Who?", "answers": [""]})") == "line 1: there is no 'answers'");
  CHECK(complaint(read_nq_open, R"({"question": "Who?", "answers": "Ann"})") ==
        "line 1: expected 'answers' to be a list");

  // As Python's csv.writer writes them, with TAB and with a comma.
  for (const char* table : {"\"Which \"\"city\"\" is it?\"\t\"['Rome', \"\"it's\"\"]\"\nWho?\t['Ann']\n",
                            "\"Which \"\"city\"\" is it?\",\"['Rome', \"\"it's\"\"]\"\r\nWho?,['Ann']\r\n"})
    for (const auto& read : {read_triviaqa, read_nq_open}) {
      const std::vector<QaQuestion> rows = read(File(table));
      REQUIRE(rows.size() == 2);
      CHECK(rows[0].question == "Which \"city\" is it?");
      CHECK(rows[0].gold == Strings{"Rome", "it's"});
      CHECK(rows[1].id == "1");
      CHECK(rows[1].gold == Strings{"Ann"});
    }
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
  CHECK_THROWS_AS(static_cast<void>(read_hotpotqa("/no/such/file")), FormatError);
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
        "line 1: expected a column 'Best Answer', found 'Question', 'Answer'");
  CHECK(complaint(read_truthfulqa, header + "a,b,c\n") == "line 2: expected 7 columns, found 3");
  CHECK(complaint(read_truthfulqa, header + ",,\"a\nb\",c,d,e,f\n,,,c,d,e,f\n") == "line 4: the question is empty");
  CHECK(complaint(read_truthfulqa, header + ",,a,;,d,e,\n") == "line 2: there is no best answer");
  CHECK(complaint(read_truthfulqa, header + ",,a,b,c,,\n") == "line 2: there are no incorrect answers");
  CHECK(complaint(read_truthfulqa, header + ",,a,b,c,d,\n,,\"a,b,c,d,\n\n") == "line 3: a quote is not closed");
  CHECK(complaint(read_truthfulqa, header + ",,\"a\"b,c,d,e,f\n") == "line 2: text after a closing quote");
  CHECK(complaint(read_truthfulqa, header + ",,\xc3,c,d,e,f\n") == "line 2: is not UTF-8");
  CHECK(complaint(read_truthfulqa, header) == "holds no questions");
}

TEST_CASE("TruthfulQA's other forms say the same") {
  const File table("Category,Question,Best Answer,Correct Answers,Incorrect Answers\nMyths,Why?,b,a; b.,\"y; x, z\"\n");
  const TruthfulQuestion expected = read_truthfulqa(table).at(0);
  for (const char* text : {
           R"([{"question": "Why?", "mc0_targets": 3, "mc1_targets": {"y.": 0, "b.": 1, "x, z.": 0},
              "mc2_targets": {"a.": 1, "y.": 0, "b": 1, "x, z.": 0}, "category": "Myths"}])",
           R"({"question": "Why?", "category": "Myths", "mc1_targets": {"choices": ["b", "y"], "labels": [1, 0]},
              "mc2_targets": {"choices": ["a", "y", "b", "x, z"], "labels": [1, 0, 1, 0]}})",
           R"({"question": "Why?", "category": "Myths", "best_answer": "b", "correct_answers": ["a", "b"],
              "incorrect_answers": ["y", "x, z"], "type": "Adversarial"})"}) {
    CAPTURE(text);
    const TruthfulQuestion q = read_truthfulqa(File(text)).at(0);
    CHECK(q.category == expected.category);
    CHECK(q.question == expected.question);
    CHECK(q.correct == expected.correct);
    CHECK(q.incorrect == expected.incorrect);
    CHECK(q.best == expected.best);
  }
  const auto targets = [](const std::string& of) {
    return complaint(read_truthfulqa, "{\"question\": \"Why?\", \"mc1_targets\": " + of + "}");
  };
  CHECK(targets(R"({"a": 1, "b": 0})") == "accepted");
  CHECK(targets(R"({"a": 1, "b": 0.5})") == "line 1: 'mc1_targets': expected labels of 0 or 1");
  CHECK(targets(R"({"a": 0})") == "line 1: there is no best answer");
  CHECK(targets(R"({"a": 1})") == "line 1: there are no incorrect answers");
  CHECK(targets("[1]") == "line 1: 'mc1_targets': expected an object");
  CHECK(targets(R"({"choices": ["a"], "labels": [1, 0]})") ==
        "line 1: 'mc1_targets': expected a label for each choice");
  CHECK(targets(R"({"choices": [1], "labels": [1]})") == "line 1: expected 'choices' to be a list of strings");
  CHECK(complaint(read_truthfulqa, R"({"question": "Why?"})") == "line 1: there is no 'best_answer'");
}

TEST_CASE("Tables that are separated otherwise, or name a column twice, are told so, and nothing is echoed raw") {
  CHECK(complaint(read_truthfulqa, "Type;Question;Best Answer\n\"a\";\"b,\r\nc\";d\n") ==
        "line 1: columns are separated by semicolons, expected commas: save the file so");
  CHECK(complaint(read_factor, "completion\tcontradiction_0\na\tb\n") ==
        "line 1: columns are separated by tabs, expected commas: save the file so");
  const std::string old =
      "a carriage return without a line feed; if lines end so (old Macintosh), save the file with LF or CRLF";
  CHECK(complaint(read_truthfulqa, "Type,Question\ra,\"b\rc\"\r") == "line 1: " + old);
  CHECK(complaint(read_truthfulqa, "Type,Question\na,\"b\r\nc\"\rd,e\n") == "line 3: " + old);
  CHECK(complaint(read_triviaqa, "Who?\t['a']\rWhy?\t['b']\r") == "line 1: " + old);
  CHECK(complaint(read_truthfulqa, "Question,Best Answer,Question,Correct Answers,Incorrect Answers\na,b,c,d,e\n") ==
        "line 1: the column 'Question' is there 2 times, expected once");
  CHECK(complaint(read_truthfulqa, "A,A,Question,Best Answer,Correct Answers,Incorrect Answers\n,,a,b,c,d\n") ==
        "accepted");
  CHECK(complaint(read_truthfulqa, "\x1b[31m\u202e," + std::string(500000, 'x') + "\n") ==
        "line 1: expected a column 'Question', found '\\x1b[31m\\u{202e}', '" + std::string(80, 'x') + "'...");
  std::string many = "c0";
  for (int i = 1; i < 5000; ++i) many += ",c" + std::to_string(i);
  CHECK(complaint(read_truthfulqa, many).ends_with("'c11' and 4988 more"));
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
        "line 1: expected a column 'full_prefix', found 'completion', 'contradiction_0'");
}
