// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/embed/lm_head_file.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "support/file_builders.hpp"

using namespace activation_trace;

namespace {

constexpr Index V = 5;
constexpr Index d = 4;

std::vector<std::byte> floats(Index count, float first) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(count) * sizeof(float));
  for (Index i = 0; i < count; ++i) {
    const float value = first + static_cast<float>(i);
    std::memcpy(bytes.data() + static_cast<std::size_t>(i) * sizeof value, &value, sizeof value);
  }
  return bytes;
}

test::GgufBuilder::Tensor f32(std::string name, std::vector<std::uint64_t> extents, float first) {
  Index count = 1;
  for (const std::uint64_t extent : extents) count *= static_cast<Index>(extent);
  return {.name = std::move(name), .type = 0, .extents = std::move(extents), .data = floats(count, first)};
}

test::GgufBuilder model(const std::string& architecture) {
  test::GgufBuilder gguf;
  gguf.value("general.architecture", architecture.c_str())
      .value(architecture + ".block_count", std::uint32_t{7})
      .value(architecture + ".attention.layer_norm_rms_epsilon", 1e-6f);
  gguf.tensor(f32("token_embd.weight", {d, V}, 100)).tensor(f32("output_norm.weight", {d}, 3));
  return gguf;
}

std::vector<float> row(const LmHead<>& head, TokenId id) {
  std::vector<float> values(static_cast<std::size_t>(head.hidden()));
  head.row(id, values);
  return values;
}

}  // namespace

TEST_CASE("the LM head of a GGUF file of any architecture, its own or the embedding") {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder / "model.gguf";
  test::write_file(path, model("gemma2").value("gemma2.final_logit_softcapping", 30.0f).bytes());
  const LmHeadFile tied = open_lm_head(path);
  CHECK(tied.architecture == "gemma2");
  CHECK(tied.blocks == 7);
  CHECK(tied.embeddings == Embeddings::tied);
  CHECK(tied.head.options() == LogitOptions{.soft_cap = 30.0f});
  REQUIRE(tied.norm);
  CHECK(tied.norm->weight == std::vector<float>{3, 4, 5, 6});
  CHECK(tied.norm->eps == 1e-6f);
  CHECK(tied.head.vocab() == V);
  CHECK(row(tied.head, 2) == std::vector<float>{108, 109, 110, 111});

  const std::filesystem::path other = folder / "other.gguf";
  test::write_file(
      other, model("granite").value("granite.logit_scale", 8.0f).tensor(f32("output.weight", {d, V}, 500)).bytes());
  const LmHeadFile separate = open_lm_head(other);
  CHECK(separate.embeddings == Embeddings::separate);
  CHECK(separate.head.options() == LogitOptions{.scale = 0.125f});
  CHECK(row(separate.head, 4) == std::vector<float>{516, 517, 518, 519});
}

TEST_CASE("a LayerNorm is no final norm of ours") {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder / "model.gguf";
  test::write_file(path, model("phi2").tensor(f32("output_norm.bias", {d}, 0)).bytes());
  CHECK(!open_lm_head(path).norm);
}

TEST_CASE("a head in a type that is not ours is read by the engine's dequantiser, row by row") {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder / "model.gguf";
  test::GgufBuilder gguf = model("llama");
  gguf.tensors.front() = {.name = "token_embd.weight",
                          .type = 16,  // IQ2_XXS: 256 elements in 66 bytes
                          .extents = {256, 3},
                          .data = std::vector<std::byte>(3 * 66)};
  gguf.tensors.front().data[2 * 66 + 65] = std::byte{9};  // the last byte of the last row
  gguf.tensors.back() = f32("output_norm.weight", {256}, 1);
  test::write_file(path, gguf.bytes());
  CHECK_THROWS_AS((void)open_lm_head(path), FormatError);
  const auto last_byte = [](std::string_view type, std::span<const std::byte> stored, std::span<float> out) {
    CHECK(type == "IQ2_XXS");
    CHECK(stored.size() == 66);
    CHECK(out.size() == 256);
    for (float& x : out) x = static_cast<float>(std::to_integer<int>(stored.back()));
  };
  LmHeadFile opened = open_lm_head(path, last_byte);
  const LmHeadFile moved = std::move(opened);  // takes the file along
  CHECK(moved.head.vocab() == 3);
  CHECK(row(moved.head, 1) == std::vector<float>(256, 0.0f));
  CHECK(row(moved.head, 2) == std::vector<float>(256, 9.0f));
}

TEST_CASE("the LM head of a Hugging Face folder") {
  const test::TemporaryFolder folder;
  const auto write = [&](const std::string& config) {
    test::write_file(folder / "config.json", config);
    std::vector<std::byte> data = floats(V * d, 10);
    const std::vector<std::byte> norm = floats(d, 0);
    data.insert(data.end(), norm.begin(), norm.end());
    const std::string header = R"({"model.embed_tokens.weight":{"dtype":"F32","shape":[5,4],"data_offsets":[0,80]},)"
                               R"("model.norm.weight":{"dtype":"F32","shape":[4],"data_offsets":[80,96]}})";
    test::write_file(folder / "model.safetensors", test::safetensors_bytes(header, data));
  };
  write(R"({"model_type":"gemma2","num_hidden_layers":3,"rms_norm_eps":1e-6,"final_logit_softcapping":30.0})");
  const LmHeadFile gemma = open_lm_head(folder.path());
  CHECK(gemma.blocks == 3);
  CHECK(gemma.head.options() == LogitOptions{.soft_cap = 30.0f});
  CHECK(gemma.embeddings == Embeddings::tied);
  REQUIRE(gemma.norm);
  CHECK(gemma.norm->weight == std::vector<float>{1, 2, 3, 4});  // stored less one
  CHECK(row(gemma.head, 1) == std::vector<float>{14, 15, 16, 17});

  write(R"({"model_type":"granite","num_hidden_layers":2,"rms_norm_eps":1e-5,"logits_scaling":8})");
  const LmHeadFile granite = open_lm_head(folder.path());
  CHECK(granite.head.options() == LogitOptions{.scale = 0.125f});
  CHECK(granite.norm->weight == std::vector<float>{0, 1, 2, 3});

  write(R"({"model_type":"cohere","num_hidden_layers":2,"logit_scale":0.0625})");
  CHECK(open_lm_head(folder.path()).head.options() == LogitOptions{.scale = 0.0625f});
  write(R"({"model_type":"minicpm3","num_hidden_layers":2,"dim_model_base":2})");
  CHECK(open_lm_head(folder.path()).head.options() == LogitOptions{.scale = 0.5f});
  write(R"({"model_type":"gemma2","num_hidden_layers":2,"final_logit_softcapping":null})");
  CHECK(open_lm_head(folder.path()).head.options() == LogitOptions{});

  write(R"({"model_type":"llama"})");
  CHECK_THROWS_AS((void)open_lm_head(folder.path()), FormatError);
}

TEST_CASE(
    "the LM head of folders that call things otherwise: where the flag is left out, and a part of a larger model") {
  const test::TemporaryFolder folder;
  const auto open = [&](const std::string& config, const std::string& embedding, const std::string& norm,
                        const std::string& head) {
    const auto entry = [](const std::string& name, const char* shape, int begin, int end) {
      return '"' + name + R"(":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":[)" + std::to_string(begin) +
             ',' + std::to_string(end) + "]}";
    };
    std::vector<std::byte> data = floats(V * d, 10);
    for (const auto& part : {floats(d, 0), floats(V * d, 50)}) data.insert(data.end(), part.begin(), part.end());
    test::write_file(folder / "config.json", config);
    test::write_file(folder / "model.safetensors",
                     test::safetensors_bytes('{' + entry(embedding, "[5,4]", 0, 80) + ',' + entry(norm, "[4]", 80, 96) +
                                                 ',' + entry(head, "[5,4]", 96, 176) + '}',
                                             data));
    return open_lm_head(folder.path());
  };
  // A file may have both: SmolLM3's class ties them unless it is told not to.
  const auto smollm3 = [&](const char* more) {
    return open(R"({"model_type":"smollm3","num_hidden_layers":4)" + std::string(more) + "}",
                "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight");
  };
  CHECK(row(smollm3("").head, 0)[0] == 10);
  CHECK(row(smollm3(R"(,"tie_word_embeddings":false)").head, 0)[0] == 50);
  const LmHeadFile internlm2 = open(R"({"model_type":"internlm2","num_hidden_layers":2,"rms_norm_eps":1e-5})",
                                    "model.tok_embeddings.weight", "model.norm.weight", "output.weight");
  CHECK(row(internlm2.head, 0)[0] == 50);
  CHECK(internlm2.norm.value().eps == 1e-5f);
  const LmHeadFile gemma3 = open(
      R"({"model_type":"gemma3","text_config":{"num_hidden_layers":6,"rms_norm_eps":1e-6,"final_logit_softcapping":9}})",
      "language_model.model.embed_tokens.weight", "language_model.model.norm.weight", "vision_tower.weight");
  CHECK(gemma3.blocks == 6);
  CHECK(gemma3.head.options() == LogitOptions{.soft_cap = 9.0f});
  CHECK(row(gemma3.head, 4)[3] == 29);
  CHECK(gemma3.norm.value().weight == std::vector<float>{1, 2, 3, 4});
  CHECK_THROWS_AS((void)open(R"({"model_type":"gemma3","num_hidden_layers":6})", "a", "b", "c"), FormatError);
}

TEST_CASE("what an engine makes of products with the head: by families, by other names, and by defaults") {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder / "model.gguf";
  const auto options_of = [&](const test::GgufBuilder& gguf) {
    test::write_file(path, gguf.bytes());
    return open_lm_head(path).head.options();
  };
  CHECK(options_of(model("llama")) == LogitOptions{});
  for (const char* name : {"granite", "granitemoe", "granitehybrid", "minicpm"})
    CHECK(options_of(model(name).value(std::string(name) + ".logit_scale", 4.0f)) == LogitOptions{.scale = 0.25f});
  CHECK(options_of(model("command-r").value("command-r.logit_scale", 0.0625f)) == LogitOptions{.scale = 0.0625f});
  CHECK(options_of(model("grok").value("grok.logit_scale", 0.5f).value("grok.final_logit_softcapping", 30.0f)) ==
        LogitOptions{.scale = 0.5f, .soft_cap = 30.0f});
  for (const char* name : {"minicpm", "minicpm3"})  // 256 / d, if they say nothing
    CHECK(options_of(model(name)) == LogitOptions{.scale = 64});
  CHECK(options_of(model("gemma2")) == LogitOptions{.soft_cap = 30.0f});
  test::write_file(path, model("granite").value("granite.logit_scale", 0.0f).bytes());
  CHECK_THROWS_AS((void)open_lm_head(path), FormatError);
  // The head makes them.
  test::write_file(path, model("granite").value("granite.logit_scale", 8.0f).bytes());
  const LmHeadFile granite = open_lm_head(path);
  const std::vector<float> state{1, 0, 0, 0.5f};
  std::vector<float> logits(static_cast<std::size_t>(V));
  Execution<Host> execution(1);
  Buffer<float> memory;
  granite.head.logits(execution, as_matrix(std::span(state), 1, d), as_matrix(std::span(logits), 1, V), memory);
  CHECK(logits[1] == (104 + 0.5f * 107) / 8);
}

TEST_CASE("files without an LM head say what is missing") {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder / "model.gguf";
  const auto refused = [&](const test::GgufBuilder& gguf) {
    test::write_file(path, gguf.bytes());
    try {
      (void)open_lm_head(path);
    } catch (const FormatError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const auto contains = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  test::GgufBuilder none = model("llama");
  none.tensors.erase(none.tensors.begin());
  CHECK(contains(refused(none), "holds neither output.weight nor token_embd.weight"));
  CHECK(contains(refused(model("phi3").tensor(f32("output.bias", {V}, 0))), "a head with a bias is not supported"));
  test::GgufBuilder flat = model("llama");
  flat.tensors.front() = f32("token_embd.weight", {d * V}, 0);
  CHECK(contains(refused(flat), "expected that of an LM head, [V, d]"));
  test::GgufBuilder norm = model("llama");
  norm.tensors.back() = f32("output_norm.weight", {d + 1}, 0);
  CHECK(contains(refused(norm), "output_norm.weight"));
}
