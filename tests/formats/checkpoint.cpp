// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/formats/checkpoint.hpp"

#include <doctest/doctest.h>

#include <cstring>

#include "support/same_matrix.hpp"
#include "support/tiny_llama.hpp"

using namespace activation_trace;
using test::check_same;
using test::row_of;

namespace checkpoint_tests {  // compiled as one with others
namespace {

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

std::string refusal(const std::filesystem::path& path) {
  try {
    (void)load_llama(path);
  } catch (const FormatError& error) {
    const std::string text = error.what();
    CHECK(text.find('\n') == std::string::npos);
    CHECK(text.starts_with(path.string()));
    return text;
  }
  return "no error";
}

std::string refusal(const test::GgufBuilder& builder) {
  const test::TemporaryFolder folder;
  test::write_file(folder / "model.gguf", builder.bytes());
  return refusal(folder / "model.gguf");
}

// b's rows are those of a in GGUF's order: within each head the two halves take turns.
void check_interleaved(const StoredMatrix<>& a, const StoredMatrix<>& b, Index head_dim) {
  REQUIRE(a.rows() == b.rows());
  for (Index r = 0; r < a.rows(); ++r) {
    const Index head = r / head_dim;
    const Index pair = r % head_dim / 2;
    REQUIRE(row_of(b, r) == row_of(a, head * head_dim + pair + r % 2 * head_dim / 2));
  }
}

test::GgufBuilder::Tensor* find(test::GgufBuilder& builder, std::string_view name) {
  for (auto& tensor : builder.tensors)
    if (tensor.name == name) return &tensor;
  return nullptr;
}

}  // namespace

TEST_CASE("every weight type comes back from GGUF, with interleaved rotation, and from safetensors, with half-split") {
  for (const DType dtype : all_dtypes) {
    CAPTURE(name(dtype));
    test::TinyLlamaOptions options;
    options.dtype = dtype;
    options.config.layers = 1;
    const test::TinyLlama model(options);
    const LlamaWeights<> expected = model.weights();
    const test::TemporaryFolder folder;
    model.write_gguf(folder / "model.gguf");
    model.write_hugging_face(folder.path());
    for (const FileAccess access : {FileAccess::map, FileAccess::read}) {
      Checkpoint first = load_llama(folder / "model.gguf", access);
      const Checkpoint gguf = std::move(first);  // the views survive a move
      REQUIRE(gguf.gguf.has_value());
      CHECK(gguf.gguf->access() == access);
      CHECK(gguf.weights.layers[0].up.dtype() == dtype);
      CHECK(gguf.config.rope.layout == RopeLayout::interleaved);
      const Checkpoint hf = load_llama(folder.path(), access);
      CHECK_FALSE(hf.gguf.has_value());
      CHECK(hf.config.rope.layout == RopeLayout::half_split);
      for (const Checkpoint* c : {&gguf, &hf}) {
        CHECK(c->embeddings == Embeddings::separate);
        check_same(c->weights.embedding, expected.embedding);
        check_same(c->weights.lm_head, expected.lm_head);
        check_same(c->weights.layers[0].v, expected.layers[0].v);
        check_same(c->weights.layers[0].o, expected.layers[0].o);
        check_same(c->weights.layers[0].gate, expected.layers[0].gate);
        check_same(c->weights.layers[0].up, expected.layers[0].up);
        check_same(c->weights.layers[0].down, expected.layers[0].down);
        CHECK(c->weights.final_norm == expected.final_norm);
        CHECK(c->weights.layers[0].attention_norm == expected.layers[0].attention_norm);
        CHECK(c->weights.layers[0].ffn_norm == expected.layers[0].ffn_norm);
      }
      check_same(hf.weights.layers[0].q, expected.layers[0].q);
      check_same(hf.weights.layers[0].k, expected.layers[0].k);
      check_interleaved(expected.layers[0].q, gguf.weights.layers[0].q, 64);
      check_interleaved(expected.layers[0].k, gguf.weights.layers[0].k, 64);
    }
  }
}

TEST_CASE("norms of any type become floats") {
  for (const DType dtype : {DType::f16, DType::bf16, DType::q8_0}) {
    test::TinyLlamaOptions options;
    options.norm_dtype = dtype;
    const test::TinyLlama model(options);
    const test::TemporaryFolder folder;
    model.write_gguf(folder / "model.gguf");
    model.write_hugging_face(folder.path());
    CHECK(load_llama(folder / "model.gguf").weights.layers[1].ffn_norm == model.weights().layers[1].ffn_norm);
    CHECK(load_llama(folder.path()).weights.layers[1].ffn_norm == model.weights().layers[1].ffn_norm);
  }
}

TEST_CASE("a tied LM head is the embedding itself") {
  test::TinyLlamaOptions options;
  options.embeddings = Embeddings::tied;
  const test::TinyLlama model(options);
  const test::TemporaryFolder folder;
  model.write_gguf(folder / "model.gguf");
  model.write_hugging_face(folder.path());
  for (const auto& path : {folder / "model.gguf", folder.path()}) {
    const Checkpoint checkpoint = load_llama(path);
    CHECK(checkpoint.embeddings == Embeddings::tied);
    CHECK(checkpoint.weights.lm_head.data() == checkpoint.weights.embedding.data());
  }
}

TEST_CASE("rotation scaled as llama3: GGUF's divisors, Hugging Face's formula") {
  test::TinyLlamaOptions options;
  options.config.rope.scaling = RopeScaling::llama3;
  options.config.rope.factor = 8;
  options.config.rope.original_context = 64;
  const test::TinyLlama model(options);
  const test::TemporaryFolder folder;
  model.write_gguf(folder / "model.gguf");
  model.write_hugging_face(folder.path());
  const LlamaConfig gguf = load_llama(folder / "model.gguf").config;
  CHECK(gguf.rope.divisors == test::TinyLlama::llama3_divisors(model.config()));
  CHECK(gguf.rope.divisors.front() == 1);
  CHECK(gguf.rope.divisors.back() == 8);
  const LlamaConfig hf = load_llama(folder.path()).config;
  CHECK(hf.rope.scaling == RopeScaling::llama3);
  CHECK(hf.rope.original_context == 64);
  CHECK(hf.rope.divisors.empty());

  test::GgufBuilder builder = model.gguf();
  find(builder, "rope_freqs.weight")->data = test::quantize(DType::f32, std::vector<float>(32, 0));
  CHECK(contains(refusal(builder), "rope divisors must be positive"));
  find(builder, "rope_freqs.weight")->extents = {16};
  find(builder, "rope_freqs.weight")->data.resize(64);
  CHECK(contains(refusal(builder), "tensor 'rope_freqs.weight' has shape [16], expected [32]"));
}

TEST_CASE("a sharded folder is the same model, and generation_config.json adds its eos ids") {
  const test::TinyLlama model;
  const test::TemporaryFolder folder;
  model.write_hugging_face(folder.path(), 3);
  CHECK(load_llama(folder.path()).safetensors.size() == 3);
  check_same(load_llama(folder.path()).weights.layers[1].down, model.weights().layers[1].down);
  test::write_file(folder / "generation_config.json", R"({"eos_token_id":[2,5]})");
  CHECK(load_llama(folder.path()).config.eos == std::vector<TokenId>{2, 5});
  test::write_file(folder / "generation_config.json", R"({"eos_token_id":320})");
  CHECK(contains(refusal(folder.path()), "generation_config.json: LlamaConfig: eos id"));
}

TEST_CASE("a path to no model says what to give") {
  const test::TemporaryFolder folder;
  CHECK(contains(refusal(folder / "missing.gguf"), "missing.gguf: No such file or directory"));
  CHECK(contains(refusal(folder.path()), "holds no config.json; give a .gguf file or a Hugging Face folder"));
  test::write_file(folder / "model.safetensors", test::safetensors_bytes("{}"));
  CHECK(contains(refusal(folder / "model.safetensors"), "give the folder that holds it and config.json"));
  test::write_file(folder / "pytorch_model.bin", "PK");
  CHECK(contains(refusal(folder / "pytorch_model.bin"), "PyTorch dumps can run code and are not read"));
  test::write_file(folder / "notes.txt", "hello");
  CHECK(contains(refusal(folder / "notes.txt"), "is not a GGUF file"));
  test::write_file(folder / "empty.gguf", "");
  CHECK(contains(refusal(folder / "empty.gguf"), "is empty"));
  std::filesystem::remove(folder / "empty.gguf");
  test::TinyLlama().write_gguf(folder / "model.gguf");
  CHECK(contains(refusal(folder.path()), "give the .gguf file itself: model.gguf"));
}

TEST_CASE("formats/README.md 4, weights that do not fit the configuration are named") {
  const test::TinyLlama model;
  test::GgufBuilder builder = model.gguf();
  find(builder, "blk.1.ffn_up.weight")->name = "blk.1.ffn_up.weigth";
  CHECK(contains(refusal(builder), "tensor 'blk.1.ffn_up.weight' is missing"));

  builder = model.gguf();
  std::swap(find(builder, "blk.0.ffn_up.weight")->extents[0], find(builder, "blk.0.ffn_up.weight")->extents[1]);
  CHECK(contains(refusal(builder), "tensor 'blk.0.ffn_up.weight' has shape [256, 512], expected [512, 256]"));

  builder = model.gguf();  // vocab_size is not the number of the embedding's rows
  find(builder, "token_embd.weight")->extents[1] = 319;
  find(builder, "token_embd.weight")->data.resize(319 * 256 * 4);
  CHECK(contains(refusal(builder), "llama.vocab_size is 320, but tensor 'token_embd.weight' has 319 rows"));

  builder = model.gguf();
  find(builder, "blk.0.attn_v.weight")->type = 21;
  find(builder, "blk.0.attn_v.weight")->data.resize(128 * 110);
  CHECK(contains(refusal(builder), "tensor 'blk.0.attn_v.weight' has type IQ3_S, which is not supported for weights"));

  for (const char* extra : {"blk.0.attn_q.bias", "blk.0.attn_q_norm.weight", "blk.0.ffn_gate_exps.weight", "lora.a"}) {
    builder = model.gguf();
    builder.tensor({extra, 0, {64}, std::vector<std::byte>(256)});
    CHECK(contains(refusal(builder), "tensor '" + std::string(extra) + "' has no place in a plain LLaMA"));
  }
  builder = model.gguf();
  find(builder, "blk.0.attn_q.weight")->name = "blk.0.attn_qkv.weight";
  CHECK(contains(refusal(builder), "fuses q, k and v"));
}

TEST_CASE("a Hugging Face folder with the wrong tensors is refused") {
  const test::TinyLlama model;
  const test::TemporaryFolder folder;
  model.write_hugging_face(folder.path());
  auto config = model.config_json();
  config["num_hidden_layers"] = 1;
  test::write_file(folder / "config.json", config.dump());
  CHECK(
      contains(refusal(folder.path()), "tensor 'model.layers.1.input_layernorm.weight' has no place in a plain LLaMA"));
  config["num_hidden_layers"] = 3;
  test::write_file(folder / "config.json", config.dump());
  CHECK(contains(refusal(folder.path()), "tensor 'model.layers.2.input_layernorm.weight' is missing"));
  config = model.config_json();
  config["tie_word_embeddings"] = true;  // transformers ignores the head that is there
  test::write_file(folder / "config.json", config.dump());
  {
    const Checkpoint tied = load_llama(folder.path());
    CHECK(tied.weights.lm_head.data() == tied.weights.embedding.data());
  }
  config["vocab_size"] = 321;
  test::write_file(folder / "config.json", config.dump());
  CHECK(contains(refusal(folder.path()), "has shape [320, 256], expected [321, 256]"));
  std::filesystem::remove(folder / "model.safetensors");
  CHECK(contains(refusal(folder.path()), "holds neither model.safetensors nor"));
}

}  // namespace checkpoint_tests
