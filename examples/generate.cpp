// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// A LLaMA answers a prompt, by activation decoding or another mode. The text goes to standard output, everything else
// to standard error. Exit codes: 0 done, 1 something went wrong, 2 the command line makes no sense.
#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "activation_trace/generation/validate.hpp"
#include "support/comparison.hpp"
#include "support/engine.hpp"
#include "support/interrupt.hpp"
#include "support/settings.hpp"
#include "support/terminal.hpp"
#include "support/trace_file.hpp"

namespace activation_trace::examples {
namespace {

std::vector<TokenId> encode(const Settings& settings, const Engine& engine) {
  const Tokenizer& tokenizer = engine.tokenizer();
  if (!settings.chat) return tokenizer.encode_prompt(settings.prompt, SpecialTokens::parse);
  const ChatTemplate format = engine.chat_template(settings.chat_date);
  if (format.format() == ChatFormat::plain)  // -q or not: a warning is no chatter
    std::fputs("generate: the model names no chat template that is known; --chat adds nothing\n", stderr);
  std::vector<ChatMessage> messages;
  if (!settings.system_prompt.empty()) messages.push_back({"system", settings.system_prompt});
  messages.push_back({"user", settings.prompt});
  return encode_chat(format, messages, tokenizer);
}

/// A model with its tokenizer and the tokens of the prompt, and what is done with them.
class Session {
 public:
  explicit Session(const Settings& settings)
      : settings_(settings),
        progress_(!settings.model.quiet),
        color_(settings.color == When::always || (settings.color == When::automatic && wants_color(stdout))) {
    if (settings.trace) {  // before minutes are spent on what cannot be kept
      check_output_file("--trace", *settings.trace, {settings.model.path, settings.prompt_file, settings.student.name},
                        begins::trace, settings.overwrite);
      trace_.emplace(*settings.trace);
    }
    progress_.note("loading " + settings.model.path);
    engine_.emplace(settings.model, settings.student);
    prompt_ = encode(settings, *engine_);
    if (prompt_.empty())
      throw ArgumentError("the prompt has no tokens: the tokenizer of " + settings.model.path +
                          " leaves nothing of it and adds no BOS; give another text");
    complete_options();
    const auto length = static_cast<Index>(prompt_.size());
    // As much as prompt and answer need: the cache is the only memory that grows with it.
    const Index context =
        engine_->context(length + std::min(settings.generation.max_new_tokens, engine_->config().max_context));
    if (length > context)
      throw ArgumentError("the prompt's " + std::to_string(length) + " tokens do not fit into a context of " +
                          std::to_string(context));
    if (settings.student.is_model()) progress_.note("loading " + settings.student.name);
    engine_->reserve(context, settings.generation.beams.count);
    progress_.clear();
  }

  void answer() {
    if (color_) print_legend();
    bool newline = true;
    const GenerationResult result = run(settings_.generation, [&](const GeneratedToken& token) {
      const bool shade = color_ && token.record != nullptr && !token.text.empty();
      const std::string text = shown(token.text);
      print(shade ? shaded(text, sharpness(token.record->chosen.entropy, positions())) : text);
      if (!token.text.empty()) newline = token.text.back() == '\n';
    });
    // What was held back when Ctrl-C came was not part of any token's text.
    print(shown(result.text.substr(std::min(shown_, result.text.size()))));
    if (!newline) print("\n");
    report(settings_.generation, result);
  }

  void compare() {
    const std::string mode(name(settings_.generation.mode));
    Comparison table(mode, positions(), settings_.color == When::always || (settings_.color != When::never && color_));
    table.print_header();
    const auto piece = [&](TokenId id) { return piece_of(id); };
    const GenerationOptions baseline = greedy_options();
    const GenerationResult greedy =
        run(baseline, [&](const GeneratedToken& token) { table.add_greedy(*token.record, piece(token.id)); });
    GenerationResult other;
    if (interrupted == 0)
      other =
          run(settings_.generation, [&](const GeneratedToken& token) { table.print(*token.record, piece(token.id)); });
    table.finish();
    std::string label = mode + ": ";
    label.resize(std::max<std::size_t>(label.size(), 12), ' ');
    print("\ngreedy:" + std::string(label.size() - 7, ' ') + shown(greedy.text) + "\n" + label + shown(other.text) +
          "\n");
    report(baseline, greedy);
    report(settings_.generation, other);
  }

 private:
  // What depends on the model.
  void complete_options() {
    GenerationOptions& g = settings_.generation;
    if (!settings_.ignore_eos) g.eos = engine_->tokenizer().end_tokens();
    g.mode = settings_.mode.complete(engine_->config().layers, engine_->embeddings());
    if (trace_ || color_ || settings_.compare || g.alert_entropy) g.record = settings_.record;
  }

  // The same text without the mode, its steps recorded as the mode's.
  [[nodiscard]] GenerationOptions greedy_options() const {
    GenerationOptions options = settings_.generation;
    options.record = record_options(options);
    options.mode = Baseline{.mature_layer = mature_layer(options.mode)};
    return options;
  }

  template <class OnToken>
  GenerationResult run(const GenerationOptions& options, OnToken on_token) {
    const std::string mode(name(options.mode));
    alerts_ = 0;
    std::stop_source stop;
    shown_ = 0;
    const GenerationCallbacks callbacks{.on_token =
                                            [&](const GeneratedToken& token) {
                                              on_token(token);
                                              shown_ += token.text.size();
                                              if (token.record != nullptr && token.record->alert) ++alerts_;
                                              if (trace_)
                                                trace_->write(mode, token, [&](TokenId id) { return piece_of(id); });
                                              return interrupted != 0 ? Continue::no : Continue::yes;
                                            },
                                        .on_prefill =
                                            [&](Index done, Index total) {
                                              progress_.bar("prompt", done, total);
                                              if (done == total) progress_.clear();
                                              if (interrupted != 0) stop.request_stop();
                                            },
                                        .stop = stop.get_token()};
    progress_.bar("prompt", 0, static_cast<Index>(prompt_.size()));
    const GenerationResult result = std::move(engine_->generate(std::span(&prompt_, 1), options, callbacks).front());
    progress_.clear();
    return result;
  }

  static void print(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    flush_output();
  }

  [[nodiscard]] std::string piece_of(TokenId id) const { return std::string(engine_->tokenizer().piece(id)); }

  // Positions that the entropies are over.
  [[nodiscard]] Index positions() const {
    const ContextSpan span = read_context(settings_.generation).value_or(ContextOptions{}).span;
    return std::min(span.end, static_cast<Index>(prompt_.size())) - span.begin;
  }

  void print_legend() const {
    std::string ramp;
    for (int i = 0; i <= 12; ++i) ramp += shaded(" ", i / 12.0);
    const double flat = std::log(static_cast<double>(std::max<Index>(1, positions())));
    std::fprintf(stderr, "flat, entropy %.2f %s sharp, entropy 0\n", flat, ramp.c_str());
  }

  void report(const GenerationOptions& options, const GenerationResult& result) const {
    if (settings_.model.quiet) return;
    const auto rate = [](std::size_t tokens, double seconds) {
      return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
    };
    const std::string mode(name(options.mode));
    std::fprintf(stderr,
                 "%s: prompt %zu tokens in %.2f s (%.0f/s), answer %zu tokens in %.2f s (%.1f/s), ended by %s\n",
                 mode.c_str(), prompt_.size(), result.prefill_seconds, rate(prompt_.size(), result.prefill_seconds),
                 result.ids.size(), result.decode_seconds, rate(result.ids.size(), result.decode_seconds),
                 std::string(activation_trace::name(result.reason)).c_str());
    if (options.beams.count > 1) std::fprintf(stderr, "%s: score %.4f\n", mode.c_str(), result.score);
    if (options.alert_entropy)
      std::fprintf(stderr, "%s: %d alerts, entropy above %g\n", mode.c_str(), alerts_,
                   static_cast<double>(*options.alert_entropy));
    std::string layers;
    const std::vector<Index> candidates = premature_layers(options.mode);
    for (std::size_t i = 0; i < std::min(result.layer_histogram.size(), candidates.size()); ++i)
      layers += (i == 0 ? "" : ", ") + std::to_string(candidates[i]) + ": " + std::to_string(result.layer_histogram[i]);
    if (!layers.empty()) std::fprintf(stderr, "%s: layers chosen %s\n", mode.c_str(), layers.c_str());
  }

  Settings settings_;
  Progress progress_;
  bool color_;
  std::optional<TraceFile> trace_;
  std::optional<Engine> engine_;
  std::vector<TokenId> prompt_;
  int alerts_ = 0;         // of the run
  std::size_t shown_ = 0;  // bytes of the answer
};

int run(int argc, char** argv) {
  const std::variant<Settings, int> parsed = parse_command_line(argc, argv);
  if (const int* done = std::get_if<int>(&parsed)) return *done;
  const auto& settings = std::get<Settings>(parsed);
  Session session(settings);
  if (settings.new_seed)
    std::fprintf(stderr, "generate: --seed %llu\n",
                 static_cast<unsigned long long>(settings.generation.sampling->seed));
  catch_interrupt();
  if (settings.compare)
    session.compare();
  else
    session.answer();
  return 0;
}

}  // namespace
}  // namespace activation_trace::examples

int main(int argc, char** argv) {
  return activation_trace::examples::guarded("generate", activation_trace::examples::run, argc, argv);
}
