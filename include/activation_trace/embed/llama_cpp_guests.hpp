// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/embed/llama_cpp.hpp"
#include "activation_trace/embed/llama_cpp_cells.hpp"
// Behind it, whose message says what is missing.
#include <llama.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace activation_trace {
inline namespace v0 {
namespace llama_cpp {

/// A guest for each of several sequences that share batches, such as a server's slots:
///
///     Guests guests(model, path, std::vector<GuestOptions>(4, {.mode = Activation{}}));
///     guests.attach(params);                                  // params.n_seq_max = 4, params.kv_unified = true
///     llama_sampler_chain_add(chain[s], guests.sampler(context, s));  // for every sequence s
///     guests.decode(context, batch);                          // instead of llama_decode(context, batch)
///     llama_sampler_sample(chain[s], context, i);             // i: the last token of s in the batch
///     guests.check();
///
/// Nothing in llama.cpp's interface tells whose the rows of its graphs are: that decode() is told the batch first makes
/// the difference. Each sequence has its mode and its context, as a Guest alone, and what Guest says of contexts,
/// errors and lifetimes holds. A token may belong to several sequences. To copy one is copy_sequence()'s work: of what
/// llama_memory_seq_cp() copies by itself no guest has states, and one whose context it replaces says so.
class Guests {
 public:
  /// options[s] are those of sequence s. Throws as open_lm_head() and Guest.
  Guests(const llama_model* model, const std::filesystem::path& path, std::vector<GuestOptions> options,
         ExecutionHandle execution = {});
  Guests(const Guests&) = delete;
  Guests& operator=(const Guests&) = delete;
  ~Guests() = default;

  /// Throws StateError if somebody else's callback stands there, and ArgumentError for fewer sequences than there are
  /// guests, or caches of their own, for which llama.cpp takes batches apart.
  void attach(llama_context_params& params);

  /// Guest::sampler of one sequence. Throws ArgumentError for one without a guest, too.
  [[nodiscard]] llama_sampler* sampler(llama_context* context, llama_seq_id sequence) {
    return at(sequence).sampler(context);
  }
  /// Of one sequence.
  [[nodiscard]] const Guest& guest(llama_seq_id sequence) const { return *guests_[checked(sequence)]; }

  /// llama_decode(), and what it returns. Throws ArgumentError for a batch without pos and seq_id, or with a sequence
  /// that has no guest.
  int decode(llama_context* context, const llama_batch& batch);

  /// llama_memory_seq_cp() of a whole sequence, in place of what `to` held, and its guest goes on from where that of
  /// `from` is: with the same context where that has been read, and reading on where it has not. Before or after the
  /// first token is chosen. Throws ArgumentError for a sequence without a guest, StateError if the guest of `to` reads
  /// a layer that that of `from` has not kept; then `to` is empty.
  void copy_sequence(llama_context* context, llama_seq_id from, llama_seq_id to);

  /// Throws what went wrong in llama.cpp's calls since the last check, if anything did.
  void check();

 private:
  using Run = detail::TokenRun;

  static bool callback(ggml_tensor* node, bool ask, void* user) noexcept;
  [[nodiscard]] std::size_t checked(llama_seq_id sequence) const;
  [[nodiscard]] Guest& at(llama_seq_id sequence) { return *guests_[checked(sequence)]; }
  [[nodiscard]] static bool is_output(const llama_batch& batch, std::int32_t token) {
    return batch.logits == nullptr ? token + 1 == batch.n_tokens : batch.logits[token] != 0;
  }
  bool see(const ggml_tensor* node, bool ask);
  void look_at_memory(const ggml_tensor* node);
  void begin_micro_batch(const ggml_tensor* embedding);
  void add_row(std::vector<Run>& runs, std::int32_t token, Index row) const;

  ExecutionHandle execution_;
  std::vector<std::unique_ptr<Guest>> guests_;  // by sequence
  Index blocks_;
  bool attached_ = false;
  llama_batch batch_{};         // what decode() was told; no tokens outside of it
  std::int32_t next_ = 0;       // of its tokens, the first one that no micro-batch has had
  Index seen_ = -1;             // the layer of the last node
  std::vector<Run> runs_;       // of the micro-batch
  std::vector<Run> last_runs_;  // of its rows in the last block, which has outputs only
  detail::MemoryCells cells_;
  std::exception_ptr problem_;
};

inline Guests::Guests(const llama_model* model, const std::filesystem::path& path, std::vector<GuestOptions> options,
                      ExecutionHandle execution)
    : execution_(std::move(execution)), blocks_(llama_model_n_layer(model)) {
  if (options.empty()) throw ArgumentError("Guests: options of no sequence");
  const auto head = std::make_shared<const LmHeadFile>(llama_cpp::open_lm_head(path));
  for (GuestOptions& its : options) {
    its.sequence = static_cast<llama_seq_id>(guests_.size());
    guests_.push_back(std::make_unique<Guest>(model, head, std::move(its), *execution_));
    guests_.back()->alone_ = false;
  }
}

inline std::size_t Guests::checked(llama_seq_id sequence) const {
  if (sequence < 0 || sequence >= static_cast<llama_seq_id>(guests_.size()))
    throw ArgumentError("Guests: sequence " + std::to_string(sequence) + " has no guest, those of 0.." +
                        std::to_string(guests_.size() - 1) + " have");
  return static_cast<std::size_t>(sequence);
}

inline void Guests::attach(llama_context_params& params) {
  if (params.cb_eval != nullptr) throw StateError("Guests: cb_eval of these context parameters is taken already");
  if (attached_) throw StateError("Guests: they were attached before; a context needs some of its own");
  if (params.n_seq_max < guests_.size())
    throw ArgumentError("Guests: n_seq_max is " + std::to_string(params.n_seq_max) + ", and there are guests of " +
                        std::to_string(guests_.size()) + " sequences");
  if (params.n_seq_max > 1 && !params.kv_unified)
    throw ArgumentError("Guests: kv_unified must be true: llama.cpp takes batches of sequences apart otherwise");
  params.cb_eval = &Guests::callback;
  params.cb_eval_user_data = this;
  attached_ = true;
  for (const auto& guest : guests_) guest->tap_.attached_by_other();
}

inline int Guests::decode(llama_context* context, const llama_batch& batch) {
  if (batch.pos == nullptr || batch.n_seq_id == nullptr || batch.seq_id == nullptr)
    throw ArgumentError("Guests: the batch must say pos and seq_id of its tokens");
  for (const auto& guest : guests_) guest->output_ = -2;  // none
  for (std::int32_t i = 0; i < batch.n_tokens; ++i)
    for (std::int32_t k = 0; k < batch.n_seq_id[i]; ++k) {
      Guest& guest = at(batch.seq_id[i][k]);
      if (is_output(batch, i)) guest.output_ = i;
    }
  batch_ = batch;
  next_ = 0;
  seen_ = -1;
  const int status = llama_decode(context, batch);
  batch_ = {};
  return status;
}

inline void Guests::copy_sequence(llama_context* context, llama_seq_id from, llama_seq_id to) {
  const Guest& source = at(from);
  Guest& copy = at(to);
  if (from == to) return;
  copy.tap_.read(context, to);
  llama_memory_t memory = llama_get_memory(context);
  llama_memory_seq_rm(memory, to, -1, -1);
  llama_memory_seq_cp(memory, from, to, -1, -1);
  try {
    copy.go_on_from(source);
    cells_.copy(from, to);
  } catch (...) {
    llama_memory_seq_rm(memory, to, -1, -1);
    copy.begin_context();
    throw;
  }
}

inline void Guests::check() {
  if (problem_) std::rethrow_exception(std::exchange(problem_, nullptr));
  for (const auto& guest : guests_) guest->check();
}

// Frames of C are above.
inline bool Guests::callback(ggml_tensor* node, bool ask, void* user) noexcept {
  auto& self = *static_cast<Guests*>(user);
  try {
    return self.see(node, ask);
  } catch (...) {
    if (!self.problem_) self.problem_ = std::current_exception();
  }
  return !ask;
}

inline bool Guests::see(const ggml_tensor* node, bool ask) {
  const Index layer = layer_of_node(node->name, blocks_);
  if (layer < 0) {
    if (ask) look_at_memory(node);
    return !ask;
  }
  if (ask && layer == 0 && std::exchange(seen_, layer) != 0) begin_micro_batch(node);  // h_0 may go by two names
  seen_ = layer;
  bool wanted = !ask;
  for (const Run& run : layer == blocks_ ? last_runs_ : runs_)
    if (at(run.sequence).tap_.see(layer, ask, {node, run.first, run.count, run.end})) wanted = true;
  return wanted;
}

inline void Guests::look_at_memory(const ggml_tensor* node) {
  cells_.see(
      node, runs_, [this](llama_seq_id sequence) { return at(sequence).context_end(); },
      [this](llama_seq_id sequence) { at(sequence).lose_context(); });
}

// `embedding` is not computed yet, but llama.cpp's inputs are there.
inline void Guests::begin_micro_batch(const ggml_tensor* embedding) {
  runs_.clear();
  last_runs_.clear();
  cells_.begin();
  const auto count = static_cast<std::int32_t>(embedding->ne[1]);
  if (count > batch_.n_tokens - next_)
    throw StateError("Guests: llama_decode() was called past decode(), and nobody knows whose rows it computes");
  const ggml_tensor* rows = embedding;
  while (rows != nullptr && rows->op != GGML_OP_GET_ROWS) rows = rows->src[0];
  if (rows != nullptr && batch_.token != nullptr && rows->src[1]->type == GGML_TYPE_I32 &&
      ggml_nelements(rows->src[1]) == count) {
    std::vector<llama_token> tokens(static_cast<std::size_t>(count));
    ggml_backend_tensor_get(rows->src[1], tokens.data(), 0, tokens.size() * sizeof(llama_token));
    if (!std::equal(tokens.begin(), tokens.end(), batch_.token + next_))
      throw StateError("Guests: llama.cpp computes the tokens of the batch in another order");
  }
  Index outputs = 0;
  for (Index row = 0; row < count; ++row, ++next_) {
    add_row(runs_, next_, row);
    if (is_output(batch_, next_)) add_row(last_runs_, next_, outputs++);
  }
  for (const Run& run : runs_)
    if (run.end - run.count < at(run.sequence).context_end()) cells_.end_at(run.sequence, run.end - run.count);
}

// Of every sequence that the token belongs to: as one more of its last run, or a run of its own.
inline void Guests::add_row(std::vector<Run>& runs, std::int32_t token, Index row) const {
  const Index position = batch_.pos[token];
  for (std::int32_t k = 0; k < batch_.n_seq_id[token]; ++k) {
    const llama_seq_id sequence = batch_.seq_id[token][k];
    const auto continues = [&](const Run& run) {
      return run.sequence == sequence && run.first + run.count == row && run.end == position && run.leads == (k == 0);
    };
    const auto run = std::ranges::find_if(runs, continues);
    if (run == runs.end())
      runs.push_back({sequence, row, 1, position + 1, k == 0});
    else
      *run = {sequence, run->first, run->count + 1, position + 1, run->leads};
  }
}

}  // namespace llama_cpp
}  // namespace v0
}  // namespace activation_trace
