// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "support/tiny_llama.hpp"
#include "tokenizer/golden.hpp"

using namespace activation_trace;
using test::GgufBuilder;
using test::has;
using test::problem_of;
using test::read_golden;
using Json = nlohmann::json;
using Strings = std::vector<std::string>;

namespace {

struct Metadata {
  std::string model = "gpt2";
  std::string pre = "gpt-2";
  Strings tokens{"a", "b", "ab", "<e>"};
  std::vector<int> types{1, 1, 1, 3};
  Strings merges{"a b"};
  std::vector<float> scores{};
  int eos = 3;

  [[nodiscard]] std::string problem(const std::function<void(GgufBuilder&)>& more = {}) const {
    GgufBuilder builder;
    if (!model.empty()) builder.value("tokenizer.ggml.model", model);
    if (!pre.empty()) builder.value("tokenizer.ggml.pre", pre);
    if (!tokens.empty()) builder.array("tokenizer.ggml.tokens", tokens);
    if (!types.empty()) builder.array("tokenizer.ggml.token_type", types);
    if (!merges.empty()) builder.array("tokenizer.ggml.merges", merges);
    if (!scores.empty()) builder.array("tokenizer.ggml.scores", scores);
    builder.value("tokenizer.ggml.eos_token_id", eos);
    if (more) more(builder);
    return problem_of([&] { (void)test::tokenizer_of(builder); });
  }
};

std::string json_problem(const std::string& name, const std::function<void(Json&)>& change) {
  Json json = Json::parse(read_golden("vocabularies/" + name + ".json"));
  change(json);
  return problem_of([&] { (void)read_tokenizer_json(json.dump(), "tokenizer.json"); });
}

/// Protocol buffer fields by hand.
std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value > 127; value >>= 7) bytes.push_back(static_cast<char>(value | 128));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}
std::string number(unsigned field, std::uint64_t value) { return varint(field << 3) + varint(value); }
std::string block(unsigned field, const std::string& bytes) {
  return varint(field << 3 | 2) + varint(bytes.size()) + bytes;
}
std::string piece(const std::string& text, unsigned type) {
  return block(1, block(1, text) + std::string("\x15\0\0\x80\xbf", 5) + number(3, type));
}
const std::string& trainer() {
  static const std::string bytes = block(2, number(3, 2));
  return bytes;
}
const std::string& normalizer() {
  static const std::string bytes = block(3, number(4, 0));
  return bytes;
}
std::string pieces() { return piece("<unk>", 2) + piece("<s>", 3) + piece("</s>", 3) + piece("a", 1); }
std::string model_problem(const std::string& bytes) {
  return problem_of([&] { (void)read_tokenizer_model(bytes, "tokenizer.model"); });
}

}  // namespace

TEST_CASE("a wrong vocabulary in GGUF is a one-line error that names the item") {
  const auto changed = [](auto&& change) {
    Metadata metadata;
    change(metadata);
    return metadata.problem();
  };
  CHECK(has(changed([](Metadata& m) { m.model = "rwkv"; }), "tokenizer model 'rwkv' is not supported"));
  CHECK(has(changed([](Metadata& m) { m.model = ""; }), "tokenizer.ggml.model' is missing"));
  CHECK(has(changed([](Metadata& m) { m.pre = "viking"; }), "pre-tokenizer 'viking'"));
  CHECK(has(changed([](Metadata& m) { m.pre = ""; }), "tokenizer.ggml.pre' is missing"));
  CHECK(has(changed([](Metadata& m) { m.tokens.clear(); }), "tokenizer.ggml.tokens' is missing"));
  CHECK(has(changed([](Metadata& m) { m.merges.clear(); }), "tokenizer.ggml.merges' is missing"));
  CHECK(has(changed([](Metadata& m) { m.tokens[1] = "a"; }), "tokens 0 and 1 are both 'a'"));
  CHECK(has(changed([](Metadata& m) { m.types.pop_back(); }), "4 tokens but 3 token types"));
  CHECK(has(changed([](Metadata& m) { m.types[2] = 7; }), "7 for token 2"));
  CHECK(has(changed([](Metadata& m) { m.types[2] = -1; }), "-1 for token 2"));
  CHECK(has(changed([](Metadata& m) { m.merges = {"a x"}; }), "merge 0 of 'a' and 'x': 'x' is not a token"));
  CHECK(has(changed([](Metadata& m) { m.merges = {"b a"}; }), "'ba' is not a token"));
  CHECK(has(changed([](Metadata& m) { m.merges = {"a b", "a b"}; }), "merges 0 and 1 are the same"));
  CHECK(has(changed([](Metadata& m) { m.merges = {"ab"}; }), "merge 0 is 'ab'"));
  CHECK(has(changed([](Metadata& m) { m.merges = {""}; }), "merge 0 is ''"));
  CHECK(has(changed([](Metadata& m) { m.eos = 4; }), "EOS token has id 4"));
  CHECK(has(changed([](Metadata& m) { m.eos = -2; }), "eos_token_id is not a token id: -2"));
  CHECK(has(changed([](Metadata& m) { m.merges = {" a"}; }), "merge 0 is ' a'"));
  CHECK(has(Metadata{}.problem([](GgufBuilder& b) { b.value("tokenizer.ggml.add_bos_token", true); }), "BOS"));
  CHECK(has(Metadata{}.problem([](GgufBuilder& b) { b.value("tokenizer.ggml.eot_token_id", 99); }), "id 99"));
  CHECK(has(Metadata{}.problem([](GgufBuilder& b) { b.value("tokenizer.chat_template", 1); }), "chat_template"));
}

TEST_CASE("a wrong SentencePiece vocabulary in GGUF is an error that names the item") {
  Metadata good;
  good.model = "llama";
  good.tokens = {"<unk>", "<s>", "</s>", "a"};
  good.types = {2, 3, 3, 1};
  good.scores = {0, 0, 0, -1};
  good.merges.clear();
  const auto changed = [&](auto&& change) {
    Metadata metadata = good;
    change(metadata);
    return metadata.problem();
  };
  CHECK(has(changed([](Metadata& m) { m.scores.clear(); }), "tokenizer.ggml.scores' is missing"));
  CHECK(has(changed([](Metadata& m) { m.scores.pop_back(); }), "4 tokens but 3 scores"));
  CHECK(has(changed([](Metadata& m) { m.scores[3] = std::nanf(""); }), "score of token 3"));
  CHECK(has(changed([](Metadata& m) { m.types[3] = 6; }), "token 3 has type byte and is 'a'"));
  CHECK(has(changed([](Metadata& m) {
              m.tokens[3] = "<0x-1>";
              m.types[3] = 6;
            }),
            "'<0x-1>', expected <0xNN>"));
  CHECK(has(changed([](Metadata& m) {
              m.tokens[3] = "<0x41>";
              m.types[3] = 6;
            }),
            "none for byte 0"));
  CHECK(has(good.problem([](GgufBuilder& b) { b.value("tokenizer.ggml.remove_extra_whitespaces", true); }), "remove_"));
  CHECK(has(good.problem([](GgufBuilder& b) { b.value("tokenizer.ggml.unknown_token_id", 77); }), "unknown token"));
}

TEST_CASE("a tokenizer.json of another shape is refused by the name of the part") {
  const auto gpt2 = [](auto&& change) { return json_problem("gpt2", change); };
  CHECK(has(gpt2([](Json& j) { j["model"]["type"] = "WordPiece"; }), "model.type is '\"WordPiece\"'"));
  CHECK(has(gpt2([](Json& j) { j["model"]["dropout"] = 0.1; }), "model.dropout"));
  CHECK(has(gpt2([](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }), "model.end_of_word_suffix"));
  CHECK(has(gpt2([](Json& j) { j["model"]["unk_token"] = "a"; }), "model.unk_token"));
  CHECK(has(gpt2([](Json& j) { j["model"]["byte_fallback"] = true; }), "model.byte_fallback"));
  CHECK(has(gpt2([](Json& j) { j["model"]["vocab"] = 1; }), "model.vocab is not an object"));
  CHECK(has(gpt2([](Json& j) { j["model"]["vocab"]["a"] = -1; }), "the id of token 'a' in model.vocab"));
  CHECK(has(gpt2([](Json& j) { j["model"]["vocab"]["a"] = 4000000000u; }), "is not a token id"));
  CHECK(has(gpt2([](Json& j) { j["model"]["vocab"]["a"] = 5; }), "which another token has as well"));
  CHECK(has(gpt2([](Json& j) { j["model"]["vocab"]["a"] = 2000000000; }), "is 2000000000, but there are "));
  CHECK(has(gpt2([](Json& j) { j["model"]["merges"][3] = "abc"; }), "model.merges[3] is not two tokens"));
  CHECK(has(gpt2([](Json& j) { j["model"]["merges"][3] = "a qqq"; }), "merge 3 of 'a' and 'qqq': 'qqq'"));
  CHECK(has(gpt2([](Json& j) { j["model"]["merges"][3] = Json::array({"a"}); }), "model.merges[3] is neither"));
  CHECK(has(gpt2([](Json& j) { j["model"]["merges"] = nullptr; }), "model.merges is not an array"));
  CHECK(has(gpt2([](Json& j) { j["normalizer"] = {{"type", "NFKC"}}; }), "normalizer is '{\"type\":\"NFKC\"}'"));
  CHECK(has(gpt2([](Json& j) { j["pre_tokenizer"] = {{"type", "Whitespace"}}; }), "pre_tokenizer is"));
  CHECK(has(gpt2([](Json& j) { j["pre_tokenizer"]["add_prefix_space"] = true; }), "pre_tokenizer.add_prefix_space"));
  CHECK(has(gpt2([](Json& j) { j["pre_tokenizer"]["use_regex"] = false; }), "pre_tokenizer.use_regex"));
  CHECK(has(gpt2([](Json& j) { j["decoder"] = nullptr; }), "decoder is 'null'"));
  CHECK(has(gpt2([](Json& j) { j["post_processor"] = {{"type", "RobertaProcessing"}}; }), "post_processor"));
  CHECK(has(gpt2([](Json& j) { j["added_tokens"][0]["single_word"] = true; }), "added_tokens[0].single_word"));
  CHECK(has(gpt2([](Json& j) { j["added_tokens"][0]["id"] = 5; }), "added_tokens[0].id is 5"));
  CHECK(has(gpt2([](Json& j) { j["added_tokens"][0].erase("content"); }), "added_tokens[0].content is missing"));
  CHECK(has(gpt2([](Json& j) { j = Json::array(); }), "the file is not a JSON object"));
  CHECK(has(gpt2([](Json& j) { j.erase("model"); }), "model is not an object"));

  const auto llama3 = [](auto&& change) { return json_problem("llama_bpe", change); };
  CHECK(has(llama3([](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "\\d+"; }),
            "pre_tokenizer.pretokenizers[0].pattern"));
  CHECK(has(llama3([](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed"; }), "behavior"));
  CHECK(has(
      llama3([](Json& j) { j["post_processor"]["processors"][1]["single"][0]["SpecialToken"]["id"] = "<nothing>"; }),
      "'<nothing>', which is not a token"));
  CHECK(
      has(json_problem("smollm", [](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = false; }),
          "individual_digits"));

  const auto llama2 = [](auto&& change) { return json_problem("llama2_prepend", change); };
  CHECK(has(llama2([](Json& j) { j["normalizer"]["normalizers"][0]["prepend"] = "_"; }), "normalizer is"));
  CHECK(has(llama2([](Json& j) { j["normalizer"] = nullptr; }), "normalizer is 'null'"));
  CHECK(has(llama2([](Json& j) { j["decoder"]["decoders"].erase(3); }), "decoder is"));
  CHECK(has(llama2([](Json& j) { j["decoder"]["decoders"][3]["start"] = 2; }), "decoder.decoders[3] is"));
  CHECK(has(llama2([](Json& j) { j["model"]["ignore_merges"] = true; }), "model.ignore_merges"));
  CHECK(has(llama2([](Json& j) {
              j["model"]["byte_fallback"] = false;
              j["model"]["fuse_unk"] = false;
            }),
            "model.fuse_unk"));
  CHECK(has(llama2([](Json& j) { j["model"]["unk_token"] = "<none>"; }), "model.unk_token"));
  CHECK(has(json_problem("llama2_metaspace", [](Json& j) { j["pre_tokenizer"]["split"] = true; }), "split"));
  CHECK(has(json_problem("llama2_metaspace", [](Json& j) { j["pre_tokenizer"]["prepend_scheme"] = 1; }), "scheme"));

  CHECK(has(problem_of([] { (void)read_tokenizer_json("{", "tokenizer.json"); }), "tokenizer.json: at byte"));
  CHECK(has(problem_of([] { (void)read_tokenizer_json("{\"model\":{\"vocab\":{\"a\":0,\"a\":1}}}", "f"); }), "twice"));
}

TEST_CASE("a wrong tokenizer.model is an error that names the byte or the setting") {
  CHECK(read_tokenizer_model(pieces() + trainer() + normalizer(), "m").encode("a").size() == 2);
  CHECK(has(model_problem(pieces() + normalizer()), "model_type 1 (unigram) is not supported"));
  CHECK(has(model_problem(pieces() + block(2, number(3, 9)) + normalizer()), "model_type 9"));
  CHECK(has(model_problem(pieces() + trainer()), "remove_extra_whitespaces"));
  CHECK(has(model_problem(pieces() + trainer() + block(3, number(4, 0) + block(2, "x"))), "precompiled_charsmap"));
  CHECK(has(model_problem(pieces() + trainer() + block(3, number(4, 0) + number(5, 0))), "escape_whitespaces"));
  CHECK(has(model_problem(pieces() + block(2, number(3, 2) + number(24, 1)) + normalizer()), "suffix"));
  CHECK(has(model_problem(trainer() + normalizer()), "the vocabulary is empty"));
  CHECK(has(model_problem(pieces() + piece("<unk2>", 2) + trainer() + normalizer()), "two unknown"));
  CHECK(has(model_problem(pieces() + piece("a", 1) + trainer() + normalizer()), "tokens 3 and 4 are both 'a'"));
  CHECK(has(model_problem(piece("a", 0)), "at byte "));
  CHECK(has(model_problem(piece("a", 7)), "piece 0 has type 7"));
  CHECK(has(model_problem(piece("<0x-1>", 6) + pieces() + trainer() + normalizer()), "'<0x-1>'"));
  CHECK(has(model_problem(piece("<0x41>", 6) + piece("<0x4G>", 6) + pieces() + trainer() + normalizer()), "4G"));
  CHECK(has(model_problem(piece("<0xaa>", 6) + piece("<0xAA>", 6) + pieces() + trainer() + normalizer()), "same byte"));
  CHECK(has(model_problem("\x0a\xff\xff\xff\xff\x0f"), "needs 4294967295 bytes"));
  CHECK(has(model_problem("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "needs 18446744073709551615 bytes"));
  CHECK(has(model_problem("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), "more than 64 bits"));
  CHECK(has(model_problem("\x0b"), "wire type 3"));
  CHECK(has(model_problem(std::string(1, '\0')), "number out of range"));
  CHECK(has(model_problem(number(1, 5)), "has wire type 0, expected 2"));
  const std::string whole = pieces() + trainer() + normalizer();
  for (std::size_t size = 0; size + normalizer().size() < whole.size(); ++size)
    CHECK_THROWS_AS((void)read_tokenizer_model(whole.substr(0, size), "m"), FormatError);
}

TEST_CASE("a model's tokenizer comes from the files that are open, with the ends that its settings name") {
  test::TinyLlamaOptions options;
  options.config.eos = {2};
  const test::TinyLlama model(options);
  const test::TemporaryFolder folder;
  model.write_hugging_face(folder.path());
  test::write_file(folder / "tokenizer.json", read_golden("vocabularies/gpt2.json"));
  CHECK_FALSE(load_tokenizer(folder.path()).ends_text(2));
  const Tokenizer tokenizer = load_tokenizer(load_llama(folder.path()));
  CHECK(tokenizer.ends_text(2));
  for (const TokenId id : tokenizer.end_tokens()) CHECK(id < options.config.vocab);

  model.write_gguf(folder / "model.gguf");
  const Checkpoint checkpoint = load_llama(folder / "model.gguf", FileAccess::read);
  std::filesystem::remove(folder / "model.gguf");
  CHECK(has(problem_of([&] { (void)load_tokenizer(checkpoint); }), "tokenizer model 'no_vocab' is not supported"));
}

TEST_CASE("a folder's tokenizer comes from tokenizer.json, else tokenizer.model, with the config's tokens") {
  const test::TemporaryFolder folder;
  CHECK(has(problem_of([&] { (void)load_tokenizer(folder.path()); }), "neither tokenizer.json nor tokenizer.model"));
  CHECK(has(problem_of([&] { (void)load_tokenizer(folder / "missing.gguf"); }), "missing.gguf"));

  test::write_file(folder / "tokenizer.model", read_golden("vocabularies/spm.model"));
  const Tokenizer model = load_tokenizer(folder.path());
  CHECK(model.settings().add_bos);
  const auto size = static_cast<TokenId>(model.vocab_size());
  const Json config{{"bos_token", "<s>"},
                    {"eos_token", {{"content", "<|im_end|>"}}},
                    {"add_bos_token", false},
                    {"chat_template", "{{ '<|im_start|>' }}"},
                    {"added_tokens_decoder",
                     {{"1", {{"content", "<s>"}, {"special", true}}},
                      {std::to_string(size), {{"content", "<|im_end|>"}, {"special", true}}},
                      {std::to_string(size + 1), {{"content", "<more>"}, {"special", false}}}}}};
  test::write_file(folder / "tokenizer_config.json", config.dump());
  const Tokenizer with = load_tokenizer(folder.path());
  CHECK_FALSE(with.settings().add_bos);
  CHECK(with.vocab_size() == size + 2);
  CHECK(with.eos() == size);
  CHECK(with.encode("<more>") == std::vector<TokenId>{size + 1});
  CHECK(with.encode("<|im_end|>", SpecialTokens::parse) == std::vector<TokenId>{size});
  CHECK(with.settings().chat_template == "{{ '<|im_start|>' }}");

  Json gap = config;
  gap["added_tokens_decoder"][std::to_string(size + 7)] = {{"content", "<gap>"}};
  test::write_file(folder / "tokenizer_config.json", gap.dump());
  CHECK(has(problem_of([&] { (void)load_tokenizer(folder.path()); }), "'<gap>' has id"));

  test::write_file(folder / "tokenizer.json", read_golden("vocabularies/gpt2.json"));
  CHECK(has(problem_of([&] { (void)load_tokenizer(folder.path()); }), "bos_token '<s>' is not a token"));
  test::write_file(folder / "tokenizer_config.json",
                   std::string_view(R"({"eos_token":"<|im_end|>","bos_token":null})"));
  test::write_file(folder / "chat_template.jinja", std::string_view("USER: ASSISTANT:"));
  const Tokenizer json = load_tokenizer(folder.path());
  CHECK(json.piece(json.eos()) == "<|im_end|>");
  CHECK(json.bos() == -1);
  CHECK(json.settings().chat_template == "USER: ASSISTANT:");
}
