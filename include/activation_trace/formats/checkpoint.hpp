// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "activation_trace/formats/gguf.hpp"
#include "activation_trace/formats/llama_config.hpp"
#include "activation_trace/formats/safetensors.hpp"
#include "activation_trace/model/weights.hpp"

namespace activation_trace {
inline namespace v0 {

/// A model and the files that its weights view: keep it as long as the model runs. Moves, does not copy.
struct Checkpoint {
  LlamaConfig config;
  LlamaWeights weights;
  std::optional<GgufFile> gguf;              ///< the file of a GGUF model, which holds its tokenizer too
  std::vector<SafetensorsFile> safetensors;  ///< the files of a Hugging Face model
};

/// Opens a LLaMA: a .gguf file, or a Hugging Face folder with config.json and safetensors. Shapes, types and
/// the completeness of the weights are checked, and a tensor that a plain LLaMA does not have is refused.
/// Throws FormatError naming the file and what is wrong with it.
[[nodiscard]] Checkpoint load_llama(const std::filesystem::path& path, FileAccess access = FileAccess::map);

namespace detail {

/// Collects a model's tensors from files of either format and notes which ones were asked for.
template <class Files>
class TensorCollector {
 public:
  TensorCollector(const Files& files, std::string name) : files_(files), name_(std::move(name)) {}

  StoredMatrix matrix(const std::string& tensor, Index rows, Index cols) {
    const auto [file, found] = require(tensor);
    return matrix_of(*found, rows, cols, file->name());
  }

  std::vector<float> floats(const std::string& tensor, Index size) {
    const auto [file, found] = require(tensor);
    return floats_of(*found, size, file->name());
  }

  [[nodiscard]] bool contains(std::string_view tensor) const { return find(tensor).second != nullptr; }
  void ignore(std::string_view tensor) { used_.emplace(tensor); }

  /// A tensor that nobody asked for (a bias, an expert, an adapter) would make the results wrong.
  void check_all_used() const {
    for (const auto& file : files_)
      for (const FileTensor& tensor : file.tensors())
        if (!used_.contains(tensor.name) && !tensor.name.ends_with(".rotary_emb.inv_freq"))
          throw FormatError(file.name(), tensor.offset,
                            "tensor " + printable(tensor.name) + " has no place in a plain LLaMA");
  }

 private:
  using File = typename Files::value_type;

  [[nodiscard]] std::pair<const File*, const FileTensor*> find(std::string_view tensor) const {
    for (const auto& file : files_)
      if (const FileTensor* found = file.find_tensor(tensor)) return {&file, found};
    return {nullptr, nullptr};
  }

  std::pair<const File*, const FileTensor*> require(const std::string& tensor) {
    const auto result = find(tensor);
    if (result.second == nullptr) throw FormatError(name_, "tensor " + printable(tensor) + " is missing");
    used_.insert(tensor);
    return result;
  }

  const Files& files_;
  std::string name_;
  std::set<std::string, std::less<>> used_;
};

/// How a format names the tensors of a LLaMA. Each is followed by ".weight".
struct LlamaTensorNames {
  const char* embedding;
  const char* block;  ///< followed by the block's number and a dot
  const char* attention_norm;
  const char* q;
  const char* k;
  const char* v;
  const char* o;
  const char* fused_qkv;  ///< refused
  const char* ffn_norm;
  const char* gate;
  const char* up;
  const char* down;
  const char* final_norm;
  const char* lm_head;
};

inline constexpr LlamaTensorNames gguf_names{"token_embd", "blk.",        "attn_norm",   "attn_q",   "attn_k",
                                             "attn_v",     "attn_output", "attn_qkv",    "ffn_norm", "ffn_gate",
                                             "ffn_up",     "ffn_down",    "output_norm", "output"};

inline constexpr LlamaTensorNames hugging_face_names{"model.embed_tokens",
                                                     "model.layers.",
                                                     "input_layernorm",
                                                     "self_attn.q_proj",
                                                     "self_attn.k_proj",
                                                     "self_attn.v_proj",
                                                     "self_attn.o_proj",
                                                     "self_attn.qkv_proj",
                                                     "post_attention_layernorm",
                                                     "mlp.gate_proj",
                                                     "mlp.up_proj",
                                                     "mlp.down_proj",
                                                     "model.norm",
                                                     "lm_head"};

enum class HeadKind { separate, tied };

template <class Files>
LlamaWeights collect_weights(TensorCollector<Files>& tensors, const LlamaConfig& config, const LlamaTensorNames& names,
                             HeadKind head, const std::string& file) {
  const Index d = config.hidden;
  const Index queries = config.heads * config.head_dim;
  const Index keys = config.kv_heads * config.head_dim;
  LlamaWeights weights;
  weights.embedding = tensors.matrix(std::string(names.embedding) + ".weight", config.vocab, d);
  for (Index i = 0; i < config.layers; ++i) {
    const auto name = [&](const char* part) { return names.block + std::to_string(i) + "." + part + ".weight"; };
    if (tensors.contains(name(names.fused_qkv)))
      throw FormatError(file, "tensor " + printable(name(names.fused_qkv)) +
                                  " fuses q, k and v, which is not supported: convert with separate tensors");
    LlamaLayerWeights& layer = weights.layers.emplace_back();
    layer.attention_norm = tensors.floats(name(names.attention_norm), d);
    layer.q = tensors.matrix(name(names.q), queries, d);
    layer.k = tensors.matrix(name(names.k), keys, d);
    layer.v = tensors.matrix(name(names.v), keys, d);
    layer.o = tensors.matrix(name(names.o), d, queries);
    layer.ffn_norm = tensors.floats(name(names.ffn_norm), d);
    layer.gate = tensors.matrix(name(names.gate), config.ffn, d);
    layer.up = tensors.matrix(name(names.up), config.ffn, d);
    layer.down = tensors.matrix(name(names.down), d, config.ffn);
  }
  weights.final_norm = tensors.floats(std::string(names.final_norm) + ".weight", d);
  const std::string lm_head = std::string(names.lm_head) + ".weight";
  if (head == HeadKind::tied) {
    weights.lm_head = weights.embedding;
    tensors.ignore(lm_head);  // transformers writes it at times, and ignores it
  } else {
    weights.lm_head = tensors.matrix(lm_head, config.vocab, d);
  }
  tensors.check_all_used();
  weights.validate(config);
  return weights;
}

inline Checkpoint load_gguf_llama(GgufFile file) {
  Checkpoint checkpoint;
  checkpoint.gguf = std::move(file);
  const GgufFile& gguf = *checkpoint.gguf;
  checkpoint.config = read_llama_config(gguf);
  checkpoint.config.source = gguf.name();
  const std::span<const GgufFile> files(&gguf, 1);
  TensorCollector<std::span<const GgufFile>> tensors(files, gguf.name());
  if (tensors.contains("rope_freqs.weight"))
    checkpoint.config.rope.divisors = tensors.floats("rope_freqs.weight", checkpoint.config.head_dim / 2);
  validate_config(checkpoint.config, gguf.name());
  const HeadKind head = tensors.contains("output.weight") ? HeadKind::separate : HeadKind::tied;
  checkpoint.weights = collect_weights(tensors, checkpoint.config, gguf_names, head, gguf.name());
  return checkpoint;
}

inline Checkpoint load_hugging_face_llama(const std::filesystem::path& folder, FileAccess access) {
  Checkpoint checkpoint;
  const MappedFile config_file = MappedFile::open(folder / "config.json", FileAccess::read);
  const HuggingFaceConfig parsed = parse_config_json(text_of(config_file.bytes()), config_file.name());
  checkpoint.config = parsed.config;
  checkpoint.config.source = folder.string();
  std::error_code ignored;
  if (const auto path = folder / "generation_config.json"; std::filesystem::exists(path, ignored)) {
    const MappedFile file = MappedFile::open(path, FileAccess::read);
    for (const TokenId id : parse_generation_config_eos(text_of(file.bytes()), file.name()))
      if (std::find(checkpoint.config.eos.begin(), checkpoint.config.eos.end(), id) == checkpoint.config.eos.end())
        checkpoint.config.eos.push_back(id);
    validate_config(checkpoint.config, file.name());
  }
  checkpoint.safetensors = open_safetensors_folder(folder, access);
  TensorCollector<std::vector<SafetensorsFile>> tensors(checkpoint.safetensors, folder.string());
  const HeadKind head = parsed.tied_embeddings ? HeadKind::tied : HeadKind::separate;
  checkpoint.weights = collect_weights(tensors, checkpoint.config, hugging_face_names, head, folder.string());
  return checkpoint;
}

/// Says what to give instead of a folder or file that is no model.
[[noreturn]] inline void refuse_folder(const std::filesystem::path& folder) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored))
    if (entry.path().extension() == ".gguf")
      throw FormatError(folder.string(),
                        "holds no config.json; give the .gguf file itself: " + entry.path().filename().string());
  throw FormatError(folder.string(), "holds no config.json; give a .gguf file or a Hugging Face folder");
}

[[noreturn]] inline void refuse_file(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  if (extension == ".safetensors")
    throw FormatError(path.string(), "holds weights only; give the folder that holds it and config.json");
  if (extension == ".bin" || extension == ".pt" || extension == ".pth")
    throw FormatError(path.string(), "PyTorch dumps can run code and are not read; give safetensors or a .gguf file");
  throw FormatError(path.string(), 0, "is not a GGUF file; give a .gguf file or a Hugging Face folder");
}

}  // namespace detail

inline Checkpoint load_llama(const std::filesystem::path& path, FileAccess access) {
  std::error_code problem;
  if (std::filesystem::is_directory(path, problem)) {
    if (!std::filesystem::exists(path / "config.json", problem)) detail::refuse_folder(path);
    return detail::load_hugging_face_llama(path, access);
  }
  const MappedFile file = MappedFile::open(path, FileAccess::map);  // says what is wrong with a path to nothing
  if (!detail::text_of(file.bytes()).starts_with("GGUF")) detail::refuse_file(path);
  return detail::load_gguf_llama(GgufFile::open(path, access));
}

}  // namespace v0
}  // namespace activation_trace
