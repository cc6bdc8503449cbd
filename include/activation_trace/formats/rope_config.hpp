// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/formats/families.hpp"
#include "activation_trace/formats/gguf.hpp"
#include "activation_trace/model/config.hpp"
#include "activation_trace/text/json_part.hpp"

// The rotation, as config.json and GGUF say it (formats/README.md 2 and 3).
namespace activation_trace {
inline namespace v0 {
namespace detail {

/// What `find` finds in a part that must be there.
template <class T>
[[nodiscard]] T required(const JsonPart& part, std::optional<T> (JsonPart::*find)() const) {
  const std::optional<T> value = (part.*find)();
  if (!value) part.fail("is missing");
  return *value;
}

/// A family's keys in GGUF metadata: they begin with the architecture.
class FamilyKeys {
 public:
  explicit FamilyKeys(const Family& family) : prefix_(std::string(family.gguf_architecture) + ".") {}
  [[nodiscard]] std::string operator()(std::string_view name) const { return prefix_ + std::string(name); }

 private:
  std::string prefix_;
};

#if ACTIVATION_TRACE_BODIES

/// A rotation of config.json, as transformers 4 and 5 write it: in the keys of `top` and in a part of it.
class RopeReader {
 public:
  /// `config` has the model's sizes.
  RopeReader(const JsonPart& top, const Family& family, const LlamaConfig& config)
      : top_(top), family_(family), config_(config) {}

  /// What `top` itself says.
  [[nodiscard]] RopeConfig read_top() const;
  /// Adds to `rope` what `fields` say.
  void read(const JsonPart& fields, RopeConfig& rope) const;

 private:
  void read_part(const JsonPart& part, RopeConfig& rope) const;
  void read_longrope(const JsonPart& fields, RopeConfig& rope) const;
  [[nodiscard]] std::vector<float> factors(const JsonPart& list, const RopeConfig& rope) const;

  const JsonPart& top_;
  const Family& family_;
  const LlamaConfig& config_;
};

ACTIVATION_TRACE_COMPILED_INLINE RopeConfig RopeReader::read_top() const {
  RopeConfig rope;
  rope.layout = family_.hugging_face_rotation;
  rope.theta = top_["rope_theta"].find_float().value_or(family_.defaults.theta);
  read_part(top_["partial_rotary_factor"], rope);
  return rope;
}

/// How much of a head is rotated, rounded as transformers does.
ACTIVATION_TRACE_COMPILED_INLINE void RopeReader::read_part(const JsonPart& part, RopeConfig& rope) const {
  if (part.is_null()) return;
  const double share = part.number();
  if (share != 1 && family_.hugging_face_keys.rotated_part.name.empty()) part.fail("other than 1 is not supported");
  if (!(share > 0 && share <= 1)) part.fail("must be in (0, 1]");
  const auto rotated = static_cast<Index>(share * static_cast<double>(config_.head_dim));
  if (rotated < 2) part.fail("leaves nothing of a head to be rotated");
  rope.rotary_dim = rotated == config_.head_dim ? 0 : rotated;
}

ACTIVATION_TRACE_COMPILED_INLINE void RopeReader::read(const JsonPart& fields, RopeConfig& rope) const {
  const auto number = [&](const char* key) { return required(fields[key], &JsonPart::find_float); };
  auto type = fields["rope_type"].find_text();
  if (!type) type = fields["type"].find_text();
  if (const auto theta = fields["rope_theta"].find_float()) rope.theta = *theta;
  read_part(fields["partial_rotary_factor"], rope);
  for (const auto& [key, value] : fields.members())
    if (value.is_object()) top_["rope_parameters"].fail("differ between layers, which is not supported");
  const char* original = "original_max_position_embeddings";
  if (!type || *type == "default") return;
  if (*type == "dynamic" && fields[original].is_null()) return;  // changes what is longer than the model's context
  if (*type == "longrope" || *type == "su") return read_longrope(fields, rope);
  if (*type != "linear" && *type != "llama3")
    fields["rope_type"].fail(printable(*type) +
                             " is not supported; supported are default, linear, dynamic, llama3 and longrope");
  rope.factor = number("factor");
  if (*type == "linear") {
    rope.scaling = RopeScaling::linear;
    return;
  }
  rope.scaling = RopeScaling::llama3;
  rope.low_freq_factor = number("low_freq_factor");
  rope.high_freq_factor = number("high_freq_factor");
  const auto above = top_[original].find_float();
  rope.original_context = above && fields[original].is_null() ? *above : number(original);
}

/// Other divisors behind the original context than before it, and an amplitude by how much longer the model's is.
ACTIVATION_TRACE_COMPILED_INLINE void RopeReader::read_longrope(const JsonPart& fields, RopeConfig& rope) const {
  const char* key = "original_max_position_embeddings";
  const auto context = static_cast<float>(config_.max_context);
  const Index usual = family_.defaults.original_context;
  std::optional<float> original = top_[key].find_float();
  if (!original && usual != 0) original = static_cast<float>(usual);
  const auto factor = original ? std::nullopt : fields["factor"].find_float();
  rope.original_context = original ? *original : fields[key].find_float().value_or(context);
  const double stretch = factor ? *factor : context / rope.original_context;
  const double root = stretch > 1 ? std::sqrt(1 + std::log(stretch) / std::log(double{rope.original_context})) : 1;
  rope.amplitude = fields["attention_factor"].find_float().value_or(static_cast<float>(root));
  rope.divisors = factors(fields["short_factor"], rope);
  rope.long_divisors = factors(fields["long_factor"], rope);
}

ACTIVATION_TRACE_COMPILED_INLINE std::vector<float> RopeReader::factors(const JsonPart& list,
                                                                        const RopeConfig& rope) const {
  const Index pairs = rope.rotated(config_.head_dim) / 2;
  if (!list.is_array() || static_cast<Index>(list.size()) != pairs)
    list.fail("must be a list of " + std::to_string(pairs) +
              " numbers, one for each pair of components that is rotated");
  std::vector<float> result;
  for (const JsonPart& factor : list.elements()) {
    if (!(factor.number() > 0)) factor.fail("must be positive");
    result.push_back(static_cast<float>(factor.number()));
  }
  return result;
}

/// The rotation, or both of them.
ACTIVATION_TRACE_COMPILED_INLINE void read_rope(const JsonPart& fields, const Family& family, LlamaConfig& config) {
  const RopeReader reader(fields, family, config);
  config.rope = reader.read_top();
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const JsonPart rope = fields[key];
    if (rope.is_null()) continue;
    if (family.window_theta == 0 || !rope.has("sliding_attention")) {
      reader.read(rope, config.rope);
      continue;
    }
    reader.read(rope["full_attention"], config.rope);
    config.window_rope = RopeConfig{.theta = family.window_theta, .layout = config.rope.layout};
    reader.read(rope["sliding_attention"], *config.window_rope);
  }
}

/// The rotation but for divisors, which are tensors, as in llama.cpp: a factor without a type is linear, and the old
/// name of the factor still counts. `config` has the model's sizes.
ACTIVATION_TRACE_COMPILED_INLINE RopeConfig read_rope(const GgufFile& gguf, const FamilyKeys& key,
                                                      const LlamaConfig& config) {
  RopeConfig rope;
  rope.theta = gguf.find<float>(key("rope.freq_base")).value_or(10000.0f);
  const auto scaling = gguf.find<std::string_view>(key("rope.scaling.type")).value_or("linear");
  auto factor = gguf.find<float>(key("rope.scaling.factor"));
  if (!factor) factor = gguf.find<float>(key("rope.scale_linear"));
  if (scaling != "none" && scaling != "linear" && scaling != "longrope")
    throw FormatError(gguf.name(), key("rope.scaling.type") + " " + printable(scaling) +
                                       " is not supported; supported are none, linear and longrope");
  if (scaling == "linear" && factor && *factor != 0 && *factor != 1) {
    rope.scaling = RopeScaling::linear;
    rope.factor = *factor;
  }
  const auto rotated = gguf.find<Index>(key("rope.dimension_count")).value_or(config.head_dim);
  if (rotated < 2)
    throw FormatError(gguf.name(), key("rope.dimension_count") + " is " + std::to_string(rotated) +
                                       ", which leaves nothing of a head to be rotated");
  rope.rotary_dim = rotated == config.head_dim ? 0 : rotated;
  rope.amplitude = gguf.find<float>(key("rope.scaling.attn_factor")).value_or(1.0f);
  rope.original_context =
      static_cast<float>(gguf.find<Index>(key("rope.scaling.original_context_length")).value_or(config.max_context));
  return rope;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
