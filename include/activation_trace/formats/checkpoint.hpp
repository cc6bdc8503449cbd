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

#include "activation_trace/config.hpp"
#include "activation_trace/formats/families.hpp"
#include "activation_trace/formats/gguf.hpp"
#include "activation_trace/formats/llama_config.hpp"
#include "activation_trace/formats/safetensors.hpp"
#include "activation_trace/model/weights.hpp"
#include "activation_trace/processors/dola_options.hpp"
#include "activation_trace/text/mapped_file.hpp"

namespace activation_trace {
inline namespace v0 {

/// A model and the files that its weights view: keep it as long as the model runs. Moves, does not copy.
struct Checkpoint {
  LlamaConfig config;                            ///< validated
  LlamaWeights<> weights;                        ///< matrices view the files below; norms and biases are copies
  Embeddings embeddings = Embeddings::separate;  ///< whether the embedding is the LM head
  std::optional<GgufFile> gguf;  ///< the file of a GGUF model, which holds its tokenizer too (load_tokenizer)
  std::vector<SafetensorsFile> safetensors;    ///< the files of a Hugging Face model
  std::vector<std::vector<std::byte>> copies;  ///< rows of q, k and v that a file has in another order, viewed as well
};

/// Opens a model of one of the families: a .gguf file, or a Hugging Face folder with config.json and safetensors.
/// Shapes, types and the completeness of the weights are checked, and a tensor that its family does not have is
/// refused. Throws FormatError naming the file and what is wrong with it.
[[nodiscard]] Checkpoint load_llama(const std::filesystem::path& path, FileAccess access = FileAccess::map,
                                    std::span<const Family> known = families);

namespace detail {

/// Collects a model's tensors from files of either format and notes which ones were asked for.
template <class Files>
class TensorCollector {
 public:
  TensorCollector(const Files& files, std::string name, const Family& family)
      : files_(files), name_(std::move(name)), family_(family) {}

  [[nodiscard]] const Family& family() const noexcept { return family_; }
  /// What is read: the file or folder.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  StoredMatrix<> matrix(const std::string& tensor, Index rows, Index cols) {
    const FileTensor& found = require(tensor);
    return matrix_of(found, rows, cols, found.file);
  }

  /// Rows [begin, end) of each of `groups` equal parts of `all`, one part after the other, copied.
  StoredMatrix<> rows_of_parts(const StoredMatrix<>& all, Index groups, Index begin, Index end) {
    std::vector<std::byte>& rows = copies_.emplace_back();
    const Index length = all.rows() / groups;
    for (Index g = 0; g < groups; ++g)
      rows.insert(rows.end(), all.row(g * length + begin),
                  all.row(g * length + begin) + (end - begin) * all.row_bytes());
    return {all.dtype(), rows.data(), groups * (end - begin), all.cols()};
  }
  /// What rows_of_parts views.
  [[nodiscard]] std::vector<std::vector<std::byte>> take_copies() { return std::move(copies_); }

  std::vector<float> floats(const std::string& tensor, Index size) {
    const FileTensor& found = require(tensor);
    return floats_of(found, size, found.file);
  }

  /// As floats, as what the forward pass multiplies by.
  std::vector<float> norm(const std::string& tensor, Index size, const TensorNames& names) {
    std::vector<float> weight = floats(tensor, size);
    if (names.norm_offset != 0)
      for (float& w : weight) w += names.norm_offset;
    return weight;
  }

  [[nodiscard]] bool contains(std::string_view tensor) const { return find(tensor) != nullptr; }
  void ignore(std::string_view tensor) { used_.emplace(tensor); }

  /// A tensor that nobody asked for (a bias, an expert, an adapter) would make the results wrong.
  void check_all_used() const {
    for (const auto& file : files_)
      for (const FileTensor& tensor : file.tensors())
        if (!used_.contains(tensor.name) && !tensor.name.ends_with(".rotary_emb.inv_freq") && !is_other(tensor.name))
          throw FormatError(
              tensor.file, tensor.offset,
              "tensor " + printable(tensor.name) + " has no place in a plain " + std::string(family_.name));
  }

 private:
  [[nodiscard]] const FileTensor* find(std::string_view tensor) const {
    return find_tensor(files_, tensor, family_.text_roots);
  }

  /// Whether it belongs to a part of a larger model that is not read.
  [[nodiscard]] bool is_other(std::string_view tensor) const {
    return std::ranges::any_of(family_.other_tensors,
                               [&](std::string_view begin) { return !begin.empty() && tensor.starts_with(begin); });
  }

  const FileTensor& require(const std::string& tensor) {
    const FileTensor* found = find(tensor);
    if (found == nullptr) throw FormatError(name_, "tensor " + printable(tensor) + " is missing");
    used_.emplace(found->name);
    return *found;
  }

  const Files& files_;
  std::string name_;
  const Family& family_;
  std::set<std::string, std::less<>> used_;
  std::vector<std::vector<std::byte>> copies_;
};

/// q, k and v of a block, with their biases.
template <class Files>
void collect_attention(TensorCollector<Files>& tensors, const LlamaConfig& config, const TensorNames& names,
                       const std::string& block, LlamaLayerWeights<>& layer) {
  const Family& family = tensors.family();
  const Index queries = config.heads * config.head_dim;
  const Index keys = config.kv_heads * config.head_dim;
  const auto name = [&](std::string_view part, const char* ending) { return block + std::string(part) + ending; };
  if (!names.grouped_qkv.empty()) {
    const StoredMatrix<> all = tensors.matrix(name(names.grouped_qkv, ".weight"), queries + 2 * keys, config.hidden);
    const Index dim = config.head_dim;
    const Index of_q = config.heads / config.kv_heads * dim;
    layer.q = tensors.rows_of_parts(all, config.kv_heads, 0, of_q);
    layer.k = tensors.rows_of_parts(all, config.kv_heads, of_q, of_q + dim);
    layer.v = tensors.rows_of_parts(all, config.kv_heads, of_q + dim, of_q + 2 * dim);
    return;
  }
  const std::string fused = name(names.fused_qkv, ".weight");
  if (!family.fused_qkv) {
    if (!names.fused_qkv.empty() && tensors.contains(fused))
      throw FormatError(tensors.name(), "tensor " + printable(fused) +
                                            " fuses q, k and v, which is not supported: convert with separate tensors");
    layer.q = tensors.matrix(name(names.q, ".weight"), queries, config.hidden);
    layer.k = tensors.matrix(name(names.k, ".weight"), keys, config.hidden);
    layer.v = tensors.matrix(name(names.v, ".weight"), keys, config.hidden);
    if (family.biases != Biases::none) {
      layer.q_bias = tensors.floats(name(names.q, ".bias"), queries);
      layer.k_bias = tensors.floats(name(names.k, ".bias"), keys);
      layer.v_bias = tensors.floats(name(names.v, ".bias"), keys);
    }
    return;
  }
  const StoredMatrix<> all = tensors.matrix(fused, queries + 2 * keys, config.hidden);
  layer.q = all.slice(0, queries);
  layer.k = all.slice(queries, queries + keys);
  layer.v = all.slice(queries + keys, queries + 2 * keys);
  if (family.biases != Biases::none) {
    const std::vector<float> bias = tensors.floats(name(names.fused_qkv, ".bias"), queries + 2 * keys);
    const auto first_key = bias.begin() + queries;
    layer.q_bias.assign(bias.begin(), first_key);
    layer.k_bias.assign(first_key, first_key + keys);
    layer.v_bias.assign(first_key + keys, bias.end());
  }
}

template <class Files>
LlamaLayerWeights<> collect_layer(TensorCollector<Files>& tensors, const LlamaConfig& config, const TensorNames& names,
                                  const std::string& block) {
  const Index d = config.hidden;
  const auto name = [&](std::string_view part) { return block + std::string(part) + ".weight"; };
  LlamaLayerWeights<> layer;
  layer.attention_norm = tensors.norm(name(names.attention_norm), d, names);
  collect_attention(tensors, config, names, block, layer);
  if (!names.q_norm.empty()) layer.q_norm = tensors.norm(name(names.q_norm), config.head_dim, names);
  if (!names.k_norm.empty()) layer.k_norm = tensors.norm(name(names.k_norm), config.head_dim, names);
  layer.o = tensors.matrix(name(names.o), d, config.heads * config.head_dim);
  if (tensors.family().biases == Biases::qkvo) layer.o_bias = tensors.floats(block + std::string(names.o) + ".bias", d);
  if (!names.attention_out_norm.empty())
    layer.attention_out_norm = tensors.norm(name(names.attention_out_norm), d, names);
  if (!names.ffn_out_norm.empty()) layer.ffn_out_norm = tensors.norm(name(names.ffn_out_norm), d, names);
  layer.ffn_norm = tensors.norm(name(names.ffn_norm), d, names);
  if (names.fused_gate_up.empty()) {
    layer.gate = tensors.matrix(name(names.gate), config.ffn, d);
    layer.up = tensors.matrix(name(names.up), config.ffn, d);
  } else {
    const StoredMatrix<> both = tensors.matrix(name(names.fused_gate_up), 2 * config.ffn, d);
    layer.gate = both.slice(0, config.ffn);
    layer.up = both.slice(config.ffn, 2 * config.ffn);
  }
  layer.down = tensors.matrix(name(names.down), d, config.ffn);
  return layer;
}

template <class Files>
LlamaWeights<> collect_weights(TensorCollector<Files>& tensors, const LlamaConfig& config, const TensorNames& names,
                               Embeddings embeddings) {
  const Index d = config.hidden;
  LlamaWeights<> weights;
  weights.embedding = tensors.matrix(std::string(names.embedding) + ".weight", config.vocab, d);
  for (Index i = 0; i < config.layers; ++i)
    weights.layers.push_back(collect_layer(tensors, config, names, std::string(names.block) + std::to_string(i) + "."));
  weights.final_norm = tensors.norm(std::string(names.final_norm) + ".weight", d, names);
  const std::string lm_head = std::string(names.lm_head) + ".weight";
  if (embeddings == Embeddings::tied) {
    weights.lm_head = weights.embedding;
    tensors.ignore(lm_head);  // transformers writes it at times, and ignores it
  } else {
    weights.lm_head = tensors.matrix(lm_head, config.vocab, d);
  }
  tensors.check_all_used();
  weights.validate(config);
  return weights;
}

Checkpoint load_gguf_llama(GgufFile file, std::span<const Family> known = families);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE Checkpoint load_gguf_llama(GgufFile file, std::span<const Family> known) {
  Checkpoint checkpoint;
  checkpoint.gguf = std::move(file);
  const GgufFile& gguf = *checkpoint.gguf;
  checkpoint.config = read_llama_config(gguf, known);
  const Family& family = family_of(gguf, known);
  checkpoint.config.source = gguf.name();
  const std::span<const GgufFile> files(&gguf, 1);
  TensorCollector<std::span<const GgufFile>> tensors(files, gguf.name(), family);
  RopeConfig& rope = checkpoint.config.rope;
  const Index pairs = rope.rotated(checkpoint.config.head_dim) / 2;
  if (tensors.contains("rope_freqs.weight")) {
    rope.divisors = tensors.floats("rope_freqs.weight", pairs);
  } else if (tensors.contains("rope_factors_long.weight") || tensors.contains("rope_factors_short.weight")) {
    rope.divisors = tensors.floats("rope_factors_short.weight", pairs);
    rope.long_divisors = tensors.floats("rope_factors_long.weight", pairs);
  }
  validate_config(checkpoint.config, gguf.name());
  const bool has_head = tensors.contains(std::string(family.gguf.lm_head) + ".weight");
  checkpoint.embeddings = has_head ? Embeddings::separate : Embeddings::tied;
  checkpoint.weights = collect_weights(tensors, checkpoint.config, family.gguf, checkpoint.embeddings);
  checkpoint.copies = tensors.take_copies();
  return checkpoint;
}

ACTIVATION_TRACE_COMPILED_INLINE Checkpoint load_hugging_face_llama(const std::filesystem::path& folder,
                                                                    FileAccess access, std::span<const Family> known) {
  Checkpoint checkpoint;
  const MappedFile config_file = MappedFile::open(folder / "config.json", FileAccess::read);
  const HuggingFaceConfig parsed = parse_config_json(text_of(config_file.bytes()), config_file.name(), known);
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
  TensorCollector<std::vector<SafetensorsFile>> tensors(checkpoint.safetensors, folder.string(), *parsed.family);
  checkpoint.embeddings = parsed.tied_embeddings ? Embeddings::tied : Embeddings::separate;
  checkpoint.weights = collect_weights(tensors, checkpoint.config, parsed.family->hugging_face, checkpoint.embeddings);
  checkpoint.copies = tensors.take_copies();
  return checkpoint;
}

#endif  // ACTIVATION_TRACE_BODIES

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

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE Checkpoint load_llama(const std::filesystem::path& path, FileAccess access,
                                                       std::span<const Family> known) {
  std::error_code problem;
  if (std::filesystem::is_directory(path, problem)) {
    if (!std::filesystem::exists(path / "config.json", problem)) detail::refuse_folder(path);
    return detail::load_hugging_face_llama(path, access, known);
  }
  MappedFile file = MappedFile::open(path, access);  // says what is wrong with a path to nothing
  if (!detail::text_of(file.bytes()).starts_with("GGUF")) detail::refuse_file(path);
  return detail::load_gguf_llama(GgufFile::open(std::move(file)), known);
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
