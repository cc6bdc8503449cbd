// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

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
#include "activation_trace/formats/families.hpp"
#include "activation_trace/formats/gguf.hpp"
#include "activation_trace/formats/llama_config.hpp"
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
  LmHead<> head;                                 ///< [V, d], with the scale and the soft cap of the engine's logits
  std::optional<FinalNorm> norm;                 ///< the RMSNorm before it; none where the model has another kind
  Index blocks = 0;                              ///< N
  std::string architecture;                      ///< general.architecture, or model_type of config.json
  Embeddings embeddings = Embeddings::separate;  ///< tied: the head is the embedding
  std::optional<GgufFile> gguf;                  ///< the file of a GGUF model
  std::vector<SafetensorsFile> safetensors;      ///< the files of a Hugging Face model
};

/// Widens one row that is stored in the GGUF type of that name ("IQ2_XXS"), such as by ggml's to_float: row[] to
/// out[d]. Called on the thread that called the processor.
using Dequantizer = std::function<void(std::string_view type, std::span<const std::byte> row, std::span<float> out)>;

/// Opens the LM head of a .gguf file, of a split one any part, or of a Hugging Face folder with config.json and
/// safetensors. Of any architecture: nothing but head, final norm and a few numbers are looked at (embed/README.md). A
/// head in a type that is not read here is read by `dequantize`. Throws FormatError naming the file and what it lacks,
/// and for a head with a bias or a scale that no logits can have.
[[nodiscard]] LmHeadFile open_lm_head(const std::filesystem::path& path, Dequantizer dequantize = {},
                                      FileAccess access = FileAccess::map);

namespace detail {

/// What the heads of architectures that are no row of `families` have: names as LLaMA's, and, in GGUF, a scale that
/// multiplies.
inline constexpr Family any_head = [] {
  Family f = llama_family;
  f.gguf_keys = {.logit_scale = "logit_scale", .logit_soft_cap = "final_logit_softcapping"};
  f.hugging_face_keys = {.logit_scale = "logit_scale",
                         .logit_divisor = "logits_scaling",
                         .logit_width = "dim_model_base",
                         .logit_soft_cap = "final_logit_softcapping"};
  return f;
}();

/// Those whose GGUFs have it otherwise.
inline constexpr std::array<Family, 3> other_heads = [] {
  std::array<Family, 3> heads{granite_family, granite_family, minicpm_family};
  heads[0].gguf_architecture = "granitemoe";
  heads[1].gguf_architecture = "granitehybrid";
  heads[2].gguf_architecture = "minicpm3";
  return heads;
}();

/// The matrix as an LM head, by `dequantize` where its type is not ours.
LmHead<> lm_head_of(const FileTensor& tensor, Dequantizer dequantize, const LogitOptions& options);

/// Finds head and norm by the names of a format, without their endings, or by these below one of `roots`, and what is
/// made of products by `keys` and `find_number` of look_up(). eps: of the RMSNorm, none if it is another.
void read_lm_head(LmHeadFile& result, const std::string& name, const auto& files,
                  std::span<const std::string_view> roots, const TensorNames& names, const OptionalKeys& keys,
                  const auto& find_number, std::optional<float> eps, Dequantizer dequantize) {
  const auto find = [&](std::string_view tensor, const char* ending) {
    return find_tensor(files, std::string(tensor) + ending, roots);
  };
  const FileTensor* head = result.embeddings == Embeddings::tied ? nullptr : find(names.lm_head, ".weight");
  if (head == nullptr) {
    head = find(names.embedding, ".weight");
    result.embeddings = Embeddings::tied;
  }
  if (head == nullptr)
    throw FormatError(name, "holds neither " + std::string(names.lm_head) + ".weight nor " +
                                std::string(names.embedding) + ".weight: no LM head");
  if (const FileTensor* bias = find(names.lm_head, ".bias"))
    throw FormatError(bias->file, bias->offset,
                      "tensor " + printable(bias->name) + ": a head with a bias is not supported");
  const Index hidden = head->shape.size() == 2 ? head->shape[1] : 0;  // which lm_head_of() checks
  const LogitOptions logits = read_logit_options(keys, find_number, hidden);
  result.head = lm_head_of(*head, std::move(dequantize), logits);
  if (!is_factor(logits.scale) || !is_factor(logits.soft_cap))
    throw FormatError(name, "scale and soft cap of the logits must be positive and finite, found " +
                                std::to_string(logits.scale) + " and " + std::to_string(logits.soft_cap.value_or(0)));
  const FileTensor* norm = find(names.final_norm, ".weight");
  if (norm == nullptr || !eps || find(names.final_norm, ".bias") != nullptr) return;  // a LayerNorm, or none
  result.norm = FinalNorm{floats_of(*norm, result.head.hidden(), norm->file), *eps};
  for (float& weight : result.norm->weight) weight += names.norm_offset;
}

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE LmHeadFile open_gguf_lm_head(GgufFile file, Dequantizer dequantize) {
  LmHeadFile result;
  result.gguf = std::move(file);
  const GgufFile& gguf = *result.gguf;
  result.architecture = gguf.get<std::string_view>("general.architecture");
  const std::string prefix = result.architecture + ".";
  result.blocks = gguf.get<Index>(prefix + "block_count");
  const Family* family = find_family(families, &Family::gguf_architecture, result.architecture);
  if (family == nullptr) family = find_family(other_heads, &Family::gguf_architecture, result.architecture);
  if (family == nullptr) family = &any_head;
  read_lm_head(result, gguf.name(), std::span(&gguf, 1), {}, family->gguf, family->gguf_keys, finder(gguf, prefix),
               gguf.find<float>(prefix + "attention.layer_norm_rms_epsilon"), std::move(dequantize));
  return result;
}

ACTIVATION_TRACE_COMPILED_INLINE LmHeadFile open_hugging_face_lm_head(const std::filesystem::path& folder,
                                                                      FileAccess access) {
  const MappedFile config = MappedFile::open(folder / "config.json", FileAccess::read);
  const JsonDocument json(text_of(config.bytes()), config.name());
  const JsonPart whole = json.object();
  LmHeadFile result;
  result.safetensors = open_safetensors_folder(folder, access);
  result.architecture = whole["model_type"].find_text().value_or("");
  const Family* found = find_family(families, &Family::model_type, result.architecture);
  const Family& family = found != nullptr ? *found : any_head;
  const JsonPart fields = family.text_config.empty() ? whole : whole[std::string(family.text_config)];
  if (!fields.is_object()) fields.fail("must be an object");
  const JsonPart layers = fields[std::string(family.layers_key)];
  result.blocks = layers.find_integer().value_or(0);
  if (result.blocks < 1) layers.fail("is missing or below 1");
  // Of other architectures what files hold decides, for those that leave the flag out differ in what it means.
  const JsonPart flag = (whole.has("tie_word_embeddings") ? whole : fields)["tie_word_embeddings"];
  const bool tied = flag.flag(family.defaults.tied_embeddings);
  result.embeddings = tied ? Embeddings::tied : Embeddings::separate;
  read_lm_head(result, folder.string(), result.safetensors, family.text_roots, family.hugging_face,
               family.hugging_face_keys, finder(fields), fields[std::string(family.norm_eps_key)].find_float(), {});
  return result;
}

ACTIVATION_TRACE_COMPILED_INLINE LmHead<> lm_head_of(const FileTensor& tensor, Dequantizer dequantize,
                                                     const LogitOptions& options) {
  if (tensor.shape.size() != 2 || tensor.shape[0] < 1 || tensor.shape[1] < 1)
    throw FormatError(tensor.file, tensor.offset,
                      "tensor " + printable(tensor.name) + " has shape " + to_string(tensor.shape) +
                          ", expected that of an LM head, [V, d]");
  const Index vocab = tensor.shape[0];
  const Index hidden = tensor.shape[1];
  if (tensor.dtype || !dequantize) return {matrix_of(tensor, vocab, hidden, tensor.file), options};
  const std::size_t row_bytes = tensor.bytes.size() / static_cast<std::size_t>(vocab);
  return {vocab, hidden,
          [dequantize = std::move(dequantize), type = tensor.type, bytes = tensor.bytes, row_bytes](
              Index begin, Index end, MatrixView<float> out) {
            for (Index v = begin; v < end; ++v)
              dequantize(type, bytes.subspan(static_cast<std::size_t>(v) * row_bytes, row_bytes),
                         out.row(v - begin).span());
          },
          options};
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
