// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <string_view>

#include "activation_trace/formats/families.hpp"
#include "activation_trace/tensor/dtype.hpp"
#include "activation_trace/tokenizer/chat_template.hpp"
#include "activation_trace/tokenizer/pretokenizer.hpp"

// README.md's table "What is supported" says what the code's own lists say.

using namespace activation_trace;

namespace {

/// What stands beside `name` in a table of a README.
std::string row_of(const std::string& file, const std::string& name) {
  std::ifstream in(std::string(ACTIVATION_TRACE_SOURCE_DIR) + '/' + file);
  const std::string begin = "| " + name + " |";
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(begin)) return line.substr(begin.size());
  FAIL(file << " has no row '" << name << "'");
  return {};
}

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

/// What stands between pairs of backquotes.
std::set<std::string> quoted_in(std::string_view text) {
  std::set<std::string> names;
  for (std::size_t begin = text.find('`'); begin != std::string_view::npos;) {
    const std::size_t end = text.find('`', begin + 1);
    if (end == std::string_view::npos) break;
    names.emplace(text.substr(begin + 1, end - begin - 1));
    begin = text.find('`', end + 1);
  }
  return names;
}

std::string folded(std::string_view text) {
  std::string result;
  for (const char c : text)
    if (c != ' ' && c != '-') result.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  return result;
}

}  // namespace

TEST_CASE("README's weight types are those of WeightTypes") {
  const std::string row = row_of("README.md", "Weights");
  std::set<std::string> written;
  for (std::size_t begin = 1; begin < row.find(':');) {
    const std::size_t end = std::min(row.find(',', begin), row.find(':', begin));
    written.insert(row.substr(begin, end - begin));
    begin = end + 2;
  }
  std::set<std::string> known;
  for (const auto& form : detail::all_stored_forms) known.emplace(form.name);
  CHECK(written == known);
}

TEST_CASE("README names every family of models") {
  const std::string row = row_of("README.md", "Models");
  for (const Family& family : families) {
    CAPTURE(family.name);
    CHECK(has(row, family.name));
  }
}

TEST_CASE("README's pre-tokenizers are the first names of each kind, and the layer's README says how each cuts") {
  const std::string row = row_of("README.md", "Tokenizers");
  std::set<std::string> known;
  std::set<PreTokenizer> seen;
  for (const NamedPreTokenizer& named : pre_tokenizers) {
    if (!seen.insert(named.kind).second) continue;
    known.emplace(named.name);
    CHECK_FALSE(row_of("include/activation_trace/tokenizer/README.md", '`' + std::string(named.name) + '`').empty());
  }
  CHECK(quoted_in(row.substr(0, row.find("SentencePiece"))) == known);
}

TEST_CASE("README names every chat format that a template is recognised as") {
  const std::string row = folded(row_of("README.md", "Chat templates"));
  const auto check = [&](const detail::ChatStyle& style) {
    const std::string format = folded(name(style.format));
    CAPTURE(format);
    CHECK(has(row, format));
  };
  for (const auto& shape : detail::chat_shapes) check(shape.style);
  for (const auto& known : detail::chat_fingerprints) check(known.style);
}

TEST_CASE("no family's name stands in what is below the files") {
  for (const char* folder : {"model", "ops"})
    for (const auto& entry : std::filesystem::recursive_directory_iterator(
             std::filesystem::path(ACTIVATION_TRACE_SOURCE_DIR) / "include/activation_trace" / folder)) {
      if (!entry.is_regular_file()) continue;
      CAPTURE(entry.path());
      std::ifstream in(entry.path());
      const std::string text = folded(std::string(std::istreambuf_iterator<char>(in), {}));
      for (const Family& family : families)
        if (family.model_type != llama_family.model_type) CHECK_FALSE(has(text, folded(family.name)));
    }
}
