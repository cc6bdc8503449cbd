// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/formats/families.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/formats/checkpoint.hpp"
#include "support/complaint.hpp"
#include "support/same_matrix.hpp"
#include "support/tiny_llama.hpp"

// A family that is not in the library, with everything that a row can say, read from both formats.
using namespace activation_trace;
using test::check_same;
using test::complaint;
using test::row_of;

namespace families_tests {  // compiled as one with others
namespace {

constexpr Family other_family = [] {
  Family f = llama_family;
  f.name = "Other";
  f.gguf_architecture = "other";
  f.hugging_face_class = "OtherForCausalLM";
  f.model_type = "other";
  f.gguf_rotation = RopeLayout::half_split;
  f.activation = FfnActivation::gelu_tanh;
  f.activation_name = "gelu_pytorch_tanh";
  f.biases = Biases::qkvo;
  f.gguf.q_norm = "attn_q_norm";
  f.gguf.k_norm = "attn_k_norm";
  f.hugging_face.q_norm = "self_attn.q_norm";
  f.hugging_face.k_norm = "self_attn.k_norm";
  f.hugging_face.norm_offset = 1;
  f.full_attention_every = 2;
  f.embedding_times_sqrt = true;
  f.gguf_keys = {.window = "attention.sliding_window",
                 .attention_scale = "attention.scale",
                 .attention_soft_cap = "attn_logit_softcapping",
                 .logit_soft_cap = "final_logit_softcapping"};
  f.hugging_face_keys = {.window = "sliding_window",
                         .attention_scale = "attention_multiplier",
                         .attention_soft_cap = "attn_logit_softcapping",
                         .logit_soft_cap = "final_logit_softcapping"};
  f.defaults = {.max_context = 4096, .bos = -1, .eos = -1};
  f.refused_flags = {"mlp_bias"};
  return f;
}();

constexpr Family fused_family = [] {
  Family f = llama_family;
  f.name = "Fused";
  f.gguf_architecture = "fused";
  f.hugging_face_class = "FusedForCausalLM";
  f.gguf_rotation = RopeLayout::half_split;
  f.fused_qkv = true;
  f.gguf.fused_gate_up = "ffn_up";
  f.hugging_face.fused_gate_up = "mlp.gate_up_proj";
  return f;
}();

constexpr std::array<Family, 3> known{llama_family, other_family, fused_family};

test::TinyLlama other_model() {
  test::TinyLlamaOptions options;
  options.config.layers = 3;
  options.family = {.architecture = "other",
                    .hugging_face_class = "OtherForCausalLM",
                    .gguf_rotation = RopeLayout::half_split,
                    .qkv_biases = true,
                    .o_bias = true,
                    .q_k_norms = true};
  return test::TinyLlama(options);
}

std::vector<float> plus(std::vector<float> x, float offset) {
  for (float& v : x) v += offset;
  return x;
}

}  // namespace

TEST_CASE("the table's first row is LLaMA, and no two rows have the same name in a format") {
  CHECK(families[0].gguf_architecture == "llama");
  CHECK(families[0].gguf_rotation == RopeLayout::interleaved);
  for (std::size_t i = 0; i < std::size(families); ++i)
    for (std::size_t j = 0; j < i; ++j) {
      for (const auto name : {&Family::gguf_architecture, &Family::hugging_face_class, &Family::model_type})
        CHECK(((families[i].*name).empty() || families[i].*name != families[j].*name));
    }
}

TEST_CASE("a family's facts are read from GGUF") {
  const test::TinyLlama model = other_model();
  const test::TemporaryFolder folder;
  test::GgufBuilder builder = model.gguf();
  builder.value("other.attention.sliding_window", std::uint32_t{40});
  builder.value("other.attention.scale", 0.2f);
  builder.value("other.attn_logit_softcapping", 50.0f);
  builder.value("other.final_logit_softcapping", 30.0f);
  test::write_file(folder / "model.gguf", builder.bytes());
  const Checkpoint checkpoint = load_llama(folder / "model.gguf", FileAccess::map, known);
  const LlamaConfig& c = checkpoint.config;
  CHECK(c.rope.layout == RopeLayout::half_split);
  CHECK(c.activation == FfnActivation::gelu_tanh);
  CHECK(c.embedding_scale == 16);  // hidden size 256
  CHECK(c.windows == std::vector<Index>{40, 0, 40});
  CHECK(c.attention_scale == 0.2f);
  CHECK(c.attention_soft_cap == 50.0f);
  CHECK(c.logit_soft_cap == 30.0f);
  const LlamaWeights<> expected = model.weights();
  for (std::size_t i = 0; i < 3; ++i) {
    const LlamaLayerWeights<>& layer = checkpoint.weights.layers[i];
    check_same(layer.q, expected.layers[i].q);
    CHECK(layer.q_bias == expected.layers[i].q_bias);
    CHECK(layer.k_bias == expected.layers[i].k_bias);
    CHECK(layer.v_bias == expected.layers[i].v_bias);
    CHECK(layer.o_bias == expected.layers[i].o_bias);
    CHECK(layer.q_norm == expected.layers[i].q_norm);
    CHECK(layer.k_norm == expected.layers[i].k_norm);
    CHECK(layer.ffn_norm == expected.layers[i].ffn_norm);
  }
}

TEST_CASE("a family's facts are read from a folder, and those that are left out") {
  const test::TinyLlama model = other_model();
  const test::TemporaryFolder folder;
  model.write_hugging_face(folder.path());
  auto config = model.config_json();
  config["hidden_act"] = "gelu_pytorch_tanh";
  config["attention_bias"] = true;  // which this family has, said or not
  test::write_file(folder / "config.json", config.dump());
  {
    const LlamaConfig c = load_llama(folder.path(), FileAccess::map, known).config;
    CHECK(c.windows.empty());
    CHECK_FALSE(c.attention_scale.has_value());
    CHECK_FALSE(c.attention_soft_cap.has_value());
    CHECK_FALSE(c.logit_soft_cap.has_value());
  }
  config["sliding_window"] = 24;
  config["attention_multiplier"] = 0.5;
  config["attn_logit_softcapping"] = 20;
  config["final_logit_softcapping"] = nullptr;
  config.erase("bos_token_id");
  config.erase("eos_token_id");
  config.erase("max_position_embeddings");
  test::write_file(folder / "config.json", config.dump());
  const Checkpoint checkpoint = load_llama(folder.path(), FileAccess::map, known);
  const LlamaConfig& c = checkpoint.config;
  CHECK(c.windows == std::vector<Index>{24, 0, 24});
  CHECK(c.attention_scale == 0.5f);
  CHECK(c.attention_soft_cap == 20.0f);
  CHECK_FALSE(c.logit_soft_cap.has_value());
  CHECK(c.bos == -1);
  CHECK(c.eos.empty());
  CHECK(c.max_context == 4096);
  config.erase("tie_word_embeddings");
  std::array<Family, 1> tied{other_family};
  CHECK_FALSE(parse_config_json(config.dump(), "config.json", tied).tied_embeddings);
  tied[0].defaults.tied_embeddings = true;
  CHECK(parse_config_json(config.dump(), "config.json", tied).tied_embeddings);
  config["tie_word_embeddings"] = false;
  CHECK_FALSE(parse_config_json(config.dump(), "config.json", tied).tied_embeddings);
  CHECK(c.embedding_scale == 16);
  const LlamaWeights<> expected = model.weights();
  CHECK(checkpoint.weights.layers[2].k_norm == plus(expected.layers[2].k_norm, 1));
  CHECK(checkpoint.weights.layers[2].attention_norm == plus(expected.layers[2].attention_norm, 1));
  CHECK(checkpoint.weights.final_norm == plus(expected.final_norm, 1));
  CHECK(checkpoint.weights.layers[2].k_bias == expected.layers[2].k_bias);
}

TEST_CASE("fused tensors are cut up where the family has them") {
  test::TinyLlamaOptions options;
  options.dtype = DType::q8_0;
  options.family = {.architecture = "fused",
                    .hugging_face_class = "FusedForCausalLM",
                    .gguf_rotation = RopeLayout::half_split,
                    .fused = true};
  const test::TinyLlama model(options);
  const test::TemporaryFolder folder;
  model.write_gguf(folder / "model.gguf");
  model.write_hugging_face(folder.path());
  const LlamaWeights<> expected = model.weights();
  for (const auto& path : {folder / "model.gguf", folder.path()}) {
    const Checkpoint checkpoint = load_llama(path, FileAccess::map, known);
    for (std::size_t i = 0; i < 2; ++i) {
      check_same(checkpoint.weights.layers[i].q, expected.layers[i].q);
      check_same(checkpoint.weights.layers[i].k, expected.layers[i].k);
      check_same(checkpoint.weights.layers[i].v, expected.layers[i].v);
      check_same(checkpoint.weights.layers[i].gate, expected.layers[i].gate);
      check_same(checkpoint.weights.layers[i].up, expected.layers[i].up);
      check_same(checkpoint.weights.layers[i].down, expected.layers[i].down);
    }
  }
}

TEST_CASE("a row says what is missing, too much or not supported in its files") {
  const test::TinyLlama model = other_model();
  const test::TemporaryFolder folder;
  model.write_gguf(folder / "model.gguf");
  model.write_hugging_face(folder.path());
  const auto says = [&](const std::filesystem::path& path, std::string_view part) {
    const std::string text = complaint([&] { (void)load_llama(path, FileAccess::map, known); });
    CAPTURE(text);
    CHECK(text.find(part) != std::string::npos);
  };
  CHECK(complaint([&] {
          (void)load_llama(folder / "model.gguf");
        }).find("general.architecture is 'other', only 'llama' or 'qwen2' or 'qwen3' or ") != std::string::npos);
  CHECK(complaint([&] {
          (void)load_llama(folder.path());
        }).find("expected architectures [\"LlamaForCausalLM\"] or [\"MistralForCausalLM\"] or ") != std::string::npos);
  says(folder.path(), "hidden_act 'silu' is not supported, only gelu_pytorch_tanh");

  test::GgufBuilder builder = model.gguf();
  builder.tensors.erase(std::ranges::find(builder.tensors, "blk.1.attn_k.bias", &test::GgufBuilder::Tensor::name));
  test::write_file(folder / "model.gguf", builder.bytes());
  says(folder / "model.gguf", "tensor 'blk.1.attn_k.bias' is missing");
  builder = model.gguf();
  builder.tensor({"blk.0.attn_q.scale", 0, {64}, std::vector<std::byte>(256)});
  test::write_file(folder / "model.gguf", builder.bytes());
  says(folder / "model.gguf", "tensor 'blk.0.attn_q.scale' has no place in a plain Other");
  builder = model.gguf();
  builder.value("other.attn_logit_softcapping", -1.0f);
  test::write_file(folder / "model.gguf", builder.bytes());
  says(folder / "model.gguf", "attention_soft_cap must be positive and finite");
  builder = model.gguf();
  builder.values[0] = test::ByteWriter().string("general.architecture").put(std::uint32_t{8}).string("more").bytes();
  test::write_file(folder / "model.gguf", builder.bytes());
  says(folder / "model.gguf", "general.architecture is 'more', only 'llama' or 'other' or 'fused' is supported");

  auto config = model.config_json();
  config["hidden_act"] = "gelu_pytorch_tanh";
  config["mlp_bias"] = true;
  test::write_file(folder / "config.json", config.dump());
  says(folder.path(), "mlp_bias true is not supported");
}

TEST_CASE("a Mistral's window: given, none, and what its class has where the key is missing") {
  test::TinyLlamaOptions options;
  options.family.hugging_face_class = "MistralForCausalLM";
  auto config = test::TinyLlama(options).config_json();
  const auto windows = [&] { return parse_config_json(config.dump(), "config.json").config.windows; };
  CHECK(windows() == std::vector<Index>{4096, 4096});
  config["sliding_window"] = 24;
  CHECK(windows() == std::vector<Index>{24, 24});
  config["sliding_window"] = nullptr;
  CHECK(windows().empty());

  // GGUF has it as a LLaMA, whose folders have no window.
  test::GgufBuilder builder = test::TinyLlama().gguf();
  const auto gguf_windows = [&] {
    const auto bytes = builder.bytes();
    return read_llama_config(GgufFile::parse(bytes, "model.gguf")).windows;
  };
  CHECK(gguf_windows().empty());
  builder.value("llama.attention.sliding_window", std::uint32_t{24});
  CHECK(gguf_windows() == std::vector<Index>{24, 24});
  config["architectures"] = {"LlamaForCausalLM"};
  config["sliding_window"] = 24;
  CHECK(windows().empty());
}

TEST_CASE("Qwen2 and Qwen3: their defaults, and what they do not support") {
  const auto qwen = [](const char* name) {
    test::TinyLlamaOptions options;
    options.family.hugging_face_class = std::string(name) + "ForCausalLM";
    return test::TinyLlama(options).config_json();
  };
  for (const char* name : {"Qwen2", "Qwen3"}) {
    CAPTURE(name);
    auto config = qwen(name);
    for (const char* key : {"bos_token_id", "eos_token_id", "max_position_embeddings"}) config.erase(key);
    config["sliding_window"] = 4096;  // which counts only with use_sliding_window
    config["use_sliding_window"] = false;
    const LlamaConfig c = parse_config_json(config.dump(), "config.json").config;
    CHECK(c.windows.empty());
    CHECK(c.bos == -1);
    CHECK(c.eos.empty());
    CHECK(c.max_context == 32768);
    config["use_sliding_window"] = true;
    CHECK(complaint([&] {
            (void)parse_config_json(config.dump(), "config.json");
          }).find("use_sliding_window true is not supported") != std::string::npos);
  }
  auto biased = qwen("Qwen3");
  biased["attention_bias"] = true;
  CHECK(complaint([&] {
          (void)parse_config_json(biased.dump(), "config.json");
        }).find("attention_bias true is not supported") != std::string::npos);
}

namespace {

LlamaConfig gemma3_config(const nlohmann::ordered_json& json) {
  return parse_config_json(json.dump(), "config.json").config;
}

}  // namespace

TEST_CASE("Gemma 3: what its class has where config.json says nothing, as of the 4B's text_config") {
  const nlohmann::ordered_json text = {{"hidden_size", 2560},
                                       {"intermediate_size", 10240},
                                       {"model_type", "gemma3_text"},
                                       {"num_hidden_layers", 34},
                                       {"rope_scaling", {{"factor", 8.0}, {"rope_type", "linear"}}},
                                       {"sliding_window", 1024}};
  const nlohmann::ordered_json whole = {{"architectures", {"Gemma3ForConditionalGeneration"}},
                                        {"eos_token_id", {1, 106}},
                                        {"model_type", "gemma3"},
                                        {"text_config", text},
                                        {"vision_config", {{"hidden_size", 1152}}}};
  const HuggingFaceConfig parsed = parse_config_json(whole.dump(), "config.json");
  const LlamaConfig& c = parsed.config;
  CHECK(parsed.tied_embeddings);
  CHECK(c.heads == 8);
  CHECK(c.kv_heads == 4);
  CHECK(c.head_dim == 256);
  CHECK(c.vocab == 262208);
  CHECK(c.max_context == 131072);
  CHECK(c.bos == 2);
  CHECK(c.eos == std::vector<TokenId>{1, 106});
  CHECK(c.attention_scale == 0.0625f);
  CHECK(c.rope.theta == 1e6f);
  CHECK(c.rope.scaling == RopeScaling::linear);
  CHECK(c.rope.factor == 8);
  REQUIRE(c.window_rope.has_value());
  CHECK(c.window_rope->theta == 10000);
  CHECK(c.window_rope->scaling == RopeScaling::none);
  for (std::size_t i = 0; i < 34; ++i) CHECK(c.windows[i] == (i % 6 == 5 ? 0 : 1024));
}

TEST_CASE("Gemma 3: layers by layer_types or by a pattern, rotations as transformers 5 writes them, and refusals") {
  test::TinyLlamaOptions options;
  options.config.layers = 3;
  options.family.hugging_face_class = "Gemma3ForCausalLM";
  auto json = test::TinyLlama(options).config_json();
  json.erase("hidden_act");
  json.erase("rope_scaling");
  json["sliding_window"] = 16;
  CHECK(gemma3_config(json).windows == std::vector<Index>{16, 16, 16});
  json["sliding_window_pattern"] = 2;
  CHECK(gemma3_config(json).windows == std::vector<Index>{16, 0, 16});
  json["layer_types"] = {"full_attention", "sliding_attention", "sliding_attention"};
  CHECK(gemma3_config(json).windows == std::vector<Index>{0, 16, 16});
  json["query_pre_attn_scalar"] = 168;
  CHECK(gemma3_config(json).attention_scale == 1 / std::sqrt(168.0f));
  json["rope_parameters"] = {{"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 2e6}}},
                             {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 5000.0}}}};
  CHECK(gemma3_config(json).rope.theta == 2e6f);
  CHECK(gemma3_config(json).rope.factor == 8);
  CHECK(gemma3_config(json).window_rope->theta == 5000);

  const auto says = [&](const char* key, const nlohmann::ordered_json& value, std::string_view part) {
    auto changed = json;
    changed[key] = value;
    const std::string text = complaint([&] { (void)gemma3_config(changed); });
    CAPTURE(text);
    CHECK(text.find(part) != std::string::npos);
  };
  says("layer_types", {"full_attention"}, "layer_types must be a list of one type for each block");
  says("layer_types", {"full_attention", "chunked_attention", "full_attention"},
       "'chunked_attention' is not supported here");
  says("use_bidirectional_attention", true, "use_bidirectional_attention true is not supported");
  says("hidden_activation", "gelu", "hidden_activation 'gelu' is not supported, only gelu_pytorch_tanh");
  says("sliding_window", nullptr, "layer_types");
  says("partial_rotary_factor", 0.75, "partial_rotary_factor other than 1 is not supported");
  json["architectures"] = {"Qwen2ForCausalLM"};
  json.erase("rope_parameters");
  says("layer_types", {"full_attention", "full_attention", "sliding_attention"},
       "'sliding_attention' is not supported here");
  json["architectures"] = {"Gemma3ForConditionalGeneration"};
  says("x", 0, "text_config must be an object");
}

TEST_CASE("Gemma 3's GGUF: what is not in it, and the 27B's scale") {
  test::TinyLlamaOptions options;
  options.config.hidden = 32;
  options.config.ffn = 32;
  options.config.head_dim = 4;
  options.config.layers = 7;
  options.family.architecture = "gemma3";
  const auto read = [&](std::uint32_t window) {
    test::GgufBuilder builder = test::TinyLlama(options).gguf();
    if (window > 0) builder.value("gemma3.attention.sliding_window", window);
    const auto bytes = builder.bytes();
    return read_llama_config(GgufFile::parse(bytes, "model.gguf"));
  };
  const LlamaConfig c = read(8);
  CHECK(c.windows == std::vector<Index>{8, 8, 8, 8, 8, 0, 8});
  CHECK(c.window_rope->theta == 10000);
  CHECK_FALSE(c.attention_scale.has_value());
  options.config.layers = 62;
  CHECK(read(8).attention_scale == 1 / std::sqrt(8.0f));
  CHECK(complaint([&] { (void)read(0); }).find("window_rope is given, but no windows") != std::string::npos);
}

TEST_CASE("Granite's and MiniCPM's scalars: given, left out, and those of GGUFs that are older than the keys") {
  const auto folder = [](const char* name, const std::vector<std::pair<const char*, double>>& numbers) {
    test::TinyLlamaOptions options;
    options.config.layers = 4;
    options.family.hugging_face_class = std::string(name) + "ForCausalLM";
    auto config = test::TinyLlama(options).config_json();
    for (const auto& [key, value] : numbers) config[key] = value;
    return parse_config_json(config.dump(), "config.json").config;
  };
  const auto gguf = [](const char* architecture, const std::vector<std::pair<const char*, float>>& numbers,
                       std::optional<bool> rotates = std::nullopt) {
    test::TinyLlamaOptions options;
    options.config.layers = 4;
    options.family.architecture = architecture;
    test::GgufBuilder builder = test::TinyLlama(options).gguf();
    for (const auto& [key, value] : numbers) builder.value(std::string(architecture) + "." + key, value);
    if (rotates) builder.value(std::string(architecture) + ".rope.scaling.finetuned", *rotates);
    const auto bytes = builder.bytes();
    return read_llama_config(GgufFile::parse(bytes, "model.gguf"));
  };
  const auto check = [](const LlamaConfig& c, float embedding, float residual, float logits) {
    CHECK(c.embedding_scale == doctest::Approx(embedding));
    CHECK(c.residual_scale == doctest::Approx(residual));
    CHECK(c.logit_scale == doctest::Approx(logits));
  };
  const LlamaConfig granite = folder("Granite", {{"embedding_multiplier", 12},
                                                 {"attention_multiplier", 0.015625},
                                                 {"residual_multiplier", 0.22},
                                                 {"logits_scaling", 8}});
  check(granite, 12, 0.22f, 0.125f);
  CHECK(granite.attention_scale == 0.015625f);
  check(folder("Granite", {}), 1, 1, 1);
  CHECK(folder("Granite", {}).attention_scale == 1.0f);
  const LlamaConfig granite_gguf =
      gguf("granite",
           {{"embedding_scale", 12}, {"attention.scale", 0.015625f}, {"residual_scale", 0.22f}, {"logit_scale", 8}});
  check(granite_gguf, 12, 0.22f, 0.125f);
  CHECK(granite_gguf.attention_scale == 0.015625f);
  CHECK(granite_gguf.rotated.empty());
  check(gguf("granite", {}), 1, 1, 1);
  CHECK_FALSE(gguf("granite", {}).attention_scale.has_value());
  CHECK(gguf("granite", {}, true).rotated.empty());
  CHECK(gguf("granite", {}, false).rotated == std::vector<bool>(4, false));

  // The hidden size is 256, N is 4.
  check(folder("MiniCPM", {{"scale_emb", 12}, {"scale_depth", 1.4}, {"dim_model_base", 64}}), 12, 0.7f, 0.25f);
  check(folder("MiniCPM", {}), 1, 0.5f, 1 / 256.0f);
  check(gguf("minicpm", {{"embedding_scale", 10}, {"residual_scale", 0.3f}, {"logit_scale", 4}}), 10, 0.3f, 0.25f);
  check(gguf("minicpm", {}), 12, 0.7f, 1);
  CHECK(complaint([&] {
          (void)folder("Granite", {{"logits_scaling", 0}});
        }).find("logit_scale must be positive") != std::string::npos);
  CHECK(complaint([&] {
          (void)folder("MiniCPM", {{"scale_depth", -1}});
        }).find("residual_scale must be positive") != std::string::npos);
}

TEST_CASE("Gemma 2: what its class has where keys are missing or null, windows in every other block, the 27B's scale") {
  test::TinyLlamaOptions options;
  options.config.layers = 3;
  options.family.hugging_face_class = "Gemma2ForCausalLM";
  auto config = test::TinyLlama(options).config_json();
  config.erase("hidden_act");
  const auto read = [&] { return parse_config_json(config.dump(), "config.json").config; };
  const LlamaConfig usual = read();
  CHECK(usual.attention_soft_cap == 50.0f);
  CHECK(usual.logit_soft_cap == 30.0f);
  CHECK(usual.attention_scale == 0.0625f);  // 1 / sqrt(256)
  CHECK(usual.windows == std::vector<Index>{4096, 0, 4096});
  config["attn_logit_softcapping"] = nullptr;
  config["final_logit_softcapping"] = 20;
  CHECK_FALSE(read().attention_soft_cap.has_value());
  CHECK(read().logit_soft_cap == 20.0f);

  options.config.layers = 46;
  options.config.hidden = 64;
  options.config.ffn = 8;
  options.config.heads = 2;
  options.config.kv_heads = 1;
  options.config.head_dim = 16;
  options.family.architecture = "gemma2";
  const auto bytes = test::TinyLlama(options).gguf().bytes();
  const LlamaConfig large = read_llama_config(GgufFile::parse(bytes, "model.gguf"));
  CHECK(large.attention_scale == 1 / std::sqrt(32.0f));  // of hidden size and heads, not head_dim
  CHECK(large.windows[45] == 0);
  CHECK(large.windows[44] == 4096);
  CHECK(large.logit_soft_cap == 30.0f);
}

}  // namespace families_tests
