// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/text/csv.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

using namespace activation_trace;

TEST_CASE("CSV: texts are quoted where they must be, and none is a formula; numbers stay numbers") {
  CsvWriter csv;
  csv.line({"a", "b,c", "d\"e", "", "f\r\ng", " =1"});
  CHECK(csv.take() == "a,\"b,c\",\"d\"\"e\",,\"f\r\ng\", =1\r\n");
  for (const std::string begin : {"=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"}) {
    csv.line({begin + "1", -1.5});
    const std::vector<CsvRow> rows = parse_csv(csv.take(), "text");
    REQUIRE(rows.size() == 1);
    CHECK(rows[0].fields == std::vector<std::string>{"'" + begin + "1", "-1.5"});
  }
  csv.line(
      {Index{-7}, -0.1, 1e300, std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()});
  CHECK(csv.take() == "-7,-0.1,1e+300,,\r\n");
  csv.line({"\xff=\xc3"});
  CHECK(csv.take() == "\ufffd=\ufffd\r\n");
}

TEST_CASE("CSV: what is written is read again, to the last bit of every double") {
  std::mt19937_64 random(3);
  const std::string letters = "ab,\"\r\n; \t'=";
  for (int round = 0; round < 500; ++round) {
    const double x = std::ldexp(static_cast<double>(random()), static_cast<int>(random() % 200) - 100);
    std::string text = "x";
    for (std::size_t length = random() % 8; length > 0; --length) text += letters[random() % letters.size()];
    CsvWriter csv;
    csv.line({text, x, text});
    const std::vector<CsvRow> rows = parse_csv(csv.take(), "text");
    REQUIRE(rows.size() == 1);
    REQUIRE(rows[0].fields.size() == 3);
    CHECK(rows[0].fields[0] == text);
    CHECK(rows[0].fields[2] == text);
    CHECK(std::strtod(rows[0].fields[1].c_str(), nullptr) == x);
  }
}
