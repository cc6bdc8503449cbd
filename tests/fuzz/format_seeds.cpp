// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "support/tiny_llama.hpp"

using namespace activation_trace;

namespace {

/// Odd but legal.
test::GgufBuilder odd_gguf() {
  test::GgufBuilder odd;
  odd.alignment = 8;
  odd.version = 2;
  odd.value("general.alignment", std::uint32_t{8}).value("general.architecture", "llama");
  odd.value("tokenizer.ggml.add_bos_token", true)
      .array("tokenizer.ggml.tokens", std::vector<std::string>{"a", "", "b"});
  odd.array("tokenizer.ggml.scores", std::vector<float>{0.5f, -1})
      .array("tokenizer.ggml.token_type", std::vector<std::int32_t>{1, 2});
  odd.value("u8", std::uint8_t{1}).value("i64", std::int64_t{-1}).value("f64", 0.5);
  odd.tensor({"scalar", 0, {}, std::vector<std::byte>(4)}).tensor({"empty", 12, {0, 5}, {}});
  odd.tensor({"skipped", 16, {256, 1, 2}, std::vector<std::byte>(132)});
  return odd;
}

}  // namespace

// Writes the seeds of the format fuzzers below the given folder: the smallest models, and odd but legal files.
int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: fuzz_format_seeds <folder>\n", stderr);
    return 2;
  }
  const std::filesystem::path root = argv[1];
  for (const char* name : {"gguf", "safetensors", "config_json"}) std::filesystem::create_directories(root / name);

  const auto write_all = [&](const std::string& name, const test::TinyLlamaOptions& options) {
    const test::TinyLlama model(options);
    test::write_file(root / "gguf" / (name + ".gguf"), model.gguf().bytes());
    test::write_file(root / "config_json" / (name + ".json"), model.config_json().dump());
    const test::TemporaryFolder folder;
    model.write_hugging_face(folder.path());
    std::filesystem::copy_file(folder / "model.safetensors", root / "safetensors" / (name + ".safetensors"),
                               std::filesystem::copy_options::overwrite_existing);
    model.write_hugging_face(folder.path(), 2);
    std::filesystem::copy_file(folder / "model.safetensors.index.json", root / "config_json" / (name + ".index.json"),
                               std::filesystem::copy_options::overwrite_existing);
  };
  test::TinyLlamaOptions options;
  options.config = {};
  options.config.layers = 1;
  options.config.hidden = options.config.ffn = options.config.head_dim = 2;
  options.config.heads = options.config.kv_heads = 1;
  options.config.vocab = 3;
  options.config.max_context = 8;
  write_all("f32", options);
  options.dtype = DType::f16;
  options.embeddings = Embeddings::tied;
  options.config.rope.scaling = RopeScaling::llama3;
  options.config.rope.factor = 8;
  write_all("f16_llama3", options);
  options.config.rope.scaling = RopeScaling::linear;
  options.dtype = DType::bf16;
  options.norm_dtype = DType::bf16;
  write_all("bf16_linear", options);

  test::write_file(root / "gguf" / "odd.gguf", odd_gguf().bytes());
  test::write_file(
      root / "safetensors" / "odd.safetensors",
      test::safetensors_bytes(R"({"__metadata__":{"a":"b"},"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
                              R"("z":{"dtype":"F4","shape":[0,3],"data_offsets":[8,8]}})",
                              std::vector<std::byte>(8)));
  test::write_file(
      root / "config_json" / "transformers5.json",
      R"({"architectures":["LlamaForCausalLM"],"hidden_size":8,"intermediate_size":8,"num_hidden_layers":1,)"
      R"("num_attention_heads":2,"head_dim":null,"vocab_size":9,"eos_token_id":[2,3],"bos_token_id":null,)"
      R"("rope_parameters":{"rope_theta":5e5,"rope_type":"llama3","factor":8.0,"low_freq_factor":1,)"
      R"("high_freq_factor":4,"original_max_position_embeddings":64}})");
  return 0;
}
