// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/generation/language_model.hpp"
#include "activation_trace/generation/options.hpp"
#include "activation_trace/generation/result.hpp"
#include "activation_trace/generation/stop_strings.hpp"

// When a text ends, for all loops: eos, then a stop string, a stop sequence, max_new_tokens, and last the model's room.
namespace activation_trace {
inline namespace v0 {
namespace detail {

/// Whether the model can read one more token.
enum class Room { some, none };

[[nodiscard]] inline bool is_eos(TokenId id, const GenerationOptions& options) {
  return std::ranges::find(options.eos, id) != options.eos.end();
}

/// Why the chosen `ids` are a text that has ended, as far as ids can tell; none if it goes on.
[[nodiscard]] std::optional<FinishReason> end_of(std::span<const TokenId> ids, const GenerationOptions& options,
                                                 Room room);

/// A text while its tokens are chosen: what of it can be shown. A copy goes on by itself.
template <TextDecoder Decoder>
class GrowingText {
 public:
  /// `options` must outlive it.
  GrowingText(const GenerationOptions& options, Decoder decoder)
      : options_(&options), decoder_(std::move(decoder)), stops_(options.stop) {}

  /// Appends a token; the reason if it was the last. The text then has all that was held back.
  std::optional<FinishReason> push(TokenId id, Room room) {
    ids_.push_back(id);
    std::optional<FinishReason> reason;
    if (!is_eos(id, *options_)) {
      text_ += stops_.push(decoder_.push(id));
      if (stops_.found()) reason = FinishReason::stop_string;
    }
    if (!reason) reason = end_of(ids_, *options_, room);
    if (reason) finish();
    return reason;
  }

  /// Appends what was held back: the decoder's rest, and what could have become a stop string.
  void finish() {
    text_ += stops_.push(decoder_.finish());
    text_ += stops_.finish();
  }

  void reserve(Index ids) { ids_.reserve(static_cast<std::size_t>(ids)); }
  [[nodiscard]] const std::vector<TokenId>& ids() const noexcept { return ids_; }
  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  /// Moves both into the result.
  void move_to(GenerationResult& result) {
    result.ids = std::move(ids_);
    result.text = std::move(text_);
  }

 private:
  const GenerationOptions* options_;
  Decoder decoder_;
  StopStrings stops_;
  std::vector<TokenId> ids_;
  std::string text_;
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::optional<FinishReason> end_of(std::span<const TokenId> ids,
                                                                    const GenerationOptions& options, Room room) {
  if (is_eos(ids.back(), options)) return FinishReason::eos;
  for (const std::vector<TokenId>& stop : options.stop_sequences)
    if (ids.size() >= stop.size() && std::equal(stop.rbegin(), stop.rend(), ids.rbegin()))
      return FinishReason::stop_sequence;
  if (static_cast<Index>(ids.size()) >= options.max_new_tokens) return FinishReason::length;
  return room == Room::none ? std::optional(FinishReason::context_full) : std::nullopt;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
