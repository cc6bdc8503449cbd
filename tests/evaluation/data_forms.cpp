// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/evaluation/data_sets/data_file.hpp"

#include <doctest/doctest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/evaluation/data_sets.hpp"
#include "support/file_builders.hpp"

using namespace activation_trace;

namespace data_forms_tests {  // compiled as one with others
namespace {

using detail::DataForm;

std::filesystem::path form(const std::string& name) {  // of generate_data_forms.py
  return std::filesystem::path(ACTIVATION_TRACE_TEST_DATA "/golden/forms") / name;
}

std::string content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE_MESSAGE(file.good(), path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void check_same(const std::vector<QaQuestion>& found, const std::vector<QaQuestion>& plain) {
  REQUIRE(found.size() == plain.size());
  for (std::size_t i = 0; i < plain.size(); ++i) {
    CHECK(found[i].id == plain[i].id);
    CHECK(found[i].question == plain[i].question);
    CHECK(found[i].gold == plain[i].gold);
    CHECK(found[i].aliases == plain[i].aliases);
  }
}

constexpr const char* kQuestionForms[] = {"qa.plain",  "qa.escaped",     "qa.bom_crlf", "qa.list", "qa.list_bom",
                                          "qa.pretty", "qa.pretty_crlf", "qa.more",     "qa.tsv",  "qa.tsv_lf",
                                          "qa.csv",    "qa.csv_bom",     "qa.csv_ascii"};

/// What every reader makes of a file: some samples or a FormatError.
void check_all_readers(const std::filesystem::path& file) {
  const auto read = [&](const auto& reader) {
    try {
      const bool empty = reader(file).empty();  // a CHECK would catch what it throws
      CHECK_FALSE(empty);
    } catch (const FormatError& e) {
      CHECK(std::string_view(e.what()).starts_with(file.string() + ": "));
    }
  };
  for (const auto& reader : {read_triviaqa, read_nq_open, read_hotpotqa}) read(reader);
  read(read_truthfulqa);
  read(read_factor);
  read(read_known_facts);
}

}  // namespace

TEST_CASE("questions and lists of answers are the same in every form, as each task reads them") {
  for (const auto& reader : {read_nq_open, read_triviaqa, read_hotpotqa}) {
    const std::vector<QaQuestion> plain = reader(form("qa.plain"));
    REQUIRE(plain.size() == 6);
    CHECK(plain[1].question == "Who said \"I came, I saw\"; and\twhen?");
    CHECK(plain[3].gold == std::vector<std::string>{"gl\u00fcck", "\U0001f600", "l\u2014m"});
    CHECK(plain[5].question == " NaN, null, \\ud83d ? ");
    for (const char* name : kQuestionForms) {
      CAPTURE(name);
      check_same(reader(form(name)), plain);
    }
  }
  check_same(read_nq_open(form("qa.answer_list")), read_nq_open(form("qa.plain")));
}

TEST_CASE("TriviaQA, HotpotQA and TruthfulQA are the same in the forms of their authors and of Hugging Face") {
  const std::vector<QaQuestion> trivia = read_triviaqa(form("triviaqa.plain"));
  REQUIRE(trivia.size() == 6);
  CHECK(trivia[0].id == "q_1");
  CHECK(trivia[0].gold == std::vector<std::string>{"rome", "roma", "rome"});  // the last is the value
  CHECK(trivia[0].aliases == 2);
  for (const char* name : {"triviaqa.bom_crlf", "triviaqa.authors", "triviaqa.authors_line"}) {
    CAPTURE(name);
    check_same(read_triviaqa(form(name)), trivia);
  }
  const std::vector<QaQuestion> hotpot = read_hotpotqa(form("hotpotqa.plain"));
  REQUIRE(hotpot.size() == 6);
  CHECK(hotpot[4].id == "q_5");
  for (const char* name : {"hotpotqa.authors", "hotpotqa.hugging_face", "hotpotqa.answers"}) {
    CAPTURE(name);
    check_same(read_hotpotqa(form(name)), hotpot);
  }
  const std::vector<TruthfulQuestion> truth = read_truthfulqa(form("truthfulqa.plain"));
  REQUIRE(truth.size() == 3);
  CHECK(truth[0].best == 1);
  CHECK(truth[2].incorrect == std::vector<std::string>{"NaN.", "'.", "\U0001f600."});
  for (const char* name :
       {"truthfulqa.csv_bom", "truthfulqa.mc_task", "truthfulqa.hugging_face_mc", "truthfulqa.hugging_face_gen"}) {
    CAPTURE(name);
    const std::vector<TruthfulQuestion> found = read_truthfulqa(form(name));
    REQUIRE(found.size() == truth.size());
    for (std::size_t i = 0; i < truth.size(); ++i) {
      CHECK(found[i].category == truth[i].category);
      CHECK(found[i].question == truth[i].question);
      CHECK(found[i].correct == truth[i].correct);
      CHECK(found[i].incorrect == truth[i].incorrect);
      CHECK(found[i].best == truth[i].best);
    }
  }
}

TEST_CASE("the content decides what form a data set has") {
  const auto is = [](std::string_view text, DataForm expected) { return detail::data_form(text, "f") == expected; };
  CHECK(is(" \r\n[", DataForm::records));
  CHECK(is("{", DataForm::records));
  CHECK(is("a", DataForm::commas));
  CHECK(is("a,b\tc", DataForm::tabs));
  CHECK(is("\"a\tb\",c\td", DataForm::tabs));
  CHECK(is("\"a\tb\",c\n\td", DataForm::commas));
  CHECK(is("\"a \"\"\tb\"\"\",c", DataForm::commas));
  CHECK(is("a \"b\tc\"", DataForm::tabs));  // a quote within a field opens nothing
  CHECK(is("a;b", DataForm::semicolons));
  CHECK(is("a;b,c", DataForm::commas));
  CHECK(is("\"a,b\";c\n,", DataForm::semicolons));
  CHECK(is("\r\n\na;b\r,", DataForm::semicolons));
  const auto complaint = [](std::string_view text) {
    try {
      static_cast<void>(detail::data_form(text, "f"));
    } catch (const FormatError& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  using namespace std::string_view_literals;
  CHECK(complaint("") == "f: holds no records");
  CHECK(complaint(" \n\t") == "f: holds no records");
  CHECK(complaint("PAR1\x15\x04").starts_with("f: is a Parquet file: save it as JSON lines"));
  CHECK(complaint("\x1f\x8b\x08"sv) == "f: is compressed (gzip): unpack it");
  CHECK(complaint("PK\x03\x04"sv) == "f: is a ZIP archive: unpack it");
  CHECK(complaint("\xff\xfeQ\0u\0"sv) == "f: is UTF-16: save it as UTF-8");
  CHECK(complaint("<!DOCTYPE html>") == "f: is a web page, not the data set: download the file itself");
}

TEST_CASE("a data set of another form than the reader's says so") {
  const test::TemporaryFolder folder;
  const std::filesystem::path file = folder / "data";
  const auto complaint = [&](const auto& reader, std::string_view text) {
    test::write_file(file, text);
    try {
      static_cast<void>(reader(file));
    } catch (const FormatError& e) {
      return std::string(e.what()).substr(file.string().size() + 2);
    }
    return std::string("accepted");
  };
  CHECK(complaint(read_known_facts, "prompt,attribute\na,b\n") == "expected JSON records, found a table, or a text");
  CHECK(complaint(read_factor, "[]") == "expected a table (CSV), found JSON");
  CHECK(complaint(read_nq_open, "Who?;['a']\n") ==
        "line 1: columns are separated by semicolons, expected tabs or commas: save the file so");
  CHECK(complaint(read_nq_open, "Who?,['a', 'b']\n") ==
        "line 1: expected a question, a comma and a list of answers, found 3 fields");
  CHECK(complaint(read_hotpotqa, "{\"id\": 3, \"question\": \"a\", \"answer\": \"b\"}") == "accepted");
  CHECK(read_hotpotqa(file).at(0).id == "3");
  CHECK(complaint(read_hotpotqa, "{\"id\": 3.5, \"question\": \"a\", \"answer\": \"b\"}") ==
        "line 1: expected 'id' to be a string or a whole number, found number");
}

TEST_CASE("every form cut off, and with other bytes in it, is samples or a complaint") {
  const test::TemporaryFolder folder;
  const std::filesystem::path file = folder / "data";
  std::mt19937 random(7);
  constexpr std::string_view bytes = "\"'[]{},;:\t\r\n\\ \xff\xef\xbb\xbfu01N\0-";
  for (const auto& entry : std::filesystem::directory_iterator(form(""))) {
    const std::string whole = content(entry.path());
    CAPTURE(entry.path());
    for (int round = 0; round < 24; ++round) {
      std::string text = whole;
      if (round % 3 == 0) text.resize(random() % text.size());
      for (auto changes = 1 + random() % 4; changes > 0 && !text.empty(); --changes)
        text[random() % text.size()] = bytes[random() % bytes.size()];
      if (round % 3 == 1) text.erase(random() % text.size(), random() % 40);
      test::write_file(file, text);
      check_all_readers(file);
    }
  }
}

}  // namespace data_forms_tests
