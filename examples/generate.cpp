// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// A LLaMA answers a prompt, greedily or by activation decoding. The text goes to standard output, everything else to
// standard error. Exit codes: 0 done, 1 something went wrong, 2 the command line makes no sense.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/generation/generate.hpp"
#include "activation_trace/model/llama.hpp"
#include "activation_trace/tokenizer/chat_template.hpp"
#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "activation_trace/tokenizer/stream_decoder.hpp"
#include "support/comparison.hpp"
#include "support/settings.hpp"
#include "support/terminal.hpp"
#include "support/trace_file.hpp"

namespace activation_trace::examples {
namespace {

volatile std::sig_atomic_t interrupted = 0;

// The first Ctrl-C asks for an end after the current token; the second has the usual effect.
void catch_interrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigaction(SIGINT, &action, nullptr);
}

std::vector<TokenId> encode(const Settings& settings, const Tokenizer& tokenizer) {
  if (!settings.chat) return tokenizer.encode_prompt(settings.prompt, SpecialTokens::parse);
  const ChatTemplate format = ChatTemplate::recognise(tokenizer.settings().chat_template);
  if (format.format() == ChatFormat::plain && !settings.quiet)
    std::fputs("generate: the model names no chat template that is known; --chat adds nothing\n", stderr);
  std::vector<ChatMessage> messages;
  if (!settings.system_prompt.empty()) messages.push_back({"system", settings.system_prompt});
  messages.push_back({"user", settings.prompt});
  return tokenizer.encode_prompt(format.render(messages), SpecialTokens::parse);
}

// As much context as prompt and answer need: the cache is the only memory that grows with it.
Index choose_context(const Settings& settings, Index prompt, Index trained) {
  if (settings.context != 0) return settings.context;
  const Index answer = std::min(settings.generation.max_new_tokens, trained);
  return std::clamp<Index>(prompt + answer, 1, trained);
}

// Every end that the model's configuration or its tokenizer names.
std::vector<TokenId> end_tokens(const LlamaConfig& config, const Tokenizer& tokenizer) {
  std::vector<TokenId> ends = config.eos;
  ends.insert(ends.end(), tokenizer.end_tokens().begin(), tokenizer.end_tokens().end());
  std::erase_if(ends, [&](TokenId id) { return id >= config.vocab; });
  return ends;
}

/// A model with its tokenizer and the tokens of the prompt, and what is done with them.
class Session {
 public:
  explicit Session(const Settings& settings)
      : settings_(settings),
        progress_(!settings.quiet),
        color_(settings.color == When::always || (settings.color == When::automatic && wants_color(stdout))) {
    if (!settings.trace.empty()) trace_.emplace(settings.trace);  // before minutes are spent on what cannot be kept
    progress_.note("loading " + settings.model);
    checkpoint_ = load_llama(settings.model, settings.access);
    tokenizer_.emplace(load_tokenizer(settings.model));
    prompt_ = encode(settings, *tokenizer_);
    if (!settings.ignore_eos) settings_.generation.eos = end_tokens(checkpoint_.config, *tokenizer_);
    if (settings.final_norm)
      settings_.generation.final_norm = {checkpoint_.weights.final_norm, checkpoint_.config.rms_norm_eps};
    const auto length = static_cast<Index>(prompt_.size());
    const Index context = choose_context(settings, length, checkpoint_.config.max_context);
    if (length > context)
      throw ArgumentError("the prompt's " + std::to_string(length) + " tokens do not fit into a context of " +
                          std::to_string(context));
    pool_.emplace(settings.threads);
    model_.emplace(checkpoint_.config, checkpoint_.weights,
                   LlamaOptions{.max_context = context, .max_batch = settings.batch}, *pool_);
    progress_.clear();
  }

  void answer() {
    if (color_) print_legend();
    bool newline = true;
    const GenerationResult result = run(settings_.generation.decoding_mode, [&](const GeneratedToken& token) {
      const bool shade = color_ && token.record != nullptr && !token.text.empty();
      const std::string text =
          shade ? shaded(token.text, sharpness(token.record->chosen.entropy, positions())) : std::string(token.text);
      print(text);
      if (!token.text.empty()) newline = token.text.back() == '\n';
    });
    // What was held back when Ctrl-C came was not part of any token's text.
    print(result.text.substr(std::min(shown_, result.text.size())));
    if (!newline) print("\n");
    report(settings_.generation.decoding_mode, result);
  }

  void compare() {
    Comparison table(positions(), settings_.color == When::always || (settings_.color != When::never && color_));
    table.print_header();
    const auto piece = [&](TokenId id) { return piece_of(id); };
    const GenerationResult greedy = run(
        DecodingMode::baseline, [&](const GeneratedToken& token) { table.add_greedy(*token.record, piece(token.id)); });
    GenerationResult sharp;
    if (interrupted == 0)
      sharp = run(DecodingMode::activation,
                  [&](const GeneratedToken& token) { table.print(*token.record, piece(token.id)); });
    table.finish();
    print("\ngreedy:     " + greedy.text + "\nactivation: " + sharp.text + "\n");
    report(DecodingMode::baseline, greedy);
    report(DecodingMode::activation, sharp);
  }

 private:
  template <class OnToken>
  GenerationResult run(DecodingMode mode, OnToken on_token) {
    GenerationOptions options = settings_.generation;
    options.decoding_mode = mode;
    options.recording = trace_ || color_ || settings_.compare ? Recording::always : Recording::as_needed;
    std::stop_source stop;
    shown_ = 0;
    const GenerationCallbacks callbacks{.on_token =
                                            [&](const GeneratedToken& token) {
                                              on_token(token);
                                              shown_ += token.text.size();
                                              if (trace_)
                                                trace_->write(std::string(name(mode)), token,
                                                              [&](TokenId id) { return piece_of(id); });
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
    const GenerationResult result = generate(*model_, StreamDecoder(*tokenizer_), prompt_, options, callbacks);
    progress_.clear();
    return result;
  }

  static void print(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) throw Error("standard output cannot be written");
  }

  [[nodiscard]] std::string piece_of(TokenId id) const {
    return id < tokenizer_->vocab_size() ? std::string(tokenizer_->piece(id)) : std::string();
  }

  // Positions that the entropies are over.
  [[nodiscard]] Index positions() const {
    const ContextSpan& span = settings_.generation.context;
    return std::min(span.end, static_cast<Index>(prompt_.size())) - span.begin;
  }

  void print_legend() const {
    std::string ramp;
    for (int i = 0; i <= 12; ++i) ramp += shaded(" ", i / 12.0);
    const double flat = std::log(static_cast<double>(std::max<Index>(1, positions())));
    std::fprintf(stderr, "flat, entropy %.2f %s sharp, entropy 0\n", flat, ramp.c_str());
  }

  void report(DecodingMode mode, const GenerationResult& result) const {
    if (settings_.quiet) return;
    const auto rate = [](std::size_t tokens, double seconds) {
      return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
    };
    std::fprintf(
        stderr, "%s: prompt %zu tokens in %.2f s (%.0f/s), answer %zu tokens in %.2f s (%.1f/s), ended by %s\n",
        std::string(name(mode)).c_str(), prompt_.size(), result.prefill_seconds,
        rate(prompt_.size(), result.prefill_seconds), result.ids.size(), result.decode_seconds,
        rate(result.ids.size(), result.decode_seconds), std::string(activation_trace::name(result.reason)).c_str());
  }

  Settings settings_;
  Progress progress_;
  bool color_;
  std::optional<TraceFile> trace_;
  Checkpoint checkpoint_;
  std::optional<Tokenizer> tokenizer_;
  std::vector<TokenId> prompt_;
  std::optional<ThreadPool> pool_;
  std::optional<Llama> model_;
  std::size_t shown_ = 0;  // bytes of the answer
};

int run(int argc, char** argv) {
  const std::variant<Settings, int> parsed = parse_command_line(argc, argv);
  if (const int* done = std::get_if<int>(&parsed)) return *done;
  const auto& settings = std::get<Settings>(parsed);
  Session session(settings);
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
  try {
    return activation_trace::examples::run(argc, argv);
  } catch (const activation_trace::examples::UsageError& e) {
    std::fprintf(stderr, "generate: %s (--help lists the options)\n", e.what());
    return 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "generate: %s\n", e.what());
    return 1;
  }
}
