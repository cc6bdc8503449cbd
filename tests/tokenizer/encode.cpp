// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "activation_trace/tokenizer/stream_decoder.hpp"
#include "activation_trace/tokenizer/tokenizer_json.hpp"
#include "tokenizer/golden.hpp"

using namespace activation_trace;
using test::golden_ids;
using test::golden_strings;
using test::read_golden;
using Ids = std::vector<TokenId>;

namespace {

nlohmann::json vocabulary(const std::string& name) {
  return nlohmann::json::parse(read_golden("vocabularies/" + name + ".json"));
}

Tokenizer from_json(const std::string& name) {
  return read_tokenizer_json(read_golden("vocabularies/" + name + ".json"), name + ".json");
}

Tokenizer from_model() { return read_tokenizer_model(read_golden("vocabularies/spm.model"), "spm.model"); }

template <class Skip>
void check_golden(const Tokenizer& tokenizer, const std::string& name, SpecialTokens special, Skip skip) {
  CAPTURE(name);
  const auto strings = golden_strings();
  const auto expected = golden_ids(name + ".ids");
  REQUIRE(expected.size() == strings.size());
  std::size_t compared = 0;
  for (std::size_t i = 0; i < strings.size(); ++i) {
    CAPTURE(i);
    if (skip(strings[i])) continue;
    REQUIRE(tokenizer.encode(strings[i], special) == expected[i]);
    ++compared;
  }
  CHECK(compared >= 1900);
}

void check_golden(const Tokenizer& tokenizer, const std::string& name, SpecialTokens special) {
  check_golden(tokenizer, name, special, [](const std::string&) { return false; });
}

/// Tokens one by one give the same text as all at once, and never half a character.
void check_stream(const Tokenizer& tokenizer, const Ids& ids) {
  StreamDecoder stream(tokenizer, StreamStart::text);
  std::string text;
  for (const TokenId id : ids) {
    const std::string part = stream.push(id);
    REQUIRE(is_valid_utf8(part));
    text += part;
  }
  text += stream.finish();
  REQUIRE(text == tokenizer.decode(ids));
}

}  // namespace

TEST_CASE("byte-level BPE encodes every golden string as tokenizers does, from either file") {
  for (const auto& [name, pre] :
       {std::pair("gpt2", "gpt-2"), std::pair("smollm", "smollm"), std::pair("llama_bpe", "llama-bpe")}) {
    const std::string parse = std::string(name) + ".parse";
    const Tokenizer json = from_json(name);
    check_golden(json, name, SpecialTokens::as_text);
    check_golden(json, parse, SpecialTokens::parse);
    // GGUF cannot say that a token takes the space beside it.
    const auto has_strip = [](const std::string& text) {
      return text.find("<mask>") != std::string::npos || text.find("<strip>") != std::string::npos;
    };
    const Tokenizer gguf = test::tokenizer_of(test::gguf_of(vocabulary(name), pre));
    check_golden(gguf, name, SpecialTokens::as_text, has_strip);
    check_golden(gguf, parse, SpecialTokens::parse, has_strip);
  }
}

TEST_CASE("Qwen2's tokenizer.json encodes every golden string as tokenizers does, in Unicode's NFC") {
  const Tokenizer tokenizer = from_json("qwen2");
  check_golden(tokenizer, "qwen2", SpecialTokens::as_text);
  check_golden(tokenizer, "qwen2.parse", SpecialTokens::parse);
  // A tokenizer.json may also say that nothing is done, as DeepSeek-R1-Distill-Qwen's does, and a GGUF says nothing.
  nlohmann::json json = vocabulary("qwen2");
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", nlohmann::json::array()}};
  const Tokenizer as_it_is = read_tokenizer_json(json.dump(), "qwen2.json");
  const Tokenizer gguf = test::tokenizer_of(test::gguf_of(vocabulary("qwen2"), "qwen2"));
  const auto changes = [](const std::string& text) { return to_nfc(text) != replace_ill_formed(text); };
  check_golden(as_it_is, "qwen2", SpecialTokens::as_text, changes);
  check_golden(gguf, "qwen2", SpecialTokens::as_text, changes);
  const std::string two = "e\u0301";
  CHECK(tokenizer.encode(two) == gguf.encode("\u00e9"));
  CHECK(gguf.encode(two) != gguf.encode("\u00e9"));
  CHECK(as_it_is.encode(two) == gguf.encode(two));
}

TEST_CASE("tekken encodes every golden string as tokenizers does, from either file, with its BOS first") {
  const Tokenizer json = from_json("tekken");
  const Tokenizer gguf = test::tokenizer_of(test::gguf_of(vocabulary("tekken"), "tekken"));
  for (const Tokenizer& tokenizer : {json, gguf}) {
    check_golden(tokenizer, "tekken", SpecialTokens::as_text);
    REQUIRE(tokenizer.bos() >= 0);
    CHECK(tokenizer.encode_prompt("").front() == tokenizer.bos());
  }
}

TEST_CASE("gpt-4o encodes every golden string as tokenizers does, from either file") {
  const Tokenizer json = from_json("gpt4o");
  check_golden(json, "gpt4o", SpecialTokens::as_text);
  check_golden(test::tokenizer_of(test::gguf_of(vocabulary("gpt4o"), "gpt-4o")), "gpt4o", SpecialTokens::as_text);
  CHECK(json.ends_text(json.encode("<|end|>", SpecialTokens::parse).at(0)));
}

TEST_CASE("deepseek-llm and deepseek-coder encode every golden string as tokenizers does, from either file") {
  for (const auto& [name, pre] :
       {std::pair("deepseek_llm", "deepseek-llm"), std::pair("deepseek_coder", "deepseek-coder")}) {
    check_golden(from_json(name), name, SpecialTokens::as_text);
    check_golden(test::tokenizer_of(test::gguf_of(vocabulary(name), pre)), name, SpecialTokens::as_text);
    // A sequence that differs in any step is not theirs.
    const nlohmann::json steps = vocabulary(name)["pre_tokenizer"]["pretokenizers"];
    for (std::size_t i = 0; i < steps.size(); ++i) {
      nlohmann::json changed = vocabulary(name);
      nlohmann::json& step = changed["pre_tokenizer"]["pretokenizers"][i];
      CAPTURE(step.dump());
      if (step["type"] == "Digits")
        step["individual_digits"] = false;
      else if (step["type"] == "ByteLevel")
        step["use_regex"] = true;
      else
        step["behavior"] = "Removed";
      const auto read = [&] { (void)read_tokenizer_json(changed.dump(), "x.json"); };
      CHECK(test::has(test::problem_of(read), "pre_tokenizer"));
    }
  }
}

TEST_CASE("Gemma's tokenizer.json encodes every golden string as tokenizers does, without a space first") {
  nlohmann::json json = vocabulary("llama2_prepend");
  const nlohmann::json space{{"String", " "}};
  json["normalizer"] = {{"type", "Replace"}, {"pattern", space}, {"content", "\u2581"}};
  json["pre_tokenizer"] = {{"type", "Split"}, {"pattern", space}, {"behavior", "MergedWithPrevious"}};
  json["decoder"]["decoders"].erase(3);
  const std::size_t size = json["model"]["vocab"].size();
  for (std::size_t i = 0; i < 3; ++i) {
    const std::string breaks(i + 1, '\n');
    json["added_tokens"].push_back({{"id", size + i}, {"content", breaks}, {"normalized", false}});
    json["model"]["vocab"][breaks] = size + i;
  }
  const Tokenizer tokenizer = read_tokenizer_json(json.dump(), "gemma.json");
  check_golden(tokenizer, "gemma", SpecialTokens::as_text);
  CHECK_FALSE(tokenizer.adds_space());
  CHECK(tokenizer.decode(tokenizer.encode(" a\n\n b")) == " a\n\n b");
  json["pre_tokenizer"]["pattern"] = {{"String", "a"}};
  CHECK(test::has(test::problem_of([&] { (void)read_tokenizer_json(json.dump(), "gemma.json"); }), "Split of spaces"));
}

TEST_CASE("smaug-bpe and dbrx cut as llama-bpe does, but merge whole pieces and put no BOS first; so does qwen2") {
  const auto load = [](const char* pre) {
    test::GgufBuilder builder;
    builder.value("tokenizer.ggml.model", "gpt2")
        .value("tokenizer.ggml.pre", pre)
        .value("tokenizer.ggml.bos_token_id", 0);
    builder.array("tokenizer.ggml.tokens", std::vector<std::string>{"<s>", "a", "b", "c", "ab", "abc"});
    builder.array("tokenizer.ggml.token_type", std::vector<int>{3, 1, 1, 1, 1, 1});
    builder.array("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
    return test::tokenizer_of(builder);
  };
  CHECK(load("llama-bpe").encode_prompt("abc") == Ids{0, 5});
  CHECK(load("falcon3").encode_prompt("abc") == Ids{0, 5});
  CHECK(load("smaug-bpe").encode_prompt("abc") == Ids{4, 3});
  CHECK(load("dbrx").encode_prompt("abc") == Ids{4, 3});
  CHECK(load("qwen2").encode_prompt("abc") == Ids{4, 3});
}

TEST_CASE("an end of text of user-defined type ends a text") {
  test::GgufBuilder builder;
  builder.value("tokenizer.ggml.model", "gpt2").value("tokenizer.ggml.pre", "gpt-2");
  const std::vector<std::string> ends{"<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|end|>", "<EOT>"};
  std::vector<std::string> tokens{"a", "<|im_start|>", "</s>"};
  std::vector<int> types{1, 4, 4};
  for (const std::string& end : ends) {
    tokens.push_back(end);
    types.push_back(4);
  }
  builder.array("tokenizer.ggml.tokens", tokens).array("tokenizer.ggml.token_type", types);
  builder.array("tokenizer.ggml.merges", std::vector<std::string>{});
  const Tokenizer tokenizer = test::tokenizer_of(builder);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    CAPTURE(tokens[i]);
    CHECK(tokenizer.ends_text(id) == (i >= 3));  // </s> is Gemma's, of HTML
    // What ends a text is a control token then, which no user's text is.
    CHECK(tokenizer.is_control(id) == (i >= 3));
    CHECK((tokenizer.encode(tokens[i], SpecialTokens::as_text) == Ids{id}) == (i < 3));
    CHECK(tokenizer.encode(tokens[i], SpecialTokens::parse) == Ids{id});
  }
}

TEST_CASE("SentencePiece BPE encodes every golden string as sentencepiece does") {
  check_golden(from_model(), "spm", SpecialTokens::as_text);
  // In a GGUF file user-defined tokens are cut out before the space is put first.
  const Tokenizer gguf = test::tokenizer_of(test::gguf_of_model(read_golden("vocabularies/spm.model")));
  check_golden(gguf, "spm", SpecialTokens::as_text,
               [](const std::string& text) { return text.find("<tool") != std::string::npos; });
  CHECK(gguf.bos() == 1);
  CHECK(gguf.eos() == 2);
  CHECK(gguf.encode_prompt("a").front() == 1);
}

TEST_CASE("both forms of Llama 2's tokenizer.json encode every golden string as tokenizers does") {
  for (const std::string name : {"llama2_prepend", "llama2_metaspace"}) {
    const Tokenizer tokenizer = from_json(name);
    check_golden(tokenizer, name, SpecialTokens::as_text);
    check_golden(tokenizer, name + ".parse", SpecialTokens::parse);
    CHECK(tokenizer.bos() == 1);
    CHECK(tokenizer.settings().add_bos);
  }
}

TEST_CASE("decoding matches the other programs") {
  std::size_t cases = 0;
  for (test::GoldenReader reader("decode.bin"); !reader.at_end();) {
    const std::string name = reader.text();
    CAPTURE(name);
    const Tokenizer tokenizer = name == "spm" ? from_model() : from_json(name);
    for (std::size_t n = reader.number(); n != 0; --n, ++cases) {
      const Ids ids = reader.ids();
      CAPTURE(ids.size());
      REQUIRE(tokenizer.decode(ids) == reader.text());
      check_stream(tokenizer, ids);
    }
  }
  CHECK(cases == 600);
}

TEST_CASE("decoding what was encoded gives the text back") {
  const auto strings = golden_strings();
  for (const std::string name : {"gpt2", "llama_bpe", "spm", "llama2_prepend"}) {
    CAPTURE(name);
    const Tokenizer tokenizer = name == "spm" ? from_model() : from_json(name);
    for (std::size_t i = 0; i < strings.size(); ++i) {
      CAPTURE(i);
      // U+2581 is the space's mark, and comes back as one; the tokens with strip flags take spaces away.
      if (tokenizer.adds_space() && strings[i].find("\u2581") != std::string::npos) continue;
      if (strings[i].find("<strip>") != std::string::npos) continue;
      const Ids ids = tokenizer.encode(strings[i]);
      REQUIRE(tokenizer.decode(ids) == replace_ill_formed(strings[i]));
      check_stream(tokenizer, ids);
    }
  }
}

TEST_CASE("a stream after a prompt keeps the space before the first word") {
  const Tokenizer tokenizer = from_model();
  const Ids ids = tokenizer.encode("the capital");
  StreamDecoder stream(tokenizer);
  std::string text;
  for (const TokenId id : ids) text += stream.push(id);
  CHECK(text + stream.finish() == " the capital");
}

TEST_CASE("special tokens: cut out first, the longest, control tokens only when asked") {
  const Tokenizer tokenizer = from_json("gpt2");
  const TokenId start = tokenizer.encode("<|im_start|>", SpecialTokens::parse).at(0);
  CHECK(tokenizer.is_control(start));
  CHECK(tokenizer.piece(start) == "<|im_start|>");
  CHECK(tokenizer.encode("<|im_start|>").size() > 1);
  CHECK(tokenizer.decode(Ids{start}).empty());
  CHECK(tokenizer.decode(Ids{start}, ControlTokens::show) == "<|im_start|>");
  const Ids call = tokenizer.encode("<tool_call>");
  REQUIRE(call.size() == 1);
  CHECK_FALSE(tokenizer.is_control(call[0]));
  CHECK(tokenizer.decode(call) == "<tool_call>");
  CHECK(tokenizer.encode("<tool>").size() == 1);
  const TokenId end = tokenizer.encode("<|im_end|>", SpecialTokens::parse).at(0);
  CHECK(tokenizer.ends_text(end));
  CHECK_FALSE(tokenizer.ends_text(start));
  CHECK_FALSE(tokenizer.ends_text(-1));
}

TEST_CASE("white space behind Phi-3's special tokens belongs to them, and behind those of others does not") {
  const auto load = [](const char* name) {
    test::GgufBuilder builder;
    builder.value("general.name", name).value("tokenizer.ggml.model", "llama");
    builder.value("tokenizer.ggml.add_bos_token", false).value("tokenizer.ggml.add_space_prefix", false);
    builder.array("tokenizer.ggml.tokens",
                  std::vector<std::string>{"<unk>", "<s>", "</s>", "<|end|>", "<|user|>", "a", "\u2581", "\n"});
    builder.array("tokenizer.ggml.scores", std::vector<float>(8, 0));
    builder.array("tokenizer.ggml.token_type", std::vector<int>{2, 3, 4, 3, 4, 1, 1, 1});
    return test::tokenizer_of(builder);
  };
  for (const char* name : {"Phi3", "microsoft_Phi-3-mini-4k-instruct", "PHI-3.5"}) {
    CAPTURE(name);
    const Tokenizer tokenizer = load(name);
    CHECK(tokenizer.encode("a </s> \na", SpecialTokens::as_text) == Ids{5, 6, 2, 5});
    CHECK(tokenizer.encode("<|user|>\na <|end|>\n\n", SpecialTokens::parse) == Ids{4, 5, 6, 3});
    CHECK(tokenizer.encode("<s> a<unk> ", SpecialTokens::parse) == Ids{1, 6, 5, 0, 6});
  }
  for (const char* name : {"Phi 3 Mini", "phi-4", "Llama"})  // as llama.cpp looks for the name
    CHECK(load(name).encode("a </s> \na", SpecialTokens::as_text) == Ids{5, 6, 2, 6, 7, 5});
}

TEST_CASE("BOS comes once") {
  const Tokenizer tokenizer = from_json("llama_bpe");
  const Ids with = tokenizer.encode_prompt("a");
  CHECK(with.front() == tokenizer.bos());
  CHECK(with.size() == tokenizer.encode("a").size() + 1);
  CHECK(tokenizer.encode_prompt("<|begin_of_text|>a", SpecialTokens::parse) == with);
  CHECK(tokenizer.encode_prompt("") == Ids{tokenizer.bos()});
  CHECK(from_json("gpt2").encode_prompt("").empty());
}

TEST_CASE("ids of a model's padding are no text, negative ones are errors") {
  // `tokenizers` passes over ids that it does not have as well.
  for (const Tokenizer& tokenizer : {from_json("gpt2"), from_model()}) {
    const auto beyond = static_cast<TokenId>(tokenizer.vocab_size());
    for (const TokenId id : {beyond, beyond + 63, 2147483647}) {
      CHECK(tokenizer.piece(id).empty());
      CHECK(tokenizer.is_control(id));
      CHECK_FALSE(tokenizer.ends_text(id));
      // Also inside of a character and before the space that is taken away.
      Ids ids = tokenizer.encode("\xf0\x9f\x98\x80 the capital");
      const std::string text = tokenizer.decode(ids);
      for (std::size_t i = ids.size() + 1; i-- != 0;) ids.insert(ids.begin() + static_cast<std::ptrdiff_t>(i), id);
      CHECK(tokenizer.decode(ids) == text);
      CHECK(tokenizer.decode(ids, ControlTokens::show) == text);
      check_stream(tokenizer, ids);
    }
    for (const TokenId id : {-1, -2147483647}) {
      CHECK_THROWS_AS((void)tokenizer.piece(id), ArgumentError);
      CHECK_THROWS_AS((void)tokenizer.is_control(id), ArgumentError);
      CHECK_THROWS_AS((void)tokenizer.decode(Ids{id}), ArgumentError);
      CHECK_THROWS_AS((void)StreamDecoder(tokenizer).push(id), ArgumentError);
    }
  }
}

TEST_CASE("a model's settings name further ends of text, each once, and none that the model lacks") {
  const Tokenizer tokenizer = from_json("gpt2");
  const Ids ends(tokenizer.end_tokens().begin(), tokenizer.end_tokens().end());
  REQUIRE_FALSE(ends.empty());
  REQUIRE(ends.front() > 3);
  const Tokenizer fitted = tokenizer.for_model(100'000, Ids{3, ends.front(), 3});
  Ids expected{3};
  expected.insert(expected.end(), ends.begin(), ends.end());
  CHECK(Ids(fitted.end_tokens().begin(), fitted.end_tokens().end()) == expected);
  CHECK(fitted.ends_text(3));
  CHECK_FALSE(tokenizer.ends_text(3));
  CHECK(tokenizer.for_model(4, Ids{3}).end_tokens().size() == 1);
  CHECK_FALSE(tokenizer.for_model(3, Ids{3}).ends_text(3));
}

TEST_CASE("a token that the model lacks is an error that names it and both sizes") {
  const Tokenizer tokenizer = from_json("gpt2");
  const std::string size = std::to_string(tokenizer.vocab_size());
  const TokenId call = tokenizer.encode("<tool_call>").at(0);
  const Tokenizer fitted = tokenizer.for_model(call);
  CHECK(fitted.encode("the capital") == tokenizer.encode("the capital"));
  for (const auto& encode : {+[](const Tokenizer& t) { return t.encode("a <tool_call>"); },
                             +[](const Tokenizer& t) { return t.encode_prompt("a <tool_call>"); }}) {
    std::string message;
    try {
      (void)encode(fitted);
    } catch (const ArgumentError& error) {
      message = error.what();
    }
    CAPTURE(message);
    CHECK(test::has(message, "token " + std::to_string(call) + " ('<tool_call>')"));
    CHECK(test::has(message,
                    "the model's vocabulary has " + std::to_string(call) + " tokens and the tokenizer's " + size));
    CHECK(encode(tokenizer.for_model(tokenizer.vocab_size())) == encode(tokenizer));
    CHECK(encode(tokenizer.for_model(100'000)) == encode(tokenizer));
  }
  // Also one that the file puts around the text.
  const Tokenizer llama3 = from_json("llama_bpe");
  CHECK_THROWS_AS((void)llama3.for_model(llama3.bos()).encode_prompt(""), ArgumentError);
}

TEST_CASE("a copy outlives what it was made from") {
  Tokenizer copy = from_json("gpt2");
  {
    const Tokenizer original = from_json("llama_bpe");
    copy = original;
  }
  CHECK(copy.decode(copy.encode("Hello world")) == "Hello world");
}

TEST_CASE("long runs do not take quadratic time") {
  // Quadratic merging of these would take minutes each; the test's time limit is the check.
  constexpr std::size_t long_run = 100'000;
  for (const std::string name : {"gpt2", "smollm", "llama_bpe", "llama2_prepend"}) {
    const Tokenizer tokenizer = from_json(name);
    for (const char* unit : {"a", " ", "\n", "1", "'", "\xcc\x81", "ab", "\x80", "<"}) {
      std::string text;
      while (text.size() < long_run) text += unit;
      const Ids ids = tokenizer.encode(text);
      CHECK(!ids.empty());
      if (name == "gpt2") CHECK(tokenizer.decode(ids) == replace_ill_formed(text));
    }
  }
}

TEST_CASE("tokens of type unused are taken apart again") {
  // SentencePiece: "abc" would be a+b, then ab+c; "ab" is unused, so its parts come out.
  test::GgufBuilder builder;
  builder.value("tokenizer.ggml.model", "llama").value("tokenizer.ggml.add_space_prefix", false);
  builder.array("tokenizer.ggml.tokens", std::vector<std::string>{"<unk>", "<s>", "</s>", "a", "b", "c", "ab", "bc"});
  builder.array("tokenizer.ggml.scores", std::vector<float>{0, 0, 0, -3, -4, -5, -1, -2});
  builder.array("tokenizer.ggml.token_type", std::vector<int>{2, 3, 3, 1, 1, 1, 5, 1});
  const Tokenizer tokenizer = test::tokenizer_of(builder);
  CHECK(tokenizer.encode("abc") == Ids{3, 4, 5});
  CHECK(tokenizer.encode("bc") == Ids{7});
  CHECK(tokenizer.encode("xyb") == Ids{0, 4});  // neighbours without a token are one unknown
}
