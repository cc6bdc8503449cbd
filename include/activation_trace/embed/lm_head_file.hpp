// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/formats/gguf.hpp"
#include "activation_trace/formats/safetensors.hpp"
#include "activation_trace/processors/context_span.hpp"
#include "activation_trace/processors/dola_options.hpp"
#include "activation_trace/processors/lm_head.hpp"
#include "activation_trace/text/json_part.hpp"
#include "activation_trace/text/mapped_file.hpp"

namespace activation_trace {
inline namespace v0 {

/// The LM head of a model that another engine runs, and the files that it views: keep it as long as the head is used.
/// Moves, does not copy.
struct LmHeadFile {
  LmHead<> head;                                 ///< [V, d], as stored: without soft cap and scale
  std::optional<FinalNorm> norm;                 ///< the RMSNorm before it; none where the model has another kind
  Index blocks = 0;                              ///< N
  std::string architecture;                      ///< general.architecture, or model_type of config.json
  Embeddings embeddings = Embeddings::separate;  ///< tied: the head is the embedding
  std::optional<float> soft_cap;                 ///< the engine's logits are cap tanh(x / cap) of the head's
  std::optional<float>
      logit_scale;               ///< the model's number as the file has it: Granite divides by it, Cohere multiplies
  std::optional<GgufFile> gguf;  ///< the file of a GGUF model
  std::vector<SafetensorsFile> safetensors;  ///< the files of a Hugging Face model
};

/// Widens one row that is stored in the GGUF type of that name ("IQ2_XXS"), such as by ggml's to_float: row[] to
/// out[d]. Called on the thread that called the processor.
using Dequantizer = std::function<void(std::string_view type, std::span<const std::byte> row, std::span<float> out)>;

/// Opens the LM head of a .gguf file, of a split one any part, or of a Hugging Face folder with config.json and
/// safetensors. Of any architecture: nothing but head, final norm and a few numbers are looked at. A head in a type
/// that is not read here is read by `dequantize`. Throws FormatError naming the file and what it lacks, and for a head
/// with a bias.
[[nodiscard]] LmHeadFile open_lm_head(const std::filesystem::path& path, Dequantizer dequantize = {},
                                      FileAccess access = FileAccess::map);

namespace detail {

/// The matrix as an LM head, by `dequantize` where its type is not ours.
LmHead<> lm_head_of(const FileTensor& tensor, Dequantizer dequantize);

/// Finds head and norm by the names of a format, without their endings. eps: of the RMSNorm, none if it is another.
void read_lm_head(LmHeadFile& result, const std::string& name, const auto& files,
                  const std::array<std::string_view, 3>& names, std::optional<float> eps, float norm_offset,
                  Dequantizer dequantize) {
  const auto& [head_name, embedding_name, norm_name] = names;
  const auto find = [&](std::string_view tensor, const char* ending) {
    return find_tensor(files, std::string(tensor) + ending);
  };
  const FileTensor* head = result.embeddings == Embeddings::tied ? nullptr : find(head_name, ".weight");
  if (head == nullptr) {
    head = find(embedding_name, ".weight");
    result.embeddings = Embeddings::tied;
  }
  if (head == nullptr)
    throw FormatError(name, "holds neither " + std::string(head_name) + ".weight nor " + std::string(embedding_name) +
                                ".weight: no LM head");
  if (const FileTensor* bias = find(head_name, ".bias"))
    throw FormatError(bias->file, bias->offset,
                      "tensor " + printable(bias->name) + ": a head with a bias is not supported");
  result.head = lm_head_of(*head, std::move(dequantize));
  const FileTensor* norm = find(norm_name, ".weight");
  if (norm == nullptr || !eps || find(norm_name, ".bias") != nullptr) return;  // a LayerNorm, or none
  result.norm = FinalNorm{floats_of(*norm, result.head.hidden(), norm->file), *eps};
  for (float& weight : result.norm->weight) weight += norm_offset;
}

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE LmHeadFile open_gguf_lm_head(GgufFile file, Dequantizer dequantize) {
  LmHeadFile result;
  result.gguf = std::move(file);
  const GgufFile& gguf = *result.gguf;
  result.architecture = gguf.get<std::string_view>("general.architecture");
  const std::string prefix = result.architecture + ".";
  result.blocks = gguf.get<Index>(prefix + "block_count");
  result.soft_cap = gguf.find<float>(prefix + "final_logit_softcapping");
  result.logit_scale = gguf.find<float>(prefix + "logit_scale");
  read_lm_head(result, gguf.name(), std::span(&gguf, 1), {"output", "token_embd", "output_norm"},
               gguf.find<float>(prefix + "attention.layer_norm_rms_epsilon"), 0, std::move(dequantize));
  return result;
}

ACTIVATION_TRACE_COMPILED_INLINE LmHeadFile open_hugging_face_lm_head(const std::filesystem::path& folder,
                                                                      FileAccess access) {
  const MappedFile config = MappedFile::open(folder / "config.json", FileAccess::read);
  const JsonDocument json(text_of(config.bytes()), config.name());
  const JsonPart fields = json.object();
  LmHeadFile result;
  result.safetensors = open_safetensors_folder(folder, access);
  result.architecture = fields["model_type"].find_text().value_or("");
  result.blocks = fields["num_hidden_layers"].find_integer().value_or(0);
  if (result.blocks < 1) fields["num_hidden_layers"].fail("is missing or below 1");
  result.soft_cap = fields["final_logit_softcapping"].find_float();
  const bool granite = fields.has("logits_scaling");
  result.logit_scale = fields[granite ? "logits_scaling" : "logit_scale"].find_float();
  // Files that leave the flag out differ in what it means: what they hold decides.
  result.embeddings = fields["tie_word_embeddings"].flag(false) ? Embeddings::tied : Embeddings::separate;
  constexpr std::array<std::string_view, 4> stored_less_one = {"gemma", "gemma2", "gemma3", "gemma3_text"};
  const bool less_one = std::ranges::find(stored_less_one, result.architecture) != stored_less_one.end();
  read_lm_head(result, folder.string(), result.safetensors, {"lm_head", "model.embed_tokens", "model.norm"},
               fields["rms_norm_eps"].find_float(), less_one ? 1 : 0, {});
  return result;
}

ACTIVATION_TRACE_COMPILED_INLINE LmHead<> lm_head_of(const FileTensor& tensor, Dequantizer dequantize) {
  if (tensor.shape.size() != 2 || tensor.shape[0] < 1 || tensor.shape[1] < 1)
    throw FormatError(tensor.file, tensor.offset,
                      "tensor " + printable(tensor.name) + " has shape " + to_string(tensor.shape) +
                          ", expected that of an LM head, [V, d]");
  const Index vocab = tensor.shape[0];
  const Index hidden = tensor.shape[1];
  if (tensor.dtype || !dequantize) return matrix_of(tensor, vocab, hidden, tensor.file);
  const std::size_t row_bytes = tensor.bytes.size() / static_cast<std::size_t>(vocab);
  return {vocab, hidden,
          [dequantize = std::move(dequantize), type = tensor.type, bytes = tensor.bytes, row_bytes](
              Index begin, Index end, MatrixView<float> out) {
            for (Index v = begin; v < end; ++v)
              dequantize(type, bytes.subspan(static_cast<std::size_t>(v) * row_bytes, row_bytes),
                         out.row(v - begin).span());
          }};
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE LmHeadFile open_lm_head(const std::filesystem::path& path, Dequantizer dequantize,
                                                         FileAccess access) {
  std::error_code problem;
  if (std::filesystem::is_directory(path, problem)) return detail::open_hugging_face_lm_head(path, access);
  return detail::open_gguf_lm_head(GgufFile::open(path, access), std::move(dequantize));
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
