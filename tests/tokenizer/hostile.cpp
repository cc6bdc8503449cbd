// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "tokenizer/golden.hpp"

using namespace activation_trace;
using Ids = std::vector<TokenId>;

namespace {

/// Seconds of the fastest of three.
template <class Call>
double seconds(Call&& call) {
  double best = 1e9;
  for (int i = 0; i < 3; ++i) {
    const auto start = std::chrono::steady_clock::now();
    call();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

/// Distinct texts of 16 * pairs bytes with one value of libstdc++'s std::hash, Murmur's mixing: two blocks in a row
/// can be changed so that the second takes back what the first did.
std::vector<std::string> colliding_texts(std::size_t count) {
  constexpr std::uint64_t mul = 0xc6a4a7935bd1e995;
  std::uint64_t inverse = 1;  // of mul modulo 2^64, by Newton's iteration
  for (int i = 0; i < 6; ++i) inverse *= 2 - mul * inverse;
  const auto unmix = [](std::uint64_t v) { return v ^ (v >> 47); };  // its own inverse
  const auto block_of = [&](std::uint64_t mixed) { return unmix(mixed * inverse) * inverse; };
  std::vector<std::string> texts(count);
  for (std::size_t pair = 0; count >> pair != 0; ++pair)
    for (std::size_t k = 0; k < count; ++k) {
      // The highest bit survives the multiplication that follows each block, as itself.
      const std::uint64_t flip = k >> pair & 1 ? std::uint64_t{1} << 63 : 0;
      for (const std::uint64_t mixed : {0x0123456789abcdefu + pair, 0x0fedcba987654321u + pair}) {
        const std::uint64_t block = block_of(mixed ^ flip);
        char bytes[8];
        std::memcpy(bytes, &block, 8);
        texts[k].append(bytes, 8);
      }
    }
  return texts;
}

/// Views the texts.
Vocabulary vocabulary_of(const std::vector<std::string>& texts) {
  Vocabulary vocabulary{
      .file = "test", .tokens = {texts.begin(), texts.end()}, .types = {}, .scores = {}, .merges = {}};
  vocabulary.types.assign(texts.size(), TokenType::normal);
  vocabulary.scores.assign(texts.size(), 0.0f);
  return vocabulary;
}

/// Bytes in GPT-2's alphabet.
std::string in_byte_alphabet(std::string_view bytes) {
  std::string text;
  const auto put = [&](unsigned c) {
    if (c < 0x80) return text.push_back(static_cast<char>(c));
    text.push_back(static_cast<char>(0xc0 | c >> 6));
    text.push_back(static_cast<char>(0x80 | (c & 63)));
  };
  const auto prints = [](unsigned b) { return (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad); };
  for (const char c : bytes) {
    const unsigned b = static_cast<unsigned char>(c);
    unsigned before = 0;
    for (unsigned other = 0; other < b; ++other) before += prints(other) ? 0 : 1;
    put(prints(b) ? b : 0x100 + before);
  }
  return text;
}

using Tokens = std::vector<std::pair<std::string, TokenId>>;

using Matches = std::vector<std::pair<std::size_t, TokenId>>;

/// By trying every token at every place; of equal texts the first.
Matches matches_by_trying(const Tokens& tokens, std::string_view text) {
  Matches found;
  for (std::size_t i = 0; i < text.size();) {
    const Tokens::value_type* longest = nullptr;
    for (const auto& token : tokens)
      if (!token.first.empty() && text.substr(i).starts_with(token.first) &&
          (longest == nullptr || token.first.size() > longest->first.size()))
        longest = &token;
    if (longest != nullptr) found.emplace_back(i, longest->second);
    i += longest != nullptr ? longest->first.size() : 1;
  }
  return found;
}

Matches matches_by_matcher(const Tokens& tokens, std::string_view text) {
  Matches found;
  detail::TokenMatcher(tokens).scan(text, [&](const detail::TokenMatcher::Match& match) {
    found.emplace_back(match.begin, match.id);
    return match.begin + match.length;
  });
  return found;
}

}  // namespace

TEST_CASE("token types and scores of another length than the tokens are refused before they are read") {
  for (const std::size_t size : {0u, 1u, 3u, 5u, 1000u}) {
    CAPTURE(size);
    const std::string types = "4 tokens but " + std::to_string(size) + " token types";
    const std::string scores =
        size == 0 ? "neither scores nor merges" : "4 tokens but " + std::to_string(size) + " scores";
    test::GgufBuilder builder;
    builder.value("tokenizer.ggml.model", "gpt2").value("tokenizer.ggml.pre", "gpt-2");
    builder.array("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "ab", "<e>"});
    builder.array("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
    builder.array("tokenizer.ggml.token_type", std::vector<int>(size, 1));
    CHECK(test::has(test::problem_of([&] { (void)test::tokenizer_of(builder); }), types));
    test::GgufBuilder pieces;
    pieces.value("tokenizer.ggml.model", "llama");
    pieces.array("tokenizer.ggml.tokens", std::vector<std::string>{"<unk>", "<s>", "</s>", "a"});
    test::GgufBuilder other = pieces;
    pieces.array("tokenizer.ggml.scores", std::vector<float>(4))
        .array("tokenizer.ggml.token_type", std::vector<int>(size, 1));
    CHECK(test::has(test::problem_of([&] { (void)test::tokenizer_of(pieces); }), types));
    other.array("tokenizer.ggml.scores", std::vector<float>(size));
    CHECK(test::has(test::problem_of([&] { (void)test::tokenizer_of(other); }), scores));

    // The same by hand.
    const std::vector<std::string> texts{"a", "b", "ab", "<e>"};
    Vocabulary wrong = vocabulary_of(texts);
    wrong.types.resize(size, TokenType::normal);
    TokenizerSettings settings;
    CHECK(test::has(
        test::problem_of([&] { (void)detail::find_special_tokens(wrong, UserDefinedTokens::inside, settings); }),
        types));
    CHECK(
        test::has(test::problem_of([&] { (void)BpeTokenizer(wrong, PreTokenizer::gpt2, WholePieces::merge); }), types));
    CHECK(test::has(test::problem_of([&] { (void)SentencePieceTokenizer(wrong, {}); }), types));
    const Vocabulary right = vocabulary_of(texts);
    const std::vector<std::string> fewer{"a", "b"};
    const auto bpe = [&] { return BpeTokenizer(right, PreTokenizer::gpt2, WholePieces::merge); };
    CHECK(test::has(test::problem_of([&] { (void)Tokenizer(wrong, bpe(), {}, {}); }), types));
    CHECK(test::has(test::problem_of([&] { (void)Tokenizer(vocabulary_of(fewer), bpe(), {}, {}); }),
                    "2 tokens, but its tokenizer"));
  }
}

TEST_CASE("token texts of one hash take no longer than others") {
  const std::vector<std::string> crafted = colliding_texts(8192);
  CHECK(std::set<std::string>(crafted.begin(), crafted.end()).size() == crafted.size());
#ifdef __GLIBCXX__
  for (const std::string& text : crafted)
    if (std::hash<std::string_view>{}(text) != std::hash<std::string_view>{}(crafted[0])) FAIL("they do not collide");
#endif
  std::mt19937_64 random(1);
  std::vector<std::string> others = crafted;
  for (std::string& text : others)
    for (std::size_t i = 0; i < text.size(); i += 8) {
      const std::uint64_t block = random();
      std::memcpy(text.data() + i, &block, 8);
    }
  // A walk along one bucket took two hundred times as long.
  const auto check = [&](auto&& load) {
    const double usual = seconds([&] { load(others); });
    const double hostile = seconds([&] { load(crafted); });
    CAPTURE(usual);
    CAPTURE(hostile);
    CHECK(hostile < 20 * usual);
  };
  check([](const std::vector<std::string>& texts) {
    const detail::TokenIndex index = detail::index_tokens(vocabulary_of(texts));
    for (std::size_t i = 0; i < texts.size(); ++i)
      if (index.find(texts[i]) != static_cast<TokenId>(i)) FAIL("token " << i);
    if (index.find(texts[0] + "x") != -1 || index.find("") != -1) FAIL("what is not there");
  });
  const auto in_alphabet = [](const std::vector<std::string>& texts) {
    std::vector<std::string> result;
    for (const std::string& text : texts) result.push_back(in_byte_alphabet(text));
    return result;
  };
  const std::vector<std::string> crafted_alphabet = in_alphabet(crafted);
  const std::vector<std::string> other_alphabet = in_alphabet(others);
  check([&](const std::vector<std::string>& texts) {
    (void)BpeTokenizer(vocabulary_of(&texts == &crafted ? crafted_alphabet : other_alphabet), PreTokenizer::llama_bpe,
                       WholePieces::take);
  });
  check([](const std::vector<std::string>& texts) {
    (void)SentencePieceTokenizer(vocabulary_of(texts), {.unknown = 0});
  });
}

TEST_CASE("tokens are found from the left, the longest, as by trying them all") {
  std::mt19937 random(7);
  const auto word = [&](std::size_t longest, unsigned letters) {
    std::string text(random() % (longest + 1), ' ');
    for (char& c : text) c = static_cast<char>(random() % 16 == 0 ? 200 + random() % 2 : 'a' + random() % letters);
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    const auto letters = static_cast<unsigned>(1 + random() % 3);
    Tokens tokens;
    const std::size_t count = random() % 12;
    for (std::size_t t = 0; t < count; ++t)
      tokens.emplace_back(word(1 + random() % 9, letters), static_cast<TokenId>(t));
    const std::string text = word(60, letters);
    CAPTURE(text);
    REQUIRE(matches_by_matcher(tokens, text) == matches_by_trying(tokens, text));
  }
}

TEST_CASE("a token that a text almost has everywhere takes linear time") {
  // 1.8 s before, by trying it at each place; the time limit of the test is not the check, but this is.
  const std::string token = std::string(8000, 'a') + 'b';
  const auto load = [&](const std::string& model, TokenType type) {
    test::GgufBuilder builder;
    builder.value("tokenizer.ggml.model", model).value("tokenizer.ggml.pre", "gpt-2");
    builder.array("tokenizer.ggml.tokens", std::vector<std::string>{"<unk>", "<s>", "</s>", "a", "aa", token});
    builder.array("tokenizer.ggml.scores", std::vector<float>{0, 0, 0, -2, -1, 0});
    builder.array("tokenizer.ggml.token_type", std::vector<int>{2, 3, 3, 1, 1, static_cast<int>(type)});
    builder.array("tokenizer.ggml.merges", std::vector<std::string>{"a a"});
    return test::tokenizer_of(builder);
  };
  const std::string text(128'000, 'a');
  for (const char* model : {"gpt2", "llama"}) {
    CAPTURE(model);
    const Tokenizer with = load(model, TokenType::user_defined);
    const Tokenizer without = load(model, TokenType::normal);
    const double usual = seconds([&] { (void)without.encode(text); });
    const double hostile = seconds([&] { (void)with.encode(text); });
    CAPTURE(usual);
    CAPTURE(hostile);
    CHECK(hostile < 10 * usual);
    CHECK(with.encode(text) == without.encode(text));
    CHECK(with.encode(token) == Ids{5});
  }
  // The same inside of SentencePiece's text.
  const std::vector<std::string> texts{"<unk>", "a", "aa", token};
  Vocabulary vocabulary = vocabulary_of(texts);
  vocabulary.types[3] = TokenType::user_defined;
  const SentencePieceTokenizer inside(
      vocabulary, {.space_prefix = SpacePrefix::none, .user_defined = UserDefinedTokens::inside, .unknown = 0});
  vocabulary.types[3] = TokenType::normal;
  const SentencePieceTokenizer plain(vocabulary, {.space_prefix = SpacePrefix::none, .unknown = 0});
  Ids ids;
  const double usual = seconds([&] { ids.clear(), plain.encode(text, TextPlace::at_start, ids); });
  CHECK(seconds([&] { ids.clear(), inside.encode(text, TextPlace::at_start, ids); }) < 10 * usual);
  ids.clear();
  inside.encode("aa" + token + "a", TextPlace::at_start, ids);
  CHECK(ids == Ids{2, 3, 1});
}

TEST_CASE("many added tokens take linear time") {
  // 20,000 took 0.4 s for each pair to be compared.
  const std::string model = test::read_golden("vocabularies/spm.model");
  const auto load = [&](TokenId count) {
    TokenizerFolderSettings folder;
    for (TokenId i = 0; i < count; ++i) folder.added.push_back({"<added " + std::to_string(i) + ">", 1000 + i});
    return read_tokenizer_model(model, "tokenizer.model", folder);
  };
  CHECK(load(3000).vocab_size() == 4000);
  const double few = seconds([&] { (void)load(3000); });
  CHECK(seconds([&] { (void)load(48000); }) < 60 * few);
}
