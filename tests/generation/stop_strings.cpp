// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/generation/stop_strings.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

using namespace activation_trace;

namespace {

struct Outcome {
  std::string shown;
  bool found;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

// The definition: of all places where a stop string ends the first, of the strings that end there the longest.
Outcome expected(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const std::string& stop : stops)
      if (stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0)
        longest = std::max(longest, stop.size());
    if (longest != 0) return {text.substr(0, end - longest), true};
  }
  return {text, false};
}

Outcome run(const std::vector<std::string>& pieces, const std::vector<std::string>& stops) {
  StopStrings matcher(stops);
  std::string shown;
  for (const std::string& piece : pieces) {
    shown += matcher.push(piece);
    for (const std::string& stop : stops) CHECK(shown.find(stop) == std::string::npos);
  }
  shown += matcher.finish();
  return {shown, matcher.found()};
}

}  // namespace

TEST_CASE("a stop string within a piece, across pieces, at the start and at the end") {
  CHECK(run({"Paris.\nQ: next"}, {"Q:"}) == Outcome{"Paris.\n", true});
  CHECK(run({"Paris.\n", "Q", ": next"}, {"Q:"}) == Outcome{"Paris.\n", true});
  CHECK(run({"Paris", "xQ", ":x", "more"}, {"Q:"}) == Outcome{"Parisx", true});
  CHECK(run({"Q:"}, {"Q:"}) == Outcome{"", true});
  CHECK(run({"Quick", " Q"}, {"Q:"}) == Outcome{"Quick Q", false});
  CHECK(run({"anything"}, {}) == Outcome{"anything", false});
}

TEST_CASE("what could become a stop string is held back, and no more than that") {
  StopStrings matcher({"\n\nQ"});
  CHECK(matcher.push("a\n") == "a");
  CHECK(matcher.push("\n") == "");
  CHECK(matcher.push("\n") == "\n");  // the last two may still be its beginning
  CHECK(matcher.push("b") == "\n\nb");
  CHECK(matcher.push("\n") == "");
  CHECK(matcher.finish() == "\n");
  CHECK(matcher.push("\n\nQ rest") == "");
  CHECK(matcher.found());
  CHECK(matcher.push("more") == "");
  CHECK(matcher.finish() == "");
}

TEST_CASE("of several stop strings the one that is complete first wins, of those that end together the longest") {
  CHECK(run({"xabcd"}, {"abcd", "bc"}) == Outcome{"xa", true});
  CHECK(run({"x", "abc"}, {"bc", "abc"}) == Outcome{"x", true});
}

TEST_CASE("however a text is cut, the outcome is that of the definition") {
  std::mt19937 random(32);
  const auto word = [&](std::size_t longest) {
    std::string s(1 + random() % longest, 'a');
    for (char& c : s) c = static_cast<char>('a' + random() % 2);
    return s;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops(1 + random() % 3);
    for (std::string& stop : stops) stop = word(6);
    std::vector<std::string> pieces(random() % 12);
    std::string text;
    for (std::string& piece : pieces) text += piece = word(4);
    CAPTURE(text);
    CHECK(run(pieces, stops) == expected(text, stops));
  }
}

TEST_CASE("a character of several bytes is not cut") {
  // U+00E9 as stop string shares its first byte with U+00E8.
  StopStrings matcher({"\xC3\xA9"});
  CHECK(matcher.push("a\xC3\xA8") == "a\xC3\xA8");
  CHECK(matcher.push("b\xC3\xA9") == "b");
  CHECK(matcher.found());
}

TEST_CASE("an empty stop string is refused") { CHECK_THROWS_AS(StopStrings({"a", ""}), ArgumentError); }
