// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "activation_trace/evaluation/answer_metrics.hpp"
#include "activation_trace/evaluation/detection.hpp"
#include "activation_trace/evaluation/grouped_auroc.hpp"
#include "activation_trace/evaluation/histogram.hpp"
#include "activation_trace/evaluation/multiple_choice.hpp"
#include "activation_trace/evaluation/resampling.hpp"
#include "activation_trace/text/lower_case.hpp"

using namespace activation_trace;

namespace {

std::ifstream golden_file(const std::string& name) {
  std::ifstream file(ACTIVATION_TRACE_TEST_DATA "/golden/" + name, std::ios::binary);
  REQUIRE_MESSAGE(file.good(), name);
  return file;
}

// C99 hexadecimal floats, which istream >> double does not read.
std::vector<double> numbers(const std::string& line) {
  std::vector<double> result;
  std::istringstream words(line);
  for (std::string word; words >> word;) result.push_back(std::strtod(word.c_str(), nullptr));
  return result;
}

}  // namespace

TEST_CASE("normalisation, EM and F1 equal Python's to the last digit") {
  std::ifstream file = golden_file("answers.txt");
  std::string answer, gold, normalized, match, f1;
  int cases = 0;
  while (std::getline(file, answer)) {
    for (std::string* line : {&gold, &normalized, &match, &f1}) REQUIRE(std::getline(file, *line));
    CAPTURE(answer);
    CAPTURE(gold);
    CHECK(normalize_answer(answer) == normalized);
    CHECK(exact_match(answer, gold) == (match == "1"));
    CHECK(f1_score(answer, gold) == std::strtod(f1.c_str(), nullptr));
    ++cases;
  }
  CHECK(cases > 300);
}

TEST_CASE("every measure takes its own best gold answer") {
  const std::vector<std::string> gold{"York city in England", "the york", "Leeds"};
  const AnswerMetrics m = compare_answer("York city", gold);
  CHECK(m.exact_match);
  CHECK_FALSE(m.strict_exact_match);
  CHECK(m.f1 == doctest::Approx(2 * 1.0 * 0.5 / 1.5));
  CHECK(compare_answer("A York", gold).strict_exact_match);
  CHECK_FALSE(compare_answer("", gold).exact_match);
  CHECK(compare_answer("The.", gold).exact_match);  // the published measure
  CHECK_FALSE(compare_answer("York", {}).exact_match);
}

TEST_CASE("lower case of ill-formed text") {
  CHECK(lower_case("\xff"
                   "A\xc3") ==
        "\xef\xbf\xbd"
        "a\xef\xbf\xbd");
}

TEST_CASE("lower case is Python's, of every character, alone and about a capital sigma, and of random texts") {
  std::ifstream file = golden_file("lower_case.json");
  const nlohmann::json python = nlohmann::json::parse(file);
  REQUIRE(python["blocks"].size() == 0x110);
  for (char32_t block = 0; block < 0x110; ++block) {
    std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
    for (char32_t c = block << 12; c < (block + 1) << 12; ++c) {
      if (c >= 0xd800 && c < 0xe000) continue;
      std::string character;
      append_utf8(character, c);
      for (const std::string& form : {character, "a" + character + "\u03a3" + character + "b",
                                      character + "\u03a3" + character, "a\u03a3" + character})
        for (const char byte : lower_case(form)) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
    }
    std::ostringstream digits;
    digits << std::hex << std::setfill('0') << std::setw(16) << hash;
    CAPTURE(block);
    CHECK(digits.str() == python["blocks"][block].get<std::string>());
  }
  for (const nlohmann::json& pair : python["texts"]) {
    CAPTURE(pair[0]);
    CHECK(lower_case(pair[0].get<std::string>()) == pair[1].get<std::string>());
  }
}

TEST_CASE("histograms of scores are numpy's") {
  std::ifstream cases = golden_file("detection.txt");
  std::ifstream histograms = golden_file("histogram.txt");
  std::string name, values, labels, results, same_name, ends, right, wrong;
  int compared = 0;
  while (std::getline(cases, name)) {
    for (std::string* line : {&values, &labels, &results}) REQUIRE(std::getline(cases, *line));
    for (std::string* line : {&same_name, &ends, &right, &wrong}) REQUIRE(std::getline(histograms, *line));
    REQUIRE(name == same_name);
    CAPTURE(name);
    std::vector<char> is_right;
    for (const double label : numbers(labels)) is_right.push_back(label == 1);
    const ScoreHistogram histogram = score_histogram(numbers(values), is_right);
    CHECK(histogram.low == numbers(ends)[0]);
    CHECK(histogram.width == numbers(ends)[1]);
    CHECK(std::vector<double>(histogram.right.begin(), histogram.right.end()) == numbers(right));
    CHECK(std::vector<double>(histogram.wrong.begin(), histogram.wrong.end()) == numbers(wrong));
    ++compared;
  }
  CHECK(compared == 4);
  const std::vector<double> scores{0, 1, 2, 3, 4};
  const ScoreHistogram four = score_histogram(scores, std::vector<char>{1, 0, 1, 0, 1}, 4);
  CHECK(four.right == std::vector<Index>{1, 0, 1, 1});
  CHECK(four.wrong == std::vector<Index>{0, 1, 0, 1});
  CHECK(four.middle(1) == 1.5);
  CHECK_THROWS_AS(static_cast<void>(score_histogram({}, {})), ArgumentError);
  CHECK_THROWS_AS(static_cast<void>(score_histogram(scores, std::vector<char>{1})), ArgumentError);
  const std::vector<double> far{-1.7e308, 1.7e308};
  CHECK_THROWS_AS(static_cast<void>(score_histogram(far, std::vector<char>{1, 0})), ArgumentError);
  const std::vector<double> none{std::nan(""), 1};
  CHECK_THROWS_AS(static_cast<void>(score_histogram(none, std::vector<char>{1, 0})), ArgumentError);
}

TEST_CASE("multiple choice by hand") {
  const std::vector<double> right{-3, -1, -5};
  const std::vector<double> wrong{-2, -4};
  const MultipleChoiceMetrics m = multiple_choice(right, wrong, 1);
  CHECK(m.mc1 == 1);
  CHECK(multiple_choice(right, wrong, 0).mc1 == 0);
  CHECK(m.mc3 == doctest::Approx(1.0 / 3));
  const double t = std::exp(-3.0) + std::exp(-1.0) + std::exp(-5.0);
  CHECK(m.mc2 == doctest::Approx(t / (t + std::exp(-2.0) + std::exp(-4.0))));
  CHECK(m.max_true == -1);
  CHECK(m.max_false == -2);
  // An equal score is not above; sums that underflow keep their ratio.
  CHECK(multiple_choice(std::vector<double>{-2}, wrong, 0).mc1 == 0);
  const MultipleChoiceMetrics far = multiple_choice(std::vector<double>{-5000}, std::vector<double>{-5001}, 0);
  CHECK(far.mc2 == doctest::Approx(1 / (1 + std::exp(-1.0))));
  const double none = -std::numeric_limits<double>::infinity();
  CHECK(multiple_choice(std::vector<double>{none}, std::vector<double>{none}, 0).mc2 == 0);
  CHECK(multiple_choice(std::vector<double>{-1}, std::vector<double>{none}, 0).mc2 == 1);
  // As published: equal where nothing underflows; else each side is halved by itself until something is left.
  CHECK(m.mc2_reference == doctest::Approx(m.mc2).epsilon(1e-15));
  const auto published = [](const std::vector<double>& yes, const std::vector<double>& no) {
    return multiple_choice(yes, no, 0).mc2_reference;
  };
  const auto share = [](double yes, double no) { return yes / (yes + no); };
  CHECK(published({-5000}, {-5001}) == doctest::Approx(share(std::exp(0.125), 1)).epsilon(1e-12));  // both over 8
  CHECK(published({-1010}, {-2010}) == doctest::Approx(share(1, std::exp(505 - 502.5))).epsilon(1e-12));
  CHECK(published({-2010, -2030}, {-3}) ==
        doctest::Approx((std::exp(-502.5) + std::exp(-507.5)) * std::exp(3.0)).epsilon(1e-9));
  CHECK(published({-5, -1000}, {-6}) == doctest::Approx(share(std::exp(1.0), 1)).epsilon(1e-12));  // no rescue
  CHECK(published({800}, {-1}) == 0);                                                              // inf / inf
  CHECK(published({none}, {-1}) == 0);
  CHECK(published({-1}, {none}) == 1);
  CHECK(published({none}, {none}) == 0);
  CHECK_THROWS_AS(static_cast<void>(multiple_choice({}, wrong, 0)), ArgumentError);
  CHECK_THROWS_AS(static_cast<void>(multiple_choice(right, wrong, 3)), ArgumentError);
  CHECK_THROWS_AS(static_cast<void>(multiple_choice(right, std::vector<double>{std::nan("")}, 0)), ArgumentError);
}

TEST_CASE("detection equals scikit-learn") {
  std::ifstream file = golden_file("detection.txt");
  std::string name, values_line, labels_line, results;
  int cases = 0;
  while (std::getline(file, name)) {
    for (std::string* line : {&values_line, &labels_line, &results}) REQUIRE(std::getline(file, *line));
    CAPTURE(name);
    const std::vector<double> values = numbers(values_line);
    std::vector<char> right;
    for (const double label : numbers(labels_line)) right.push_back(label != 0);
    const std::vector<double> expected = numbers(results);
    const DetectionMetrics m = detection_metrics(values, right);
    CHECK(m.auroc == doctest::Approx(expected[0]).epsilon(1e-12));
    std::vector<Index> alone(values.size());
    std::iota(alone.begin(), alone.end(), Index{0});
    CHECK(grouped_auroc(values, right, alone, {.resamples = 50}).auroc == doctest::Approx(expected[0]).epsilon(1e-12));
    CHECK(m.average_precision == doctest::Approx(expected[1]).epsilon(1e-12));
    CHECK(m.pr_area == doctest::Approx(expected[2]).epsilon(1e-12));
    // The order of ties does not matter, nor does a monotonic map.
    std::vector<double> mapped(values.rbegin(), values.rend());
    for (double& x : mapped) x = std::atan(x);
    const DetectionMetrics again = detection_metrics(mapped, std::vector<char>(right.rbegin(), right.rend()));
    CHECK(again.auroc == doctest::Approx(m.auroc).epsilon(1e-12));
    CHECK(again.risk_coverage == doctest::Approx(m.risk_coverage).epsilon(1e-12));
    ++cases;
  }
  CHECK(cases == 4);
}

TEST_CASE("Questions are drawn with all their answers: the interval is that of repeated answers") {
  std::mt19937 random(11);
  std::vector<double> values;
  std::vector<char> right;
  std::vector<Index> questions;
  std::vector<std::vector<std::size_t>> answers(40);
  for (std::size_t q = 0; q < answers.size(); ++q)
    for (unsigned a = 0; a < 2 + random() % 5; ++a) {
      answers[q].push_back(values.size());
      right.push_back(random() % 2 == 0);
      values.push_back(static_cast<double>(random() % 9 + (right.back() != 0 ? 2 : 0)));  // with ties
      questions.push_back(static_cast<Index>(3 * q));
    }
  const ResamplingOptions options{.resamples = 200, .seed = 9};
  const AurocEstimate grouped = grouped_auroc(values, right, questions, options);
  CHECK(grouped.auroc == doctest::Approx(detection_metrics(values, right).auroc).epsilon(1e-12));
  const Interval repeated = bootstrap_interval(
      static_cast<Index>(answers.size()),
      [&](std::span<const std::size_t> drawn) {
        std::vector<double> drawn_values;
        std::vector<char> drawn_right;
        for (const std::size_t q : drawn)
          for (const std::size_t i : answers[q]) {
            drawn_values.push_back(values[i]);
            drawn_right.push_back(right[i]);
          }
        return detection_metrics(drawn_values, drawn_right).auroc;
      },
      options);
  CHECK(grouped.interval.low == doctest::Approx(repeated.low).epsilon(1e-12));
  CHECK(grouped.interval.high == doctest::Approx(repeated.high).epsilon(1e-12));
  CHECK(grouped.interval.low < grouped.auroc);
  CHECK(grouped.auroc < grouped.interval.high);

  const std::vector<double> two{1, 2};
  const std::vector<Index> each{0, 1};
  CHECK_THROWS_AS(static_cast<void>(grouped_auroc(two, std::vector<char>{1, 1}, each)), ArgumentError);
  CHECK_THROWS_AS(static_cast<void>(grouped_auroc(two, std::vector<char>{1}, each)), ShapeError);
  CHECK_THROWS_AS(static_cast<void>(grouped_auroc(two, std::vector<char>{1, 0}, std::vector<Index>{-1, 0})),
                  ArgumentError);
  CHECK_THROWS_AS(static_cast<void>(grouped_auroc(std::vector<double>{std::nan(""), 1}, std::vector<char>{1, 0}, each)),
                  ArgumentError);
}

TEST_CASE("risk-coverage by hand") {
  // Most trusted first: right, wrong, right. Risks 0, 1/2, 1/3.
  const std::vector<double> values{3, 2, 1};
  CHECK(detection_metrics(values, std::vector<char>{1, 0, 1}).risk_coverage == doctest::Approx((0.5 + 1.0 / 3) / 3));
  // A tie of right and wrong: the mean of both orders, (0 + 1/2) and (1 + 1/2).
  CHECK(detection_metrics(std::vector<double>{1, 1}, std::vector<char>{1, 0}).risk_coverage == doctest::Approx(0.5));
  CHECK_THROWS_AS(static_cast<void>(detection_metrics(values, std::vector<char>{1, 1, 1})), ArgumentError);
  CHECK_THROWS_AS(static_cast<void>(detection_metrics(values, std::vector<char>{1})), ShapeError);
  CHECK_THROWS_AS(static_cast<void>(detection_metrics(std::vector<double>{std::nan(""), 1}, std::vector<char>{1, 0})),
                  ArgumentError);
}

TEST_CASE("bootstrap of a mean is near the normal interval, and repeatable") {
  std::mt19937 random(5);
  std::vector<double> values(400);
  double mean = 0;
  for (double& x : values) mean += (x = static_cast<double>(random()) / 4294967296.0) / 400;
  double variance = 0;
  for (const double x : values) variance += (x - mean) * (x - mean) / 400;
  const Interval interval = bootstrap_mean_interval(values, {.resamples = 4000});
  const double half = 1.96 * std::sqrt(variance / 400);
  CHECK(interval.low == doctest::Approx(mean - half).epsilon(0.01));
  CHECK(interval.high == doctest::Approx(mean + half).epsilon(0.01));
  CHECK(bootstrap_mean_interval(values, {.resamples = 4000}).low == interval.low);
  const Interval point = bootstrap_mean_interval(std::vector<double>{2});
  CHECK(point.low == 2);
  CHECK(point.high == 2);
  CHECK_THROWS_AS(static_cast<void>(bootstrap_mean_interval({})), ArgumentError);
  CHECK_THROWS_AS(static_cast<void>(bootstrap_mean_interval(values, {.resamples = 0})), ArgumentError);
  CHECK_THROWS_AS(static_cast<void>(bootstrap_mean_interval(values, {.confidence = 1})), ArgumentError);
}

TEST_CASE("the paired test agrees with all sign flips") {
  const std::vector<double> a{1, 1, 0, 1, 1, 0.5, 1, 0, 1, 1};
  const std::vector<double> b{0, 1, 0, 0, 1, 0.25, 1, 1, 0, 0};
  double seen = 0;
  for (std::size_t i = 0; i < a.size(); ++i) seen += a[i] - b[i];
  int hits = 0;
  for (unsigned flips = 0; flips < 1024; ++flips) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += (flips >> i & 1) != 0 ? b[i] - a[i] : a[i] - b[i];
    hits += std::abs(sum) >= std::abs(seen) - 1e-9;
  }
  // Four standard deviations of 20,000 draws.
  CHECK(paired_permutation_test(a, b, {.resamples = 20000}) == doctest::Approx(hits / 1024.0).epsilon(0.05));
  CHECK(paired_permutation_test(a, a) == 1);
  CHECK(paired_permutation_test(a, b) == paired_permutation_test(b, a));
  CHECK_THROWS_AS(static_cast<void>(paired_permutation_test(a, {})), ShapeError);
  CHECK_THROWS_AS(static_cast<void>(paired_permutation_test({}, {})), ArgumentError);
}
