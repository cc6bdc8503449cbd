// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/generation/generate.hpp"
#include "activation_trace/generation/score.hpp"

using namespace activation_trace;

namespace {

/// What another engine writes to take part in generation: all of it. Its vocabulary is a ring of eight tokens. A
/// token's last state prefers the next token, and the one behind that a little less; its other states hold the token
/// itself. The LM head is the identity, so that a state is its own logits.
class RingEngine {
 public:
  struct Config {
    Index layers = 2;
    Index vocab = 8;
  };

  RingEngine() {
    for (Index v = 0; v < 8; ++v) head_[static_cast<std::size_t>(v * 8 + v)] = 1;
  }

  [[nodiscard]] Config config() const { return {}; }
  [[nodiscard]] MatrixView<const float> lm_head() const { return as_matrix(std::span(head_), 8, 8); }
  [[nodiscard]] FinalNorm final_norm() const { return {std::vector<float>(8, 1.0f), 1e-5f}; }
  [[nodiscard]] Execution<Host>& execution() const { return execution_; }

  [[nodiscard]] Index sequences() const { return std::ssize(texts_); }
  [[nodiscard]] Index max_context() const { return 32; }
  [[nodiscard]] Index position(Index sequence) const { return std::ssize(ids(sequence)); }
  [[nodiscard]] std::span<const TokenId> ids(Index s) const { return texts_[static_cast<std::size_t>(s)]; }
  void rewind(Index position, Index sequence) { text(sequence).resize(static_cast<std::size_t>(position)); }
  void copy_sequence(Index from, Index to, Index) { text(to) = text(from); }

  void fill(std::span<const SequencePiece<>> pieces) {
    for (const SequencePiece<>& piece : pieces) {
      if (piece.observer != nullptr) show(piece.ids, position(piece.sequence), *piece.observer);
      std::ranges::copy(piece.ids, std::back_inserter(text(piece.sequence)));
    }
  }

  MatrixView<const float> forward(std::span<const SequencePiece<>> pieces) {
    logits_.resize(pieces.size() * 8);
    const Index last = 2;
    early_exit(pieces, std::span(&last, 1), {logits_.data(), {std::ssize(pieces), 1, 8}});
    return as_matrix(std::span<const float>(logits_), std::ssize(pieces), 8);
  }

  void early_exit(std::span<const SequencePiece<>> pieces, std::span<const Index> layers, TensorView<float, 3> logits) {
    fill(pieces);
    for (std::size_t p = 0; p < pieces.size(); ++p)
      for (std::size_t i = 0; i < layers.size(); ++i)
        std::ranges::copy(state(layers[i], pieces[p].ids.back()),
                          logits.row(static_cast<Index>(p)).row(static_cast<Index>(i)).data());
  }

 private:
  [[nodiscard]] std::vector<TokenId>& text(Index sequence) { return texts_[static_cast<std::size_t>(sequence)]; }
  static void show(std::span<const TokenId> ids, Index first, const LayerObserver<>& observer) {
    const Index begin = std::clamp<Index>(observer.begin - first, 0, std::ssize(ids));
    const Index end = std::clamp<Index>(observer.end - first, begin, std::ssize(ids));
    if (begin == end) return;
    for (const Index layer : observer.layers) {
      std::vector<float> states;
      for (Index i = begin; i < end; ++i)
        std::ranges::copy(state(layer, ids[static_cast<std::size_t>(i)]), std::back_inserter(states));
      observer.on_states(layer, first + begin, as_matrix(std::span<const float>(states), end - begin, 8));
    }
  }
  [[nodiscard]] static std::vector<float> state(Index layer, TokenId id) {
    std::vector<float> h(8);
    h[static_cast<std::size_t>(layer == 2 ? (id + 1) % 8 : id)] = layer == 2 ? 2.0f : 30.0f;
    if (layer == 2) h[static_cast<std::size_t>((id + 2) % 8)] = 1.5f;
    return h;
  }

  std::vector<float> head_ = std::vector<float>(64);
  std::vector<std::vector<TokenId>> texts_ = std::vector<std::vector<TokenId>>(2);
  std::vector<float> logits_;
  mutable Execution<Host> execution_;
};
static_assert(LanguageModel<RingEngine>);

/// Names tokens by their digit.
struct Digits {
  [[nodiscard]] std::string push(TokenId id) const { return std::to_string(id); }
  [[nodiscard]] std::string finish() const { return {}; }
};

}  // namespace

TEST_CASE("an engine of a page generates: what is known of its tokens comes out") {
  RingEngine engine;
  // A token that the prompt does not hold is held evenly by its four positions: entropy ln 4 = 1.39, and 0 for one that
  // it holds once. The difference outweighs that of the two preferred tokens, 0.5, from alpha = 0.4 on.
  const std::vector<TokenId> prompt{2, 6, 4, 0};
  const auto text = [&](const Mode& mode) {
    return generate(engine, Digits(), prompt, {.mode = mode, .max_new_tokens = 8}).text;
  };
  CHECK(text(Baseline{}) == "12345670");
  CHECK(text(Dola{.candidate_layers = {0, 1}}) == "12345670");  // early layers tell the last token from the rest only
  CHECK(text(Activation{.alpha = 0.3f, .context = {.info_layer = 1}}) == "12345670");
  CHECK(text(Activation{.alpha = 0.4f, .context = {.info_layer = 1}}) == "24602460");

  const auto batch = generate_batch(engine, [] { return Digits(); }, std::vector<std::vector<TokenId>>{{0}, {3}, {6}},
                                    {.mode = Baseline{}, .max_new_tokens = 3});
  CHECK(batch.at(0).text == "123");
  CHECK(batch.at(1).text == "456");
  CHECK(batch.at(2).text == "701");
}

TEST_CASE("an engine of a page scores answers") {
  RingEngine engine;
  const double sum = std::exp(2.0) + std::exp(1.5) + 6;  // six logits are 0
  const std::vector<ContinuationScore> scores =
      score(engine, std::vector<TokenId>{5, 7, 0}, std::vector<std::vector<TokenId>>{{1, 2}, {2, 3}, {5}},
            {.mode = Baseline{}});
  CHECK(scores.at(0).score == doctest::Approx(4 - 2 * std::log(sum)).epsilon(1e-6));
  CHECK(scores.at(1).score == doctest::Approx(3.5 - 2 * std::log(sum)).epsilon(1e-6));
  CHECK(scores.at(2).score == doctest::Approx(-std::log(sum)).epsilon(1e-6));
}
