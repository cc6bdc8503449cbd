// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/formats/llama_config.hpp"

#include <doctest/doctest.h>

#include "support/complaint.hpp"
#include "support/tiny_llama.hpp"

using namespace activation_trace;
using Json = nlohmann::ordered_json;

namespace llama_config_tests {  // compiled as one with others
namespace {

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

Json minimal() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"hidden_size", 64},
          {"intermediate_size", 96},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"vocab_size", 100}};
}

Json with(const char* key, Json value) {
  Json json = minimal();
  json[key] = std::move(value);
  return json;
}

LlamaConfig parse(const Json& json) { return parse_config_json(json.dump(), "config.json").config; }

std::string refusal(const Json& json) {
  try {
    (void)parse(json);
  } catch (const FormatError& error) {
    const std::string text = error.what();
    CHECK(text.starts_with("config.json: "));
    CHECK(text.find('\n') == std::string::npos);
    return text;
  }
  return "no error";
}

// The refusal of the tiny model as GGUF after a change of its metadata.
template <class Change>
std::string gguf_refusal(Change&& change) {
  test::GgufBuilder builder = test::TinyLlama().gguf();
  change(builder);
  const auto bytes = builder.bytes();
  try {
    (void)read_llama_config(GgufFile::parse(bytes, "file"));
  } catch (const FormatError& error) {
    return error.what();
  }
  return "no error";
}

void drop(test::GgufBuilder& builder, std::string_view key) {
  std::erase_if(builder.values, [&](const std::vector<std::byte>& entry) {
    const std::string_view text(reinterpret_cast<const char*>(entry.data()) + 8, entry.size() - 8);
    return text.starts_with(key) && entry.size() > 12 + key.size() &&
           std::to_integer<std::size_t>(entry[0]) == key.size();
  });
}

template <class T>
std::string gguf_refusal_with(const char* key, const T& value) {
  return gguf_refusal([&](test::GgufBuilder& builder) {
    drop(builder, key);
    builder.value(key, value);
  });
}

}  // namespace

TEST_CASE("a config.json of the least keys takes transformers' defaults") {
  const LlamaConfig config = parse(minimal());
  CHECK(config.hidden == 64);
  CHECK(config.ffn == 96);
  CHECK(config.layers == 2);
  CHECK(config.heads == 4);
  CHECK(config.kv_heads == 4);
  CHECK(config.head_dim == 16);
  CHECK(config.vocab == 100);
  CHECK(config.max_context == 2048);
  CHECK(config.rms_norm_eps == 1e-6f);
  CHECK(config.rope.theta == 10000.0f);
  CHECK(config.rope.layout == RopeLayout::half_split);
  CHECK(config.rope.scaling == RopeScaling::none);
  CHECK(config.bos == 1);
  CHECK(config.eos == std::vector<TokenId>{2});
  CHECK_FALSE(parse_config_json(minimal().dump(), "config.json").tied_embeddings);
  CHECK(parse_config_json(with("tie_word_embeddings", true).dump(), "config.json").tied_embeddings);
}

TEST_CASE("config.json: null, lists and explicit values") {
  CHECK(parse(with("head_dim", nullptr)).head_dim == 16);
  CHECK(parse(with("head_dim", 24)).head_dim == 24);
  CHECK(parse(with("num_key_value_heads", 2)).kv_heads == 2);
  CHECK(parse(with("eos_token_id", {5, 7})).eos == std::vector<TokenId>{5, 7});
  CHECK(parse(with("eos_token_id", 5)).eos == std::vector<TokenId>{5});
  CHECK(parse(with("eos_token_id", nullptr)).eos.empty());
  CHECK(parse(with("bos_token_id", nullptr)).bos == -1);
  CHECK(parse(with("rms_norm_eps", 1e-5)).rms_norm_eps == 1e-5f);
  CHECK(parse(with("rope_interleaved", false)).rope.layout == RopeLayout::half_split);
  CHECK(parse_generation_config_eos(R"({"eos_token_id":[1,2]})", "g") == std::vector<TokenId>{1, 2});
  CHECK(parse_generation_config_eos("{}", "g").empty());
  CHECK_THROWS_AS((void)parse_generation_config_eos(R"({"eos_token_id":-1})", "g"), FormatError);
}

TEST_CASE("config.json: rope in the words of transformers 4 and 5") {
  const Json llama3 = {{"rope_type", "llama3"},   {"factor", 8.0},          {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0}, {"rope_theta", 500000.0}, {"original_max_position_embeddings", 4096}};
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const RopeConfig rope = parse(with(key, llama3)).rope;
    CHECK(rope.scaling == RopeScaling::llama3);
    CHECK(rope.theta == 500000.0f);
    CHECK(rope.factor == 8);
    CHECK(rope.low_freq_factor == 1);
    CHECK(rope.high_freq_factor == 4);
    CHECK(rope.original_context == 4096);
    CHECK(parse(with(key, nullptr)).rope.scaling == RopeScaling::none);
    CHECK(parse(with(key, {{"rope_type", "default"}})).rope.scaling == RopeScaling::none);
    CHECK(parse(with(key, {{"rope_theta", 5e4}})).rope.theta == 5e4f);
    CHECK(parse(with(key, {{"type", "linear"}, {"factor", 2}})).rope.scaling == RopeScaling::linear);
    CHECK(parse(with(key, {{"rope_type", "linear"}, {"factor", 2}})).rope.factor == 2);
    CHECK(contains(refusal(with(key, {{"rope_type", "yarn"}, {"factor", 2}})), "'yarn' is not supported"));
    CHECK(parse(with(key, {{"rope_type", "dynamic"}, {"factor", 2}})).rope.scaling == RopeScaling::none);
    CHECK(contains(refusal(with(key, {{"rope_type", "dynamic"}, {"original_max_position_embeddings", 64}})),
                   "'dynamic' is not supported"));
    CHECK(contains(refusal(with(key, {{"rope_type", "linear"}})), "factor is missing"));
    for (const char* part : {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
      Json incomplete = llama3;
      incomplete.erase(part);
      CHECK(contains(refusal(with(key, incomplete)), std::string(part) + " is missing"));
    }
    CHECK(contains(refusal(with(key, {{"full_attention", {{"rope_type", "default"}}}})), "differ between layers"));
    CHECK(contains(refusal(with(key, {{"partial_rotary_factor", 0.5}})), "partial_rotary_factor"));
    CHECK(contains(refusal(with(key, 3)), "is not an object"));
  }
  CHECK(parse(with("rope_theta", 100000)).rope.theta == 100000.0f);
}

TEST_CASE("config.json: what is not a plain LLaMA is refused by name") {
  CHECK(contains(refusal(with("architectures", {"MixtralForCausalLM"})), "MixtralForCausalLM"));
  CHECK(contains(refusal(with("architectures", {"LlamaForSequenceClassification"})), "expected architectures"));
  Json no_architecture = minimal();
  no_architecture.erase("architectures");
  CHECK(contains(refusal(no_architecture), "expected architectures"));
  no_architecture["model_type"] = "llama";
  CHECK(refusal(no_architecture) == "no error");
  CHECK(contains(refusal(with("attention_bias", true)), "attention_bias true is not supported"));
  CHECK(contains(refusal(with("mlp_bias", true)), "mlp_bias true is not supported"));
  CHECK(contains(refusal(with("hidden_act", "gelu")), "hidden_act 'gelu' is not supported"));
  CHECK(contains(refusal(with("quantization_config", {{"bits", 4}})), "quantization_config is not supported"));
  CHECK(contains(refusal(Json::array()), "is not a JSON object"));
}

TEST_CASE("formats/README.md 4, config.json: sizes and numbers that no LLaMA has") {
  for (const char* key :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    Json missing = minimal();
    missing.erase(key);
    CHECK(contains(refusal(missing), std::string(key) + " is missing"));
    for (const Json& value :
         {Json(0), Json(-1), Json(1.5), Json("64"), Json(true), Json(18446744073709551615u), Json::array()})
      CHECK(refusal(with(key, value)) != "no error");
  }
  CHECK(contains(refusal(with("num_hidden_layers", 10001)), "layers must be in"));
  CHECK(contains(refusal(with("num_attention_heads", 0)), "num_attention_heads does not divide"));
  CHECK(contains(refusal(with("num_attention_heads", 5)), "num_attention_heads does not divide"));
  CHECK(contains(refusal(with("num_key_value_heads", 3)), "kv_heads must be positive and divide heads"));
  CHECK(contains(refusal(with("num_key_value_heads", 0)), "kv_heads must be positive and divide heads"));
  CHECK(contains(refusal(with("head_dim", 15)), "head_dim must be even"));
  CHECK(contains(refusal(with("max_position_embeddings", 0)), "max_context must be positive"));
  CHECK(contains(refusal(with("eos_token_id", 100)), "eos id must lie within the vocabulary"));
  CHECK(contains(refusal(with("bos_token_id", 100)), "bos id must lie within the vocabulary"));
  CHECK(contains(refusal(with("eos_token_id", {"2"})), "is not a token id"));
  for (const Json& eps : {Json(0), Json(-1e-6), Json(1e-60), Json(1), Json(1e60), Json("nan")})
    CHECK(refusal(with("rms_norm_eps", eps)) != "no error");
  std::string text = minimal().dump();
  text.replace(text.size() - 1, 1, R"(,"rms_norm_eps":NaN})");  // Python writes it so
  CHECK_THROWS_AS((void)parse_config_json(text, "config.json"), FormatError);
  for (const Json& theta : {Json(0), Json(-5), Json(1e39), Json("10000")})
    CHECK(refusal(with("rope_theta", theta)) != "no error");
  CHECK(contains(refusal(with("rope_scaling", {{"type", "linear"}, {"factor", 0}})), "rope factor"));
}

TEST_CASE("the metadata of a GGUF LLaMA is read, with llama.cpp's defaults") {
  test::TinyLlamaOptions options;
  options.config.rope.theta = 5e5f;
  test::GgufBuilder builder = test::TinyLlama(options).gguf();
  const auto config_of = [](const test::GgufBuilder& b) {
    const auto bytes = b.bytes();
    return read_llama_config(GgufFile::parse(bytes, "file"));
  };
  LlamaConfig config = config_of(builder);
  CHECK(config.layers == 2);
  CHECK(config.hidden == 256);
  CHECK(config.ffn == 512);
  CHECK(config.heads == 4);
  CHECK(config.kv_heads == 2);
  CHECK(config.head_dim == 64);
  CHECK(config.vocab == 320);
  CHECK(config.max_context == 512);
  CHECK(config.rms_norm_eps == 1e-5f);
  CHECK(config.rope.theta == 5e5f);
  CHECK(config.rope.layout == RopeLayout::interleaved);
  CHECK(config.rope.scaling == RopeScaling::none);
  CHECK(config.bos == 1);
  CHECK(config.eos == std::vector<TokenId>{2});

  for (const char* key :
       {"llama.attention.key_length", "llama.attention.value_length", "llama.rope.dimension_count",
        "llama.rope.freq_base", "llama.attention.head_count_kv", "tokenizer.ggml.bos_token_id", "llama.vocab_size"})
    drop(builder, key);
  builder.value("llama.rope.scaling.factor", 4.0f).value("tokenizer.ggml.eot_token_id", std::uint32_t{7});
  config = config_of(builder);
  CHECK(config.head_dim == 64);
  CHECK(config.kv_heads == 4);
  CHECK(config.rope.theta == 10000.0f);
  CHECK(config.rope.scaling == RopeScaling::linear);
  CHECK(config.rope.factor == 4);
  CHECK(config.bos == -1);
  CHECK(config.eos == std::vector<TokenId>{2, 7});
  CHECK(config.vocab == 320);  // the rows of the embedding
}

TEST_CASE("formats/README.md 4, GGUF metadata: what no LLaMA has is refused by name") {
  CHECK(contains(gguf_refusal_with("general.architecture", "bert"), "general.architecture is 'bert', only 'llama'"));
  for (const char* key :
       {"general.architecture", "llama.block_count", "llama.embedding_length", "llama.context_length",
        "llama.feed_forward_length", "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon"})
    CHECK(contains(gguf_refusal([&](test::GgufBuilder& b) { drop(b, key); }),
                   "metadata '" + std::string(key) + "' is missing"));
  CHECK(contains(gguf_refusal_with("llama.attention.head_count", std::uint32_t{0}), "heads must be in"));
  CHECK(contains(gguf_refusal_with("llama.attention.head_count_kv", std::uint32_t{3}),
                 "kv_heads must be positive and divide"));
  CHECK(contains(gguf_refusal_with("llama.attention.head_count_kv", std::uint32_t{0}),
                 "kv_heads must be positive and divide"));
  CHECK(contains(gguf_refusal([](test::GgufBuilder& b) {
                   drop(b, "llama.attention.key_length");
                   drop(b, "llama.attention.head_count");
                   b.value("llama.attention.head_count", std::uint32_t{0});
                 }),
                 "head_count does not divide"));
  CHECK(contains(gguf_refusal([](test::GgufBuilder& b) {
                   for (const char* key :
                        {"llama.attention.key_length", "llama.attention.value_length", "llama.rope.dimension_count"}) {
                     drop(b, key);
                     b.value(key, std::uint32_t{63});
                   }
                 }),
                 "head_dim must be even"));
  for (const std::uint32_t rotated : {66u, 15u})
    CHECK(contains(gguf_refusal_with("llama.rope.dimension_count", rotated), "rope rotary_dim must be even and in"));
  CHECK(contains(gguf_refusal_with("llama.rope.dimension_count", std::uint32_t{0}), "leaves nothing of a head"));
  for (const float factor : {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN()})
    CHECK(contains(gguf_refusal_with("llama.rope.scaling.attn_factor", factor), "rope amplitude must be positive"));
  CHECK(contains(gguf_refusal_with("llama.attention.value_length", std::uint32_t{32}), "only the size of a head"));
  CHECK(contains(gguf_refusal_with("llama.block_count", std::uint32_t{4000000000u}), "layers must be in"));
  CHECK(contains(gguf_refusal_with("llama.block_count", ~std::uint64_t{0}), "is out of range"));
  CHECK(contains(gguf_refusal_with("llama.block_count", "2"), "unexpected type: string"));
  CHECK(contains(gguf_refusal([](test::GgufBuilder& b) {
                   drop(b, "llama.feed_forward_length");
                   b.array("llama.feed_forward_length", std::vector<std::uint32_t>{512, 256});
                 }),
                 "unexpected type: array of u32"));
  for (const float eps :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 0.0f, -1e-5f})
    CHECK(contains(gguf_refusal_with("llama.attention.layer_norm_rms_epsilon", eps), "rms_norm_eps must be in (0, 1)"));
  for (const float theta : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 0.0f})
    CHECK(contains(gguf_refusal_with("llama.rope.freq_base", theta), "rope theta must be in"));
  CHECK(
      contains(gguf_refusal_with("llama.rope.scaling.factor", std::numeric_limits<float>::quiet_NaN()), "rope factor"));
  CHECK(contains(gguf_refusal_with("llama.rope.scaling.type", "yarn"), "'yarn' is not supported"));
  CHECK(contains(gguf_refusal_with("llama.expert_count", std::uint32_t{8}), "mixtures of experts"));
  CHECK(contains(gguf_refusal_with("tokenizer.ggml.eos_token_id", std::uint32_t{320}), "eos id must lie within"));
  CHECK(contains(gguf_refusal_with("tokenizer.ggml.bos_token_id", ~std::uint32_t{0}), "is out of range"));
}

TEST_CASE("GGUF: the embedding's rows may be more than the tokens, and not fewer") {
  const auto with_tokens = [](std::size_t count, auto&& change) {
    test::GgufBuilder builder = test::TinyLlama().gguf();
    builder.array("tokenizer.ggml.tokens", std::vector<std::string>(count, "a"));
    change(builder);
    const auto bytes = builder.bytes();
    return read_llama_config(GgufFile::parse(bytes, "file")).vocab;
  };
  const auto no_size = [](test::GgufBuilder& b) { drop(b, "llama.vocab_size"); };
  const auto no_rows = [](test::GgufBuilder& b) { b.tensors.clear(); };
  const auto neither = [&](test::GgufBuilder& b) {
    no_size(b);
    no_rows(b);
  };
  for (const std::size_t count : {3u, 320u}) {
    CHECK(with_tokens(count, [](auto&) {}) == 320);
    CHECK(with_tokens(count, no_size) == 320);
    CHECK(with_tokens(count, no_rows) == 320);
    CHECK(with_tokens(count, neither) == static_cast<Index>(count));
  }
  const auto refusal = [&](auto&& change) { return test::complaint([&] { (void)with_tokens(321, change); }); };
  CHECK(contains(refusal(no_size), "there are 321 tokens, but tensor 'token_embd.weight' has 320 rows"));
  CHECK(contains(refusal(no_rows), "there are 321 tokens, but llama.vocab_size is 320"));
  CHECK(contains(gguf_refusal([](test::GgufBuilder& b) {
                   drop(b, "llama.vocab_size");
                   b.value("llama.vocab_size", std::uint32_t{319});
                 }),
                 "llama.vocab_size is 319, but tensor 'token_embd.weight' has 320 rows"));
}

}  // namespace llama_config_tests
