// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/text/nfc.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

using namespace activation_trace;

TEST_CASE("Normalization Form C is that of `tokenizers`, and doing it twice changes nothing") {
  std::ifstream file(std::string(ACTIVATION_TRACE_SOURCE_DIR) + "/tests/tokenizer/golden/nfc.json");
  const auto cases = nlohmann::json::parse(file);
  REQUIRE(cases.size() > 400);
  for (const auto& pair : cases) {
    const auto text = pair.at(0).get<std::string>();
    const auto expected = pair.at(1).get<std::string>();
    CAPTURE(text);
    CHECK(to_nfc(text) == expected);
    CHECK(to_nfc(expected) == expected);
  }
}

TEST_CASE("Normalization Form C: letters and accents, Hangul, order, what does not compose, bytes that are no text") {
  CHECK(to_nfc("") == "");
  CHECK(to_nfc("plain \u00e9") == "plain \u00e9");
  CHECK(to_nfc("e\u0301") == "\u00e9");
  CHECK(to_nfc("\u0301e") == "\u0301e");             // nothing before it
  CHECK(to_nfc("a\u0323\u0302") == "\u1ead");        // a, below, above: one after the other
  CHECK(to_nfc("a\u0302\u0323") == "\u1ead");        // put into order first
  CHECK(to_nfc("a\u0315\u0300") == "\u00e0\u0315");  // another class does not stand between
  CHECK(to_nfc("a\u0301\u0301") == "\u00e1\u0301");  // the first of two alike
  CHECK(to_nfc("\u1112\u1161\u11ab") == "\ud55c");   // h, a, n
  CHECK(to_nfc("\ud558\u11ab") == "\ud55c");         // ha, n
  CHECK(to_nfc("\ud55c\u11ab") == "\ud55c\u11ab");   // it has its last consonant
  CHECK(to_nfc("\u212b\u2126") == "\u00c5\u03a9");   // Angstrom, Ohm: other names
  CHECK(to_nfc("\u0958") == "\u0915\u093c");         // excluded from composition
  CHECK(to_nfc("\ufb01\u00b2") == "\ufb01\u00b2");   // compatibility is another form
  CHECK(to_nfc("e\u0301\xff") == "\u00e9\ufffd");
  CHECK(to_nfc("a\xff") == "a\ufffd");
}

TEST_CASE("any number of accents takes no quadratic time") {
  std::string text = "a";
  for (int i = 0; i < 200'000; ++i) text += i % 2 == 0 ? "\u0301" : "\u0323";
  const std::string once = to_nfc(text);
  CHECK(once.starts_with("\u1ea1\u0323"));  // those below go first
  CHECK(to_nfc(once) == once);
}
