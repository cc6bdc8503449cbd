// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/tokenizer/pretokenizer.hpp"
#include "activation_trace/tokenizer/sentencepiece.hpp"
#include "activation_trace/tokenizer/stream_decoder.hpp"
#include "tokenizer/golden.hpp"

using namespace activation_trace;
using Strings = std::vector<std::string>;

namespace {

Strings split(PreTokenizer kind, std::string_view text) {
  Strings pieces;
  pre_tokenize(kind, text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

void check_pieces(PreTokenizer kind, const Strings& strings, const std::string& golden) {
  CAPTURE(golden);
  const auto expected = test::golden_ids(golden);
  REQUIRE(expected.size() == strings.size());
  for (std::size_t i = 0; i < strings.size(); ++i) {
    CAPTURE(i);
    const std::string text = replace_ill_formed(strings[i]);
    std::vector<TokenId> lengths;
    std::string joined;
    for (const std::string& piece : split(kind, text)) {
      lengths.push_back(static_cast<TokenId>(piece.size()));
      joined += piece;
    }
    REQUIRE(lengths == expected[i]);
    REQUIRE(joined == text);
  }
}

}  // namespace

TEST_CASE("UTF-8 is decoded as Unicode's table 3-7 says") {
  using Status = DecodedCharacter::Status;
  // Every code point, encoded here by the definition.
  for (char32_t c = 0; c < 0x110000; ++c) {
    std::string text;
    const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
    if (c < 0x80) {
      put(c);
    } else if (c < 0x800) {
      put(0xc0 | c >> 6), put(0x80 | (c & 63));
    } else if (c < 0x10000) {
      put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 63)), put(0x80 | (c & 63));
    } else {
      put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 63)), put(0x80 | (c >> 6 & 63)), put(0x80 | (c & 63));
    }
    const DecodedCharacter got = decode_character(text, 0);
    const bool surrogate = c >= 0xd800 && c < 0xe000;
    if (got.status != (surrogate ? Status::ill_formed : Status::valid) ||
        (!surrogate && (got.code_point != c || got.length != text.size())))
      FAIL("code point " << static_cast<unsigned>(c));
    for (std::size_t cut = 1; cut < text.size() && !surrogate; ++cut)
      if (decode_character(text.substr(0, cut), 0).status != Status::truncated) FAIL("prefix of " << unsigned(c));
  }
}

TEST_CASE("ill-formed bytes are replaced once per maximal subpart") {
  // The examples of the Unicode Standard, section 3.9, tables 3-8 to 3-11.
  const std::string r = "\xef\xbf\xbd";
  CHECK(replace_ill_formed("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82"
                           "A") == r + r + r + r + r + r + r + r + "A");
  CHECK(replace_ill_formed("\xED\xA0\x80\xED\xBF\xBF\xED\xAF"
                           "A") == r + r + r + r + r + r + r + r + "A");
  CHECK(replace_ill_formed("\xF4\x91\x92\x93\xFF"
                           "A\x80\xBF"
                           "B") == r + r + r + r + r + "A" + r + r + "B");
  CHECK(replace_ill_formed("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
                           "A") == r + r + r + r + "A");
  CHECK(is_valid_utf8("caf\xc3\xa9"));
  CHECK_FALSE(is_valid_utf8("caf\xc3"));
}

TEST_CASE("a stream holds back half a character and loses nothing") {
  for (const std::string& text : test::golden_strings()) {
    for (std::size_t step : {1u, 2u, 3u, 5u}) {
      Utf8Stream stream;
      std::string all;
      for (std::size_t i = 0; i < text.size(); i += step) {
        const std::string part = stream.push(std::string_view(text).substr(i, step));
        REQUIRE(is_valid_utf8(part));
        all += part;
      }
      all += stream.finish();
      REQUIRE(all == replace_ill_formed(text));
      REQUIRE(stream.finish().empty());
    }
  }
  Utf8Stream stream;
  CHECK(stream.push("\xf0\x9f").empty());
  CHECK(stream.push("\x98").empty());
  CHECK(stream.push("\x80!") == "\xf0\x9f\x98\x80!");
}

TEST_CASE("pre-tokenizers cut every golden string as the regular expressions do") {
  const auto strings = test::golden_strings();
  REQUIRE(strings.size() >= 2000);
  check_pieces(PreTokenizer::gpt2, strings, "gpt2.pieces");
  check_pieces(PreTokenizer::smollm, strings, "smollm.pieces");
  check_pieces(PreTokenizer::llama_bpe, strings, "llama_bpe.pieces");
  check_pieces(PreTokenizer::qwen2, strings, "qwen2.pieces");
  check_pieces(PreTokenizer::tekken, strings, "tekken.pieces");
  check_pieces(PreTokenizer::gpt4o, strings, "gpt4o.pieces");
  check_pieces(PreTokenizer::deepseek_llm, strings, "deepseek_llm.pieces");
  check_pieces(PreTokenizer::deepseek_coder, strings, "deepseek_coder.pieces");
}

TEST_CASE("tekken and gpt-4o cut random words of all cases, and of none, as their regular expressions do") {
  const auto cases = test::golden_strings("cases.bin");
  REQUIRE(cases.size() == 2000);
  check_pieces(PreTokenizer::tekken, cases, "tekken.cases.pieces");
  check_pieces(PreTokenizer::gpt4o, cases, "gpt4o.cases.pieces");
}

TEST_CASE("DeepSeek's steps cut random runs of what they tell apart as their regular expressions do in turn") {
  const auto cases = test::golden_strings("step_cases.bin");
  REQUIRE(cases.size() == 2000);
  check_pieces(PreTokenizer::deepseek_llm, cases, "deepseek_llm.step_cases.pieces");
  check_pieces(PreTokenizer::deepseek_coder, cases, "deepseek_coder.step_cases.pieces");
}

TEST_CASE("pre-tokenizers on text where they differ") {
  CHECK(split(PreTokenizer::gpt2, "it's 1234  IT'S\n\n x") ==
        Strings{"it", "'s", " 1234", " ", " IT", "'", "S", "\n\n", " x"});
  CHECK(split(PreTokenizer::smollm, "it's 12 ") == Strings{"it", "'s", " ", "1", "2", " "});
  CHECK(split(PreTokenizer::llama_bpe, "IT'S 12345\n \n  x!\n") ==
        Strings{"IT", "'S", " ", "123", "45", "\n \n", " ", " x", "!\n"});
  CHECK(split(PreTokenizer::qwen2, "IT'S 123\n \n  x!\n") ==
        Strings{"IT", "'S", " ", "1", "2", "3", "\n \n", " ", " x", "!\n"});
  CHECK(split(PreTokenizer::tekken, "it's camelCaseHTTP2 +/\n/x") ==
        Strings{"it", "'s", " camel", "Case", "HTTP", "2", " +/\n/", "x"});
  CHECK(split(PreTokenizer::gpt4o, "it'S camelHTTP'LL 1234") == Strings{"it'S", " camel", "HTTP'LL", " ", "123", "4"});
  // The symbols' range ":-~" cuts out of a word that was a piece already what has no accent.
  CHECK(split(PreTokenizer::deepseek_llm, "a caf\u00e9 +1") == Strings{"a", " caf", "\u00e9", " +", "1"});
  CHECK(split(PreTokenizer::deepseek_coder, "a caf\u00e9 +1\u6771") == Strings{"a", " caf\u00e9", " +", "1", "\u6771"});
}

TEST_CASE("llama.cpp's other names of the pre-tokenizers, and what it does for them besides") {
  const auto check = [](PreTokenizer kind, bool like_llama3, std::initializer_list<const char*> names) {
    for (const char* name : names) {
      CAPTURE(name);
      const auto found = find_pre_tokenizer(name);
      REQUIRE(found.has_value());
      CHECK(found->kind == kind);
      CHECK(found->like_llama3 == like_llama3);
    }
  };
  check(PreTokenizer::gpt2, false, {"gpt-2", "phi-2", "olmo"});
  check(PreTokenizer::smollm, false, {"smollm", "refact", "starcoder", "command-r", "exaone"});
  check(PreTokenizer::llama_bpe, true,
        {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"});
  check(PreTokenizer::llama_bpe, false, {"smaug-bpe", "dbrx"});
  check(PreTokenizer::tekken, true, {"tekken"});
  check(PreTokenizer::gpt4o, false, {"gpt-4o"});
  check(PreTokenizer::deepseek_llm, false, {"deepseek-llm"});
  check(PreTokenizer::deepseek_coder, false, {"deepseek-coder"});
  check(PreTokenizer::qwen2, false, {"qwen2", "deepseek-r1-qwen", "stablelm2"});
  CHECK_FALSE(find_pre_tokenizer("viking").has_value());
  CHECK_FALSE(find_pre_tokenizer("").has_value());
}

TEST_CASE("byte tokens are exactly <0xNN>") {
  CHECK(detail::parse_byte_token("<0x0A>") == 10);
  CHECK(detail::parse_byte_token("<0xff>") == 255);
  for (const char* text : {"<0x-1>", "<0x+1>", "<0x 1>", "<0xG0>", "<0x1>", "<0x123>", "<0xx1>", "0x0A", "<0X0A>", ""})
    CHECK_FALSE(detail::parse_byte_token(text).has_value());
}
