// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

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

ACTIVATION_TRACE_COMPILED_INLINE void read_rope_scaling(const JsonPart& fields, const JsonPart& top, RopeConfig& rope) {
  const auto number = [&](const char* key) { return required(fields[key], &JsonPart::find_float); };
  auto type = fields["rope_type"].find_text();
  if (!type) type = fields["type"].find_text();
  if (const auto theta = fields["rope_theta"].find_float()) rope.theta = *theta;
  if (fields["partial_rotary_factor"].find_float().value_or(1) != 1)
    fields["partial_rotary_factor"].fail("other than 1 is not supported");
  for (const auto& [key, value] : fields.members())
    if (value.is_object()) top["rope_parameters"].fail("differ between layers, which is not supported");
  if (!type || *type == "default") return;
  if (*type != "linear" && *type != "llama3")
    fields["rope_type"].fail(printable(*type) + " is not supported; supported are default, linear and llama3");
  rope.factor = number("factor");
  if (*type == "linear") {
    rope.scaling = RopeScaling::linear;
    return;
  }
  rope.scaling = RopeScaling::llama3;
  rope.low_freq_factor = number("low_freq_factor");
  rope.high_freq_factor = number("high_freq_factor");
  const char* original = "original_max_position_embeddings";
  const auto above = top[original].find_float();
  rope.original_context = above && fields[original].is_null() ? *above : number(original);
}

/// The rotation, as transformers 4 and 5 write it.
ACTIVATION_TRACE_COMPILED_INLINE void read_rope(const JsonPart& fields, const Family& family, LlamaConfig& config) {
  config.rope.layout = RopeLayout::half_split;
  config.rope.theta = fields["rope_theta"].find_float().value_or(family.defaults.theta);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const JsonPart rope = fields[key];
    if (rope.is_null()) continue;
    if (family.window_theta == 0 || !rope.has("sliding_attention")) {
      read_rope_scaling(rope, fields, config.rope);
      continue;
    }
    read_rope_scaling(rope["full_attention"], fields, config.rope);
    config.window_rope = RopeConfig{.theta = family.window_theta};
    read_rope_scaling(rope["sliding_attention"], fields, *config.window_rope);
  }
}

/// Frequencies of the rotation, as in llama.cpp: a factor without a type is linear, and the old name of the factor
/// still counts.
ACTIVATION_TRACE_COMPILED_INLINE RopeConfig read_rope(const GgufFile& gguf, const FamilyKeys& key) {
  RopeConfig rope;
  rope.theta = gguf.find<float>(key("rope.freq_base")).value_or(10000.0f);
  const auto scaling = gguf.find<std::string_view>(key("rope.scaling.type")).value_or("linear");
  auto factor = gguf.find<float>(key("rope.scaling.factor"));
  if (!factor) factor = gguf.find<float>(key("rope.scale_linear"));
  if (scaling != "none" && scaling != "linear")
    throw FormatError(gguf.name(), key("rope.scaling.type") + " " + printable(scaling) +
                                       " is not supported; supported are none and linear");
  if (scaling == "linear" && factor && *factor != 0 && *factor != 1) {
    rope.scaling = RopeScaling::linear;
    rope.factor = *factor;
  }
  return rope;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
