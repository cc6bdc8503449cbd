// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/formats/checkpoint.hpp"
#include "support/complaint.hpp"
#include "support/quantize.hpp"
#include "support/tiny_llama.hpp"

// Families whose blocks rotate in another way: a part of a head, by divisors for long and short contexts, or not at
// all.
using namespace activation_trace;
using test::complaint;

namespace rotations_tests {  // compiled as one with others
namespace {

using Json = nlohmann::ordered_json;

// Two blocks of heads of 64, of which 48 components are rotated: 24 pairs.
test::TinyLlama phi_model() {
  test::TinyLlamaOptions options;
  options.dtype = DType::q8_0;
  options.family = {.architecture = "phi3",
                    .hugging_face_class = "Phi3ForCausalLM",
                    .gguf_rotation = RopeLayout::half_split,
                    .fused = true};
  return test::TinyLlama(options);
}

std::vector<float> factors(float first) {
  std::vector<float> result;
  for (int i = 0; i < 24; ++i) result.push_back(first + static_cast<float>(i) / 2);
  return result;
}

Json phi_json() {
  Json json = phi_model().config_json();
  json["max_position_embeddings"] = 131072;
  json["original_max_position_embeddings"] = 4096;
  json["partial_rotary_factor"] = 0.75;
  json["rope_scaling"] = {{"type", "longrope"}, {"short_factor", factors(1)}, {"long_factor", factors(2)}};
  return json;
}

LlamaConfig parse(const Json& json) { return parse_config_json(json.dump(), "config.json").config; }

void refused(Json json, const std::function<void(Json&)>& change, std::string_view part) {
  change(json);
  const std::string text = complaint([&] { (void)parse(json); });
  CAPTURE(text);
  CHECK(text.find(part) != std::string::npos);
}

test::GgufBuilder phi_gguf() {
  test::GgufBuilder file = phi_model().gguf();
  const auto of_rotation = [&](const std::vector<std::byte>& entry) {
    const std::string_view text(reinterpret_cast<const char*>(entry.data()), entry.size());
    return text.find("phi3.rope.dimension_count") != std::string_view::npos;
  };
  std::erase_if(file.values, of_rotation);
  file.value("phi3.rope.dimension_count", std::uint32_t{48});
  file.value("phi3.rope.scaling.original_context_length", std::uint32_t{100});
  file.value("phi3.rope.scaling.attn_factor", 1.19f);
  file.value("phi3.attention.sliding_window", std::uint32_t{0});  // as converters say none
  file.tensor({"rope_factors_long.weight", 0, {24}, test::quantize(DType::f32, factors(2))});
  file.tensor({"rope_factors_short.weight", 0, {24}, test::quantize(DType::f32, factors(1))});
  return file;
}

void refused(const std::function<void(test::GgufBuilder&)>& change, std::string_view part) {
  test::GgufBuilder file = phi_gguf();
  change(file);
  const test::TemporaryFolder folder;
  test::write_file(folder / "model.gguf", file.bytes());
  const std::string text = complaint([&] { (void)load_llama(folder / "model.gguf"); });
  CAPTURE(text);
  CHECK(text.find(part) != std::string::npos);
}

test::GgufBuilder::Tensor& tensor(test::GgufBuilder& file, std::string_view name) {
  return *std::ranges::find(file.tensors, name, &test::GgufBuilder::Tensor::name);
}

}  // namespace

TEST_CASE("Phi-3: longrope in config.json, by the ratio of its contexts") {
  const LlamaConfig c = parse(phi_json());
  CHECK(c.rope.rotary_dim == 48);
  CHECK(c.rope.divisors == factors(1));
  CHECK(c.rope.long_divisors == factors(2));
  CHECK(c.rope.original_context == 4096);
  CHECK(c.rope.amplitude == static_cast<float>(std::sqrt(1 + std::log(32.0) / std::log(4096.0))));
  CHECK(c.windows.empty());

  Json json = phi_json();
  json.erase("original_max_position_embeddings");  // which its class then has as 4096
  CHECK(parse(json).rope.amplitude == c.rope.amplitude);
  json["max_position_embeddings"] = 4096;
  CHECK(parse(json).rope.amplitude == 1);
  json["rope_scaling"]["attention_factor"] = 1.25;
  CHECK(parse(json).rope.amplitude == 1.25f);
  json["rope_scaling"] = nullptr;
  json["sliding_window"] = 2047;
  CHECK(parse(json).rope.long_divisors.empty());
  CHECK(parse(json).windows == std::vector<Index>{2047, 2047});
}

TEST_CASE("longrope as transformers 5 writes it, and in families that have one context") {
  Json json = phi_json();
  json["rope_parameters"] = json["rope_scaling"];
  json["rope_parameters"]["rope_type"] = "longrope";
  json["rope_parameters"]["partial_rotary_factor"] = 0.75;
  json["rope_parameters"]["rope_theta"] = 250000;
  json.erase("rope_scaling");
  json.erase("partial_rotary_factor");
  CHECK(parse(json).rope.rotary_dim == 48);
  CHECK(parse(json).rope.theta == 250000);
  CHECK(parse(json).rope.long_divisors == factors(2));

  json = test::TinyLlama().config_json();
  json["max_position_embeddings"] = 1024;
  json["rope_scaling"] = {{"rope_type", "longrope"},
                          {"factor", 4.0},
                          {"short_factor", std::vector<float>(32, 1)},
                          {"long_factor", std::vector<float>(32, 3)}};
  CHECK(parse(json).rope.original_context == 1024);
  CHECK(parse(json).rope.amplitude == static_cast<float>(std::sqrt(1 + std::log(4.0) / std::log(1024.0))));
  json["rope_scaling"]["original_max_position_embeddings"] = 256;
  CHECK(parse(json).rope.original_context == 256);
  CHECK(parse(json).rope.amplitude == 0.5f * std::sqrt(5.0f));  // 4^4 is 256
}

TEST_CASE("rotations of config.json that no model can have are named") {
  const Json json = phi_json();
  refused(
      json, [](Json& j) { j["rope_scaling"]["long_factor"].push_back(1); },
      "long_factor must be a list of 24 numbers, one for each pair of components that is rotated");
  refused(
      json, [](Json& j) { j["rope_scaling"].erase("short_factor"); }, "short_factor must be a list of 24 numbers");
  refused(
      json, [](Json& j) { j["rope_scaling"]["short_factor"] = 1; }, "short_factor must be a list of 24 numbers");
  refused(
      json, [](Json& j) { j["rope_scaling"]["short_factor"][5] = -1; }, "short_factor[5] must be positive");
  refused(
      json, [](Json& j) { j["rope_scaling"]["long_factor"][0] = "1"; }, "long_factor[0]");
  refused(
      json, [](Json& j) { j["rope_scaling"]["attention_factor"] = -1.5; }, "rope amplitude must be positive");
  refused(
      json, [](Json& j) { j["original_max_position_embeddings"] = -4096; }, "rope original_context must be positive");
  refused(
      json, [](Json& j) { j["original_max_position_embeddings"] = 1; }, "rope amplitude must be positive");
  for (const double part : {0.0, -0.5, 1.5})
    refused(
        json, [&](Json& j) { j["partial_rotary_factor"] = part; }, "partial_rotary_factor must be in (0, 1]");
  refused(
      json, [](Json& j) { j["partial_rotary_factor"] = 0.01; }, "leaves nothing of a head to be rotated");
  refused(
      json,
      [](Json& j) {
        j["partial_rotary_factor"] = 0.4;
        j["rope_scaling"] = nullptr;
      },
      "rope rotary_dim must be even");
}

TEST_CASE("Phi-3's GGUF: fused tensors of any type, divisors as tensors") {
  const test::TemporaryFolder folder;
  test::write_file(folder / "model.gguf", phi_gguf().bytes());
  const Checkpoint checkpoint = load_llama(folder / "model.gguf");
  const LlamaConfig& c = checkpoint.config;
  CHECK(c.rope.rotary_dim == 48);
  CHECK(c.rope.amplitude == 1.19f);
  CHECK(c.rope.original_context == 100);
  CHECK(c.rope.divisors == factors(1));
  CHECK(c.rope.long_divisors == factors(2));
  CHECK(c.rope.layout == RopeLayout::half_split);
  CHECK(c.windows.empty());
  CHECK(checkpoint.weights.layers[1].q.rows() == 256);
  CHECK(checkpoint.weights.layers[1].v.rows() == 128);
  CHECK(checkpoint.weights.layers[1].up.dtype() == DType::q8_0);
}

TEST_CASE("Phi-3's GGUF: tensors of the wrong size and numbers that no model can have are named") {
  const auto fewer_rows = [](test::GgufBuilder::Tensor& t) {
    t.data.resize(t.data.size() / t.extents[1] * (t.extents[1] - 1));
    --t.extents[1];
  };
  refused([&](auto& f) { fewer_rows(tensor(f, "blk.0.attn_qkv.weight")); },
          "tensor 'blk.0.attn_qkv.weight' has shape [511, 256], expected [512, 256]");
  refused([&](auto& f) { fewer_rows(tensor(f, "blk.1.ffn_up.weight")); },
          "tensor 'blk.1.ffn_up.weight' has shape [1023, 256], expected [1024, 256]");
  refused(
      [](auto& f) {
        tensor(f, "rope_factors_long.weight").extents = {32};
        tensor(f, "rope_factors_long.weight").data = test::quantize(DType::f32, std::vector<float>(32, 1));
      },
      "tensor 'rope_factors_long.weight' has shape [32], expected [24]");
  refused([](auto& f) { tensor(f, "rope_factors_short.weight").data = test::quantize(DType::f32, factors(-3)); },
          "rope divisors must be positive and finite");
  refused([](auto& f) { tensor(f, "rope_factors_short.weight").name = "rope_factors.weight"; },
          "tensor 'rope_factors_short.weight' is missing");
  refused([](auto& f) { tensor(f, "blk.1.attn_qkv.weight").name = "blk.1.attn_q.weight"; },
          "tensor 'blk.1.attn_qkv.weight' is missing");
  refused([](auto& f) { f.value("phi3.rope.scaling.type", "yarn"); }, "'yarn' is not supported");
}

TEST_CASE("SmolLM3: each fourth block rotates nothing, or those that config.json names") {
  test::TinyLlamaOptions options;
  options.config.layers = 5;
  options.family = {.architecture = "smollm3", .hugging_face_class = "SmolLM3ForCausalLM"};
  const test::TinyLlama model(options);
  const std::vector<bool> usual{true, true, true, false, true};
  Json json = model.config_json();
  CHECK(parse(json).rotated == usual);
  json["no_rope_layer_interval"] = 2;
  CHECK(parse(json).rotated == std::vector<bool>{true, false, true, false, true});
  json["no_rope_layers"] = {0, 1, 1, 1, 0};
  CHECK(parse(json).rotated == std::vector<bool>{false, true, true, true, false});
  const auto bytes = model.gguf().bytes();
  CHECK(read_llama_config(GgufFile::parse(bytes, "model.gguf")).rotated == usual);

  json.erase("tie_word_embeddings");
  for (const char* key : {"num_attention_heads", "num_key_value_heads", "vocab_size", "rope_theta", "bos_token_id"})
    json.erase(key);
  json["max_position_embeddings"] = 65536;
  CHECK(parse_config_json(json.dump(), "config.json").tied_embeddings);
  CHECK(parse(json).heads == 16);
  CHECK(parse(json).rope.theta == 2e6f);
  CHECK(parse(json).bos == 128000);

  refused(
      json,
      [](Json& j) {
        j["no_rope_layers"] = {1, 0};
      },
      "no_rope_layers must be a list with 0 or 1 for each");
  refused(
      json, [](Json& j) { j["no_rope_layers"][2] = 2; }, "no_rope_layers[2] must be 0 or 1");
  refused(
      json, [](Json& j) { j["use_sliding_window"] = true; }, "use_sliding_window true is not supported");
}

TEST_CASE("LLaMAs under other names") {
  test::TinyLlamaOptions options;
  options.family.hugging_face_class = "Ernie4_5ForCausalLM";
  Json json = test::TinyLlama(options).config_json();
  CHECK(parse(json).rope.layout == RopeLayout::interleaved);
  refused(
      json, [](Json& j) { j["use_bias"] = true; }, "use_bias true is not supported");
  json["architectures"] = {"InternLM3ForCausalLM"};
  json["rope_scaling"] = {{"rope_type", "dynamic"}, {"factor", 6.0}};  // of contexts longer than the model's
  CHECK(parse(json).rope.layout == RopeLayout::half_split);
  CHECK(parse(json).rope.scaling == RopeScaling::none);
  refused(
      json, [](Json& j) { j["qkv_bias"] = true; }, "qkv_bias true is not supported");
  json["architectures"] = {"InternLM2ForCausalLM"};
  refused(
      json, [](Json& j) { j["bias"] = true; }, "bias true is not supported");
  json["architectures"] = {"ExaoneForCausalLM"};
  json["num_layers"] = json["num_hidden_layers"];
  json["layer_norm_epsilon"] = 1e-3;
  json.erase("num_hidden_layers");
  json.erase("rms_norm_eps");
  CHECK(parse(json).layers == 2);
  CHECK(parse(json).rms_norm_eps == 1e-3f);
  json.erase("layer_norm_epsilon");
  CHECK(parse(json).rms_norm_eps == 1e-5f);
  refused(
      json, [](Json& j) { j["activation_function"] = "gelu"; }, "activation_function 'gelu' is not supported");
  refused(
      json, [](Json& j) { j.erase("num_layers"); }, "num_layers is missing");
  options.family.gguf_rotation = RopeLayout::half_split;
  for (const char* name : {"internlm2", "exaone", "ernie4_5"}) {
    options.family.architecture = name;
    const auto bytes = test::TinyLlama(options).gguf().bytes();
    CHECK((read_llama_config(GgufFile::parse(bytes, name)).rope.layout == RopeLayout::half_split) ==
          (std::string_view(name) == "exaone"));
  }
}

}  // namespace rotations_tests
