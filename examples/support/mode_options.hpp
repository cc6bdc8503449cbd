// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/generation/presets.hpp"
#include "activation_trace/processors/dola.hpp"
#include "activation_trace/processors/mode_text.hpp"
#include "support/command_line.hpp"
#include "support/described_options.hpp"

// The part of a command line that says what a token's score is.
namespace activation_trace::examples {

/// Whether the mode compares layers: those of a list, or one.
[[nodiscard]] inline bool compares_layers(const Mode& mode) {
  return describes(mode, "candidate_layers") || describes(mode, "premature_layer");
}

/// A mode as far as it is known without the model.
struct ChosenMode {
  Mode mode = {};
  std::optional<PresetData> preset = {};
  std::optional<DolaBucket> bucket = {};  ///< of its candidate layers, for which a layer 0 stands until then

  /// With what depends on a model of that many blocks.
  [[nodiscard]] Mode complete(Index blocks, Embeddings embeddings) const {
    Mode result = mode;
    const auto set = [&](std::string_view key, const auto& value) {
      using Text = OptionText<std::remove_cvref_t<decltype(value)>>;
      if (describes(result, key)) set_option(result, key, Text::write(value));
    };
    if (preset) {
      const Preset recommended = activation_trace::preset(*preset, blocks);
      set("alpha", recommended.alpha);
      set("info_layer", recommended.info_layer);
    }
    if (bucket) set("candidate_layers", dola_layers(*bucket, blocks, embeddings));
    return result;
  }
};

/// --decoding_mode, an option for all that modes describe, --early_exit_layers and --preset.
class ModeOptions : public DescribedOptions {
 public:
  /// `name` is the mode without --decoding_mode, `bucket` what --early_exit_layers is by default, if it has one.
  explicit ModeOptions(std::string_view name, std::optional<DolaBucket> bucket = {}) : name_(name), bucket_(bucket) {}

  /// --decoding_mode, one of those that `usable` accepts.
  void add_mode(
      CLI::App& app, const std::function<bool(const Mode&)>& usable = [](const Mode&) { return true; });
  /// Adds the options that are `wanted`.
  void add_options(
      CLI::App& app, const Wanted& wanted = [](std::string_view) { return true; });

  /// What can be said without a mode. `several` modes may each have layers of their own. Throws UsageError.
  void read(bool several = false);

  [[nodiscard]] const std::string& mode_name() const { return name_; }
  /// A mode of that name with all that was given and that it has an option for. Throws UsageError for a name that no
  /// mode has.
  [[nodiscard]] ChosenMode choose(std::string_view name) const;
  [[nodiscard]] ChosenMode choose() const { return choose(name_); }

  /// Whether --early_exit_layers was given, and as a list; its layers, the mature one last, or what it is without it.
  [[nodiscard]] bool early_exit_given() const { return !text_.empty(); }
  [[nodiscard]] bool early_exit_listed() const { return !layers_.empty(); }
  [[nodiscard]] const std::vector<Index>& early_exit_layers() const { return layers_; }

  /// Throws UsageError naming an option that was given and that is not `used`, by one of `modes` or by what else there
  /// is; and --preset, if none of them has a use for that.
  void refuse_useless(std::span<const Mode> modes, const Wanted& used) const;
  /// Why none of `modes` has a use for an option.
  [[nodiscard]] static std::string reason(std::span<const Mode> modes, std::string_view key);
  /// Throws UsageError for a mode that lacks the layers that it compares, or is given some and compares none.
  void check_layers(const ChosenMode& chosen) const;

 private:
  std::string name_;
  std::optional<DolaBucket> bucket_;
  std::string text_;           // of --early_exit_layers
  std::vector<Index> layers_;  // the same, if it is a list
  std::optional<PresetData> preset_;
};

/// What validate() says of something that was put together from a command line is UsageError.
template <class Checked>
void check_usage(const Checked& checked) {
  try {
    if constexpr (requires { checked.validate(); })
      checked.validate();
    else
      validate(checked);
  } catch (const ArgumentError& e) {
    throw UsageError(e.what());
  }
}

inline void ModeOptions::add_mode(CLI::App& app, const std::function<bool(const Mode&)>& usable) {
  std::vector<std::pair<std::string, std::string>> names;
  for_each_mode([&](const auto& mode) {
    if (usable(mode)) names.emplace_back(mode.name, mode.name);
  });
  add_choice<std::string>(app, "--decoding_mode,--decoding-mode", name_, names,
                          "what a token's score is (default: " + name_ + ")");
}

inline void ModeOptions::add_options(CLI::App& app, const Wanted& wanted) {
  for_each_mode([&](const auto& mode) { add(app, Mode(mode), wanted); });
  app.add_option("--early_exit_layers,--early-exit-layers", text_,
                 std::string("candidate layers and last the mature one, 0,2,4,32; or low") +
                     (bucket_ ? " (default)" : "") + " or high");
  if (!wanted("alpha")) return;
  std::vector<std::pair<std::string, std::optional<PresetData>>> presets;
  for (const Preset& p : kPresets)
    if (presets.empty() || presets.back().second != p.data)
      presets.emplace_back(activation_trace::name(p.data), p.data);
  add_choice<std::optional<PresetData>>(app, "--preset", preset_, presets,
                                        "the published alpha and info_layer for the model's depth");
}

inline void ModeOptions::read(bool several) {
  if (preset_ && (given("alpha") || given("info_layer"))) throw UsageError("--preset: sets --alpha and --info_layer");
  ContextOptions context;
  apply(context);
  if (context.final_norm && context.info_layer == Index{-1})
    throw UsageError("--final_norm: --info_layer -1 is normalised already");
  if (text_.empty()) return;
  for (const char* key : {"candidate_layers", "premature_layer"})
    if (given(key) && !(several && key == std::string_view("premature_layer")))
      throw UsageError("--early_exit_layers: names the same as " + name(key));
  if (text_ == "low" || text_ == "high") {
    bucket_ = text_ == "low" ? DolaBucket::low : DolaBucket::high;
    return;
  }
  if (given("mature_layer"))
    throw UsageError("--early_exit_layers: its last layer is the mature one, as is --mature_layer");
  layers_ = parse_layers("--early_exit_layers", text_);
  bucket_.reset();
}

inline ChosenMode ModeOptions::choose(std::string_view name) const {
  ChosenMode chosen{.mode = {}, .preset = preset_, .bucket = {}};
  try {
    chosen.mode = mode_named(name);
  } catch (const ArgumentError& e) {
    throw UsageError(std::string("--") + e.what());
  }
  apply(chosen.mode);
  if (describes(chosen.mode, "candidate_layers") && !given("candidate_layers")) chosen.bucket = bucket_;
  std::visit(
      [&](auto& mode) {
        std::vector<Index> layers = layers_;
        if (!layers.empty()) {
          mode.mature_layer = layers.back();
          layers.pop_back();
        }
        if constexpr (requires { mode.candidate_layers; }) {
          if (chosen.bucket)
            mode.candidate_layers = {0};
          else if (early_exit_listed())
            mode.candidate_layers = layers;
        } else if constexpr (requires { mode.premature_layer; }) {
          if (layers.size() == 1 && !mode.premature_layer) mode.premature_layer = layers.front();
        }
      },
      chosen.mode);
  return chosen;
}

inline void ModeOptions::check_layers(const ChosenMode& chosen) const {
  const std::string mode = "--decoding_mode " + std::string(activation_trace::name(chosen.mode));
  const bool listed = layers_.size() > 1 || (early_exit_given() && !early_exit_listed());
  if (!compares_layers(chosen.mode)) {
    if (listed) throw UsageError("--early_exit_layers: " + mode + " compares no layers");
  } else if (premature_layers(chosen.mode).empty()) {
    const std::string got = early_exit_given() ? ", got " + text_ : "";
    if (describes(chosen.mode, "candidate_layers"))
      throw UsageError(mode + ": needs --early_exit_layers (0,2,4,32, low or high) or " + name("candidate_layers") +
                       got);
    throw UsageError(mode + ": needs one " + name("premature_layer") + got);
  }
}

inline std::string ModeOptions::reason(std::span<const Mode> modes, std::string_view key) {
  if (modes.size() != 1) return "none of these modes has a use for it";
  Mode mode = modes.front();
  std::string who = "--decoding_mode " + std::string(activation_trace::name(mode));
  if (has_use(mode, key)) return who + " has no use for it here";
  std::string others;
  const auto list = [&](std::string_view other) { others += (others.empty() ? "; " : ", ") + std::string(other); };
  if (!describes(mode, key)) {
    for_each_mode([&](const auto& other) {
      if (describes(Mode(other), key)) list(other.name);
    });
  } else {
    std::visit(
        [&](auto& m) {
          if constexpr (requires { m.strategy; }) {
            who = "--decoding_strategy " + std::string(activation_trace::name(m.strategy));
            for (const auto& [strategy, word] : EnumNames<ContextStrategy>::all) {
              m.strategy = strategy;
              if (has_use(mode, key) && option_values::problem_of(mode).empty()) list(word);
            }
          }
        },
        mode);
    if (others.empty()) who = "--strategy_base logits";  // filters nothing, whatever the strategy
  }
  const char* have = others.empty() ? "" : others.find(',') == std::string::npos ? " has" : " have";
  return who + " has no use for it" + others + have;
}

inline void ModeOptions::refuse_useless(std::span<const Mode> modes, const Wanted& used) const {
  for (const std::string& key : given())
    if (!used(key)) throw UsageError(name(key) + ": " + reason(modes, key));
  const bool weighs =
      std::any_of(modes.begin(), modes.end(), [](const Mode& mode) { return describes(mode, "alpha"); });
  if (preset_ && !weighs) throw UsageError("--preset: " + reason(modes, "alpha"));
}

}  // namespace activation_trace::examples
