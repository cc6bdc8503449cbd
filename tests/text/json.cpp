// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/text/json.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "activation_trace/error.hpp"
#include "activation_trace/text/json_part.hpp"

using namespace activation_trace;
using detail::parse_json;
using nlohmann::json;
using nlohmann::ordered_json;

namespace json_tests {  // compiled as one with others
namespace {

/// What reading `text` fails with.
std::string refusal(std::string_view text, const detail::JsonReading& reading = {}) {
  try {
    (void)parse_json(text, "file", reading);
  } catch (const FormatError& error) {
    return error.what();
  }
  return "no error";
}

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

constexpr detail::JsonReading like_python{.like_python = true};

}  // namespace

TEST_CASE("parse_json builds what nlohmann's own parser builds") {
  for (const std::string_view text : {"null", " true", "-0", "18446744073709551615", "18446744073709551616",
                                      "-9223372036854775808", "1.5e300", R"("\ud83d\ude00 \u0000 \n ä")", "[]", "{}",
                                      "[[],{},[{}]]", R"({"b":[1,{"a":null}],"a":{"c":[],"b":-1.5},"":""})",
                                      R"([{"a":1},{"a":2},[[3],[4,[5]]],6])", "\xef\xbb\xbf[1]"}) {
    CAPTURE(text);
    CHECK(parse_json(text, "file") == json::parse(text));
    CHECK(parse_json<ordered_json>(text, "file").dump() == ordered_json::parse(text).dump());
    CHECK(parse_json(text, "file", like_python) == json::parse(text));
  }
}

TEST_CASE("parse_json is strict, and says where") {
  for (const std::string_view text : {"",
                                      " ",
                                      "[1,]",
                                      "{\"a\":1,}",
                                      "[1 2]",
                                      "{\"a\" 1}",
                                      "{1:2}",
                                      "01",
                                      "+1",
                                      ".5",
                                      "1.",
                                      "nul",
                                      "NaN",
                                      "[Infinity]",
                                      "-Infinity",
                                      "'a'",
                                      "[1]]",
                                      "{} {}",
                                      "/**/1",
                                      "\"\t\"",
                                      R"("\x")",
                                      R"("\ud83d")",
                                      R"("\ude00")",
                                      "\"\xc0\x80\"",
                                      "\"\xed\xa0\x80\"",
                                      "\"\xf4\x90\x80\x80\"",
                                      "\"",
                                      "[",
                                      "{",
                                      "{\"a\"",
                                      "1e999"}) {
    CAPTURE(text);
    CHECK(has(refusal(text), "file: at byte "));
    CHECK(has(refusal(text), ": is not JSON: "));
    CHECK(!has(refusal(text), "json.exception"));
  }
  CHECK(refusal("[1, x]").starts_with("file: at byte 5: is not JSON: parse error at line 1, column 5: "));
  CHECK(refusal("[1, x]", {.origin = 1000}).starts_with("file: at byte 1005: "));
  CHECK(refusal(R"({"a":{"b":1},"b":2,"a":3})") == "file: at byte 22: JSON key 'a' appears twice in one object");
  CHECK(refusal(R"([{"a":1},{"a":2}])") == "no error");
  try {
    (void)parse_json<ordered_json>(R"([{"a":{"a":1},"b":2,"a":3}])", "file");
    FAIL("taken");
  } catch (const FormatError& error) {
    CHECK(error.offset() == 23);
    CHECK(has(error.what(), "key 'a' appears twice"));
  }
  // Nothing that a terminal would obey, however it is encoded.
  const std::string spoken = refusal(
      "[\"\xc2\x9b"
      "31m\x1b]0;x\x07");
  for (const char c : spoken) CHECK((c >= ' ' && c < 0x7f));
}

TEST_CASE("a number is an Index only if it is one") {
  const auto index = [](const char* text) { return detail::whole_number(json::parse(text)); };
  CHECK(index("0") == 0);
  CHECK(index("-1") == -1);
  CHECK(index("9223372036854775807") == std::numeric_limits<Index>::max());
  for (const char* text :
       {"9223372036854775808", "18446744073709551615", "1e3", "1e39", "-1e300", "0.5", "\"1\"", "null", "true", "[1]"})
    CHECK(index(text) == std::nullopt);
}

TEST_CASE("nesting has a limit") {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(refusal(nested(64)) == "no error");
  CHECK(refusal(nested(65)) == "file: at byte 65: JSON is nested more than 64 levels deep");
  CHECK(refusal(nested(4), {.deepest = 3}) == "file: at byte 4: JSON is nested more than 3 levels deep");
  CHECK(has(refusal(nested(1000000)), "nested more than 64 levels"));
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  CHECK(has(refusal(objects), "nested more than 64 levels"));
}

// By nlohmann's callbacks 20,000 of them took 15 s, and as many again four times as long.
TEST_CASE("objects of many children take linear time") {
  constexpr std::size_t count = 50000;
  std::string text;
  for (std::size_t i = 0; i < count; ++i)
    text += (i == 0 ? "{\"" : ",\"") + std::to_string(i * 7919 % count) + R"(":{"a":[]})";
  text += '}';
  CHECK(parse_json(text, "file").size() == count);
  CHECK(parse_json<ordered_json>(text, "file").size() == count);
  text.pop_back();
  text += ",\"7919\":0}";
  CHECK(has(refusal(text), "JSON key '7919' appears twice"));
}

TEST_CASE("what Python's json reads as well") {
  const std::string text =
      R"({"a": NaN, "b": [Infinity, -Infinity,NaN], "NaN": "NaN \" Infinity", "c": "\\ud83d \ud83d \ude00x \uD83D\uDE00"})";
  CHECK(parse_json(text, "file", like_python) == json{{"a", nullptr},
                                                      {"b", {nullptr, nullptr, nullptr}},
                                                      {"NaN", "NaN \" Infinity"},
                                                      {"c", "\\ud83d \xef\xbf\xbd \xef\xbf\xbdx \xf0\x9f\x98\x80"}});
  // Places are those of the original.
  CHECK(refusal("[NaN, NaN, x]", like_python).starts_with("file: at byte 12: "));
  CHECK(refusal("[NaN, -Infinity, \"\\ud800\", x]", like_python).starts_with("file: at byte 28: "));
  CHECK(refusal("[x, NaN]", like_python).starts_with("file: at byte 2: "));
  for (const std::string_view bad : {"nan", "+NaN", "-NaN", "NaNs", "[1NaN]", "[Infinity Infinity]", "Inf", R"("\ud8)",
                                     R"("\ud8zz")", R"("\)", "[NaN,]", "\"NaN"}) {
    CAPTURE(bad);
    CHECK(has(refusal(bad, like_python), "is not JSON"));
  }
}

TEST_CASE("a part of a file names itself in what it refuses") {
  const auto problem = [](std::string_view text, const auto& read) -> std::string {
    const detail::JsonDocument document(text, "file");
    try {
      read(document.root());
    } catch (const FormatError& error) {
      return error.what();
    }
    return "no error";
  };
  using Part = detail::JsonPart;
  const auto first = [](const Part& part) { (void)part["a"].at(0)["b"].number(); };
  CHECK(problem(R"({"a": [{"b": 1.5}]})", first) == "no error");
  CHECK(problem(R"({"a": [{"b": "x"}]})", first) == "file: a[0].b is not a number: '\"x\"'");
  CHECK(problem(R"({"a": [{}]})", first) == "file: a[0].b is missing");
  CHECK(problem(R"({"a": [7]})", first) == "file: a[0] is not an object");
  CHECK(problem(R"({"a": []})", first) == "file: a has no element 0");
  CHECK(problem(R"({"a": {}})", first) == "file: a is not an array");
  CHECK(problem(R"([])", first) == "file: the file is not an object");
  CHECK(problem(R"({"a": 1})", [](const Part& part) { (void)part["a"].text(); }) == "file: a is not a string: '1'");
}

}  // namespace json_tests
