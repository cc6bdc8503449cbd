// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/answer_metrics.hpp"
#include "activation_trace/evaluation/csv.hpp"
#include "activation_trace/evaluation/prompts.hpp"
#include "activation_trace/formats/json.hpp"
#include "activation_trace/formats/mapped_file.hpp"

namespace activation_trace {
inline namespace v0 {

// Readers of public data sets. All throw FormatError that names the file and the line (or the record of a JSON list)
// for a missing file, an empty one, a record without a field that is needed, a field of another type, a question or
// prompt that is blank, one without an answer, and ill-formed UTF-8. Records are JSON lines or one JSON list.

/// A question with every answer that counts as right.
struct QaQuestion {
  std::string id;  ///< the data set's own, or the record's number from 0
  std::string question;
  std::vector<std::string> gold;
};

/// TriviaQA: Hugging Face's records (answer.normalized_aliases and the normalised normalized_value, and HumanAnswers
/// where there are, ALGORITHMS.md 7.1), or lines of question, TAB, Python list of aliases.
[[nodiscard]] std::vector<QaQuestion> read_triviaqa(const std::filesystem::path& path);

/// NQ-open: records {question, answer: [...]}.
[[nodiscard]] std::vector<QaQuestion> read_nq_open(const std::filesystem::path& path);

/// HotpotQA: records {question, answer}.
[[nodiscard]] std::vector<QaQuestion> read_hotpotqa(const std::filesystem::path& path);

struct TruthfulQuestion {
  std::string category;
  std::string question;
  std::vector<std::string> correct;    ///< each ends in a full stop
  std::vector<std::string> incorrect;  ///< the same
  Index best = 0;                      ///< the best answer's place in `correct`
};

/// TruthfulQA's CSV with the columns Question, Best Answer, Correct Answers and Incorrect Answers, the lists split at
/// ';' (ALGORITHMS.md 6.2). A best answer that is missing from its list joins it.
[[nodiscard]] std::vector<TruthfulQuestion> read_truthfulqa(const std::filesystem::path& path);

/// A statement that a model knows: `prompt`, then `attribute`.
struct KnownFact {
  std::string prompt;
  std::string subject;
  std::string attribute;
  std::string relation;
};

/// The known facts of CounterFact's authors: records {prompt, subject, attribute, relation_id}.
[[nodiscard]] std::vector<KnownFact> read_known_facts(const std::filesystem::path& path);

/// A false answer to fact `i`: the attribute of the next fact of its relation, in a circle, that has another one; none
/// if all have the same. Throws ArgumentError if there is no fact `i`.
[[nodiscard]] std::optional<std::string> false_attribute(std::span<const KnownFact> facts, Index i);

/// A text with its true continuation and false ones.
struct FactorItem {
  std::string prefix;
  std::string completion;
  std::vector<std::string> contradictions;
};

/// FACTOR's CSV: turncated_prefixes (so spelled; else full_prefix), completion, contradiction_0, _1 and _2.
[[nodiscard]] std::vector<FactorItem> read_factor(const std::filesystem::path& path);

namespace detail {

[[nodiscard]] inline bool is_blank(std::string_view text) { return strip(text).empty(); }

/// Whether one of the answers is more than white space.
[[nodiscard]] inline bool has_answer(std::span<const std::string> answers) {
  return !std::all_of(answers.begin(), answers.end(), is_blank);
}

[[noreturn]] inline void fail_row(const std::string& file, const CsvRow& row, const std::string& problem) {
  throw FormatError(file, "line " + std::to_string(row.line) + ": " + problem);
}

/// One JSON object of a data set, and where it stands.
class DataRecord {
 public:
  DataRecord(nlohmann::json value, std::string place, std::size_t number)
      : value_(std::move(value)), place_(std::move(place)), number_(number) {
    if (!value_.is_object()) fail("expected a JSON object, found " + std::string(value_.type_name()));
  }

  [[nodiscard]] std::size_t number() const noexcept { return number_; }

  [[nodiscard]] const std::string& text(const char* key) const {
    const nlohmann::json& value = member(key);
    if (!value.is_string())
      fail("expected '" + std::string(key) + "' to be a string, found " + std::string(value.type_name()));
    return value.get_ref<const std::string&>();
  }

  /// As text(), of which there must be some.
  [[nodiscard]] const std::string& filled_text(const char* key) const {
    const std::string& value = text(key);
    if (is_blank(value)) fail("'" + std::string(key) + "' is empty");
    return value;
  }

  [[nodiscard]] std::vector<std::string> texts(const char* key) const { return texts(value_, key); }

  /// As texts(), without the value if there is no such key.
  [[nodiscard]] std::vector<std::string> texts(const nlohmann::json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end()) return {};
    if (!found->is_array()) fail("expected '" + std::string(key) + "' to be a list");
    std::vector<std::string> result;
    for (const nlohmann::json& item : *found) {
      if (!item.is_string()) fail("expected '" + std::string(key) + "' to be a list of strings");
      result.push_back(item.get<std::string>());
    }
    return result;
  }

  [[nodiscard]] const nlohmann::json& member(const char* key) const {
    const auto found = value_.find(key);
    if (found == value_.end()) fail("there is no '" + std::string(key) + "'");
    return *found;
  }

  [[nodiscard]] bool has(const char* key) const { return value_.contains(key); }

  [[noreturn]] void fail(const std::string& problem) const { throw FormatError(place_, problem); }

 private:
  nlohmann::json value_;
  std::string place_;
  std::size_t number_;
};

/// Calls `use(record)` for each object of a JSON list or of JSON lines.
template <class Use>
void for_each_record(const std::filesystem::path& path, const Use& use) {
  const MappedFile file = MappedFile::open(path);
  std::string_view text = text_of(file.bytes());
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);
  std::size_t number = 0;
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] == '[') {
    const nlohmann::json list = parse_json(text, file.name());
    for (const nlohmann::json& item : list) {
      use(DataRecord(item, file.name() + ": record " + std::to_string(number), number));
      ++number;
    }
  } else {
    std::size_t line = 0;
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = std::min(text.find('\n', begin), text.size());
      const std::string_view content = text.substr(begin, end - begin);
      const std::string place = file.name() + ": line " + std::to_string(++line);
      if (content.find_first_not_of(" \t\r") != std::string_view::npos) {
        use(DataRecord(parse_json(content, place), place, number));
        ++number;
      }
      begin = end + 1;
    }
  }
  if (number == 0) throw FormatError(file.name(), "holds no records");
}

/// A Python list of strings as repr() prints it.
class PythonList {
 public:
  static std::optional<std::vector<std::string>> parse(std::string_view text) { return PythonList(text).list(); }

 private:
  explicit PythonList(std::string_view text) : text_(text) {}

  std::optional<std::vector<std::string>> list() {
    std::vector<std::string> items;
    if (!take('[')) return std::nullopt;
    if (take(']')) return at_end() ? std::optional(items) : std::nullopt;
    do {
      std::optional<std::string> item = string();
      if (!item) return std::nullopt;
      items.push_back(std::move(*item));
    } while (take(','));
    if (!take(']') || !at_end()) return std::nullopt;
    return items;
  }

  std::optional<std::string> string() {
    skip_spaces();
    if (at_ == text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) return std::nullopt;
    const char quote = text_[at_++];
    std::string result;
    while (at_ < text_.size() && text_[at_] != quote) {
      if (text_[at_] != '\\') {
        result += text_[at_++];
        continue;
      }
      if (++at_ == text_.size() || !escape(result, text_[at_++])) return std::nullopt;
    }
    if (at_ == text_.size()) return std::nullopt;
    ++at_;
    return result;
  }

  bool escape(std::string& result, char kind) {
    switch (kind) {
      case '\\':
      case '\'':
      case '"': result += kind; return true;
      case 'n': result += '\n'; return true;
      case 't': result += '\t'; return true;
      case 'r': result += '\r'; return true;
      case 'x': return hexadecimal(result, 2);
      case 'u': return hexadecimal(result, 4);
      case 'U': return hexadecimal(result, 8);
      default: return false;
    }
  }

  bool hexadecimal(std::string& result, std::size_t digits) {
    if (digits > text_.size() - at_) return false;
    std::uint32_t code = 0;
    for (const char c : text_.substr(at_, digits)) {
      const auto value =
          std::string_view("0123456789abcdef").find(static_cast<char>(c >= 'A' && c <= 'F' ? c + 32 : c));
      if (value == std::string_view::npos) return false;
      code = code << 4 | static_cast<std::uint32_t>(value);
    }
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
    append_utf8(result, code);
    at_ += digits;
    return true;
  }

  void skip_spaces() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool take(char c) {
    skip_spaces();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool at_end() {
    skip_spaces();
    return at_ == text_.size();
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

[[nodiscard]] inline std::vector<QaQuestion> read_questions_and_aliases(const MappedFile& file) {
  std::vector<QaQuestion> questions;
  for (const CsvRow& row : parse_csv(text_of(file.bytes()), file.name(), '\t')) {
    const auto fail = [&](const std::string& problem) { fail_row(file.name(), row, problem); };
    if (row.fields.size() != 2)
      fail("expected a question, a TAB and a list of answers, found " + std::to_string(row.fields.size()) + " fields");
    auto gold = PythonList::parse(row.fields[1]);
    if (!gold) fail("the answers are not a Python list of strings");
    if (is_blank(row.fields[0])) fail("the question is empty");
    if (!has_answer(*gold)) fail("there is no answer");
    questions.push_back({std::to_string(questions.size()), row.fields[0], std::move(*gold)});
  }
  return questions;
}

// "a; b" as {"a.", "b."}.
[[nodiscard]] inline std::vector<std::string> split_answers(std::string_view text) {
  std::vector<std::string> answers;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(';', begin), text.size());
    std::string answer = strip(text.substr(begin, end - begin));
    if (!answer.empty()) answers.push_back(answer.ends_with('.') ? answer : answer + '.');
    begin = end + 1;
  }
  return answers;
}

}  // namespace detail

inline std::vector<QaQuestion> read_triviaqa(const std::filesystem::path& path) {
  const MappedFile file = MappedFile::open(path);
  const std::string_view text = detail::text_of(file.bytes());
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] != '[' && text[first] != '{')
    return detail::read_questions_and_aliases(file);
  std::vector<QaQuestion> questions;
  detail::for_each_record(path, [&](const detail::DataRecord& record) {
    const nlohmann::json& answer = record.member("answer");
    if (!answer.is_object()) record.fail("expected 'answer' to be an object");
    QaQuestion q{record.has("question_id") ? record.text("question_id") : std::to_string(record.number()),
                 record.filled_text("question"), record.texts(answer, "normalized_aliases")};
    const auto value = answer.find("normalized_value");
    if (value != answer.end() && value->is_string()) q.gold.push_back(normalize_answer(value->get<std::string>()));
    for (const std::string& human : record.texts(answer, "HumanAnswers")) q.gold.push_back(normalize_answer(human));
    if (q.gold.empty()) record.fail("there is no answer");
    questions.push_back(std::move(q));
  });
  return questions;
}

inline std::vector<QaQuestion> read_nq_open(const std::filesystem::path& path) {
  std::vector<QaQuestion> questions;
  detail::for_each_record(path, [&](const detail::DataRecord& record) {
    QaQuestion q{std::to_string(record.number()), record.filled_text("question"), record.texts("answer")};
    if (!detail::has_answer(q.gold)) record.fail("there is no 'answer'");
    questions.push_back(std::move(q));
  });
  return questions;
}

inline std::vector<QaQuestion> read_hotpotqa(const std::filesystem::path& path) {
  std::vector<QaQuestion> questions;
  detail::for_each_record(path, [&](const detail::DataRecord& record) {
    const char* id = record.has("id") ? "id" : "_id";
    questions.push_back({record.has(id) ? record.text(id) : std::to_string(record.number()),
                         record.filled_text("question"),
                         {record.filled_text("answer")}});
  });
  return questions;
}

inline std::vector<TruthfulQuestion> read_truthfulqa(const std::filesystem::path& path) {
  const MappedFile file = MappedFile::open(path);
  const CsvTable table(detail::text_of(file.bytes()), file.name());
  const std::array<std::size_t, 4> columns{table.column("Question"), table.column("Best Answer"),
                                           table.column("Correct Answers"), table.column("Incorrect Answers")};
  std::vector<TruthfulQuestion> questions;
  for (const CsvRow& row : table.rows()) {
    const auto fail = [&](const std::string& problem) { detail::fail_row(file.name(), row, problem); };
    TruthfulQuestion q{.category = table.has_column("Category") ? row.fields[table.column("Category")] : "",
                       .question = detail::strip(row.fields[columns[0]]),
                       .correct = detail::split_answers(row.fields[columns[2]]),
                       .incorrect = detail::split_answers(row.fields[columns[3]])};
    const std::vector<std::string> best = detail::split_answers(row.fields[columns[1]]);
    if (q.question.empty()) fail("the question is empty");
    if (best.empty()) fail("there is no best answer");
    if (q.incorrect.empty()) fail("there are no incorrect answers");
    const auto place = std::find(q.correct.begin(), q.correct.end(), best.front());
    q.best = place - q.correct.begin();
    if (place == q.correct.end()) q.correct.push_back(best.front());
    questions.push_back(std::move(q));
  }
  if (questions.empty()) throw FormatError(file.name(), "holds no questions");
  return questions;
}

inline std::vector<KnownFact> read_known_facts(const std::filesystem::path& path) {
  std::vector<KnownFact> facts;
  detail::for_each_record(path, [&](const detail::DataRecord& record) {
    facts.push_back({record.filled_text("prompt"), record.text("subject"), record.filled_text("attribute"),
                     record.has("relation_id") ? record.text("relation_id") : std::string()});
  });
  return facts;
}

inline std::vector<FactorItem> read_factor(const std::filesystem::path& path) {
  const MappedFile file = MappedFile::open(path);
  const CsvTable table(detail::text_of(file.bytes()), file.name());
  const std::size_t prefix =
      table.has_column("turncated_prefixes") ? table.column("turncated_prefixes") : table.column("full_prefix");
  const std::size_t completion = table.column("completion");
  const std::array<std::size_t, 3> false_ones{table.column("contradiction_0"), table.column("contradiction_1"),
                                              table.column("contradiction_2")};
  std::vector<FactorItem> items;
  for (const CsvRow& row : table.rows()) {
    FactorItem item{row.fields[prefix], row.fields[completion], {}};
    for (const std::size_t column : false_ones) item.contradictions.push_back(row.fields[column]);
    if (detail::is_blank(item.prefix)) detail::fail_row(file.name(), row, "the prefix is empty");
    if (detail::is_blank(item.completion)) detail::fail_row(file.name(), row, "the completion is empty");
    if (std::any_of(item.contradictions.begin(), item.contradictions.end(), detail::is_blank))
      detail::fail_row(file.name(), row, "a contradiction is empty");
    items.push_back(std::move(item));
  }
  if (items.empty()) throw FormatError(file.name(), "holds no items");
  return items;
}

inline std::optional<std::string> false_attribute(std::span<const KnownFact> facts, Index i) {
  const auto count = static_cast<Index>(facts.size());
  if (i < 0 || i >= count)
    throw ArgumentError("known facts: there are " + std::to_string(count) + ", no number " + std::to_string(i));
  const KnownFact& fact = facts[static_cast<std::size_t>(i)];
  for (Index step = 1; step < count; ++step) {
    const KnownFact& other = facts[static_cast<std::size_t>((i + step) % count)];
    if (other.relation == fact.relation && other.attribute != fact.attribute) return other.attribute;
  }
  return std::nullopt;
}

}  // namespace v0
}  // namespace activation_trace
