// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// The target activation_trace::c: the C interface's body. No exception leaves it.
#include "activation_trace/embed/activation_trace_c.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/embed/lm_head_file.hpp"
#include "activation_trace/processors/detector.hpp"
#include "activation_trace/processors/dola.hpp"
#include "activation_trace/processors/entropy_sharpness.hpp"

namespace at = activation_trace;

struct at_head {
  at::LmHeadFile file;
};

namespace {

std::optional<at::FinalNorm> norm_of(const at_head& head, int final_norm) {
  if (final_norm == 0) return std::nullopt;
  if (!head.file.norm) throw at::ArgumentError("final_norm: the head has none");
  return head.file.norm;
}

}  // namespace

struct at_sharpness {
  at_sharpness(const at_head& its_head, float alpha, float relative_top, int final_norm, int threads)
      : head(its_head.file.head),
        execution(threads),
        processor(
            {.alpha = alpha, .filter = {.relative_top = relative_top}, .final_norm = norm_of(its_head, final_norm)},
            execution) {}

  at::LmHead<> head;
  at::Execution<at::Host> execution;
  at::EntropySharpnessProcessor<> processor;
};

struct at_detector {
  at_detector(const at_head& its_head, float threshold, int final_norm, int threads)
      : head(its_head.file.head),
        execution(threads),
        detector({.threshold = threshold, .final_norm = norm_of(its_head, final_norm)}, execution) {}

  at::LmHead<> head;
  at::Execution<at::Host> execution;
  at::Detector detector;
};

struct at_dola {
  at_dola(const at_head& its_head, std::vector<at::Index> layers, float relative_top, int threads)
      : head(its_head.file.head),
        execution(threads),
        processor(std::move(layers), {.filter = {.relative_top = relative_top}}, execution) {}

  at::LmHead<> head;
  at::Execution<at::Host> execution;
  at::DolaProcessor processor;
};

namespace {

std::string& last_error() {
  thread_local std::string text;
  return text;
}

at_status failed(at_status status, const char* text) noexcept {
  try {
    last_error() = text;
  } catch (...) {  // no memory for the text: the status has to do
    last_error().clear();
  }
  return status;
}

template <class F>
at_status guarded(F&& f) noexcept {
  try {
    f();
    return AT_OK;
  } catch (const at::ShapeError& e) {
    return failed(AT_SHAPE, e.what());
  } catch (const at::ArgumentError& e) {
    return failed(AT_ARGUMENT, e.what());
  } catch (const at::StateError& e) {
    return failed(AT_STATE, e.what());
  } catch (const at::FormatError& e) {
    return failed(AT_FORMAT, e.what());
  } catch (const std::exception& e) {
    return failed(AT_OTHER, e.what());
  } catch (...) {
    return failed(AT_OTHER, "an exception of an unknown type");
  }
}

template <class T>
T& needed(T* pointer, const char* name) {
  if (pointer == nullptr) throw at::ArgumentError(std::string(name) + " is null");
  return *pointer;
}

/// count elements at `data`, which may be null if there are none.
template <class T>
std::span<T> elements(T* data, std::int64_t count, const char* name) {
  if (count < 0) throw at::ShapeError(std::string(name) + ": a count of " + std::to_string(count));
  if (count > 0) (void)needed(data, name);
  return {data, static_cast<std::size_t>(count)};
}

at::MatrixView<const float> matrix(const float* data, std::int64_t rows, std::int64_t cols, std::int64_t stride) {
  if (rows < 0 || cols < 1 || (stride != 0 && stride < cols))
    throw at::ShapeError("states: " + std::to_string(rows) + " rows of " + std::to_string(cols) + ", stride " +
                         std::to_string(stride));
  const std::int64_t step = stride == 0 ? cols : stride;
  if (rows > std::numeric_limits<std::int64_t>::max() / static_cast<std::int64_t>(sizeof(float)) / step)
    throw at::ShapeError("states: their size overflows");
  if (rows > 0) (void)needed(data, "states");
  return {data, {rows, cols}, {step, 1}};
}

/// Makes a handle and hands it out only when it is whole.
template <class Handle, class... Args>
void make(Handle** out, Args&&... args) {
  Handle*& result = needed(out, "out");
  result = std::make_unique<Handle>(std::forward<Args>(args)...).release();
}

void make_head(at_head** out, at::LmHeadFile file) { make(out, at_head{std::move(file)}); }

/// The C callback as the library's.
at::Dequantizer dequantizer(at_dequantize dequantize, void* user) {
  if (dequantize == nullptr) throw at::ArgumentError("dequantize is null");
  return [=](std::string_view type, std::span<const std::byte> row, std::span<float> out) {
    const int status = dequantize(user, std::string(type).c_str(), row.data(), row.size(), out.data(),
                                  static_cast<std::int64_t>(out.size()));
    if (status != 0)
      throw at::Error("dequantize: the callback returns " + std::to_string(status) + " for a row of " +
                      std::to_string(row.size()) + " bytes" + (type.empty() ? "" : " of type ") + std::string(type));
  };
}

void check_weights(std::int64_t vocab, std::int64_t hidden) {
  if (vocab < 1 || hidden < 1)
    throw at::ShapeError("weights: [" + std::to_string(vocab) + ", " + std::to_string(hidden) + "] is empty");
}

/// One step on a full row or a list; what the processor's process() returns.
const auto& process(auto& processor, at::Index vocab, const int32_t* ids, float* logits, int64_t count) {
  const std::span<float> scores = elements(logits, count, "logits");
  if (ids != nullptr) return processor.process(elements(ids, count, "ids"), scores);
  if (count != vocab)
    throw at::ShapeError("logits: expected " + std::to_string(vocab) + ", got " + std::to_string(count));
  return processor.process(scores);
}

}  // namespace

const char* at_last_error(void) { return last_error().c_str(); }

at_status at_head_open(const char* path, at_head** out) {
  return guarded([&] { make_head(out, at::open_lm_head(&needed(path, "path"))); });
}

at_status at_head_view(uint32_t type, const void* weights, uint64_t bytes, int64_t vocab, int64_t hidden,
                       at_head** out) {
  return guarded([&] {
    const at::detail::GgufTensorType* found = at::detail::find_gguf_tensor_type(type);
    if (found == nullptr || !found->dtype())
      throw at::ArgumentError("type: GGUF's number " + std::to_string(type) + " is not one that is read");
    check_weights(vocab, hidden);
    const at::StoredMatrix<> stored(*found->dtype(), static_cast<const std::byte*>(weights), vocab, hidden);
    const auto expected = static_cast<std::uint64_t>(vocab * stored.row_bytes());
    if (bytes != expected)
      throw at::ShapeError("weights: expected " + std::to_string(expected) + " bytes, got " + std::to_string(bytes));
    at::LmHeadFile file;
    file.head = stored;
    make_head(out, std::move(file));
  });
}

at_status at_head_open_by(const char* path, at_dequantize dequantize, void* user, at_head** out) {
  return guarded([&] { make_head(out, at::open_lm_head(&needed(path, "path"), dequantizer(dequantize, user))); });
}

at_status at_head_view_by(const void* weights, uint64_t bytes, int64_t vocab, int64_t hidden, at_dequantize dequantize,
                          void* user, at_head** out) {
  return guarded([&] {
    check_weights(vocab, hidden);
    const auto* first = &needed(static_cast<const std::byte*>(weights), "weights");
    const std::uint64_t row_bytes = bytes / static_cast<std::uint64_t>(vocab);
    if (row_bytes == 0 || row_bytes * static_cast<std::uint64_t>(vocab) != bytes)
      throw at::ShapeError("weights: " + std::to_string(bytes) + " bytes are not " + std::to_string(vocab) +
                           " rows of one size");
    at::LmHeadFile file;
    const auto rows = [widen = dequantizer(dequantize, user), first, row_bytes](at::Index begin, at::Index end,
                                                                                at::MatrixView<float> to) {
      for (at::Index v = begin; v < end; ++v)
        widen("", {first + static_cast<std::uint64_t>(v) * row_bytes, row_bytes}, to.row(v - begin).span());
    };
    file.head = at::LmHead<>(vocab, hidden, rows);
    make_head(out, std::move(file));
  });
}

at_status at_head_shape(const at_head* head, int64_t* vocab, int64_t* hidden, int64_t* blocks) {
  return guarded([&] {
    const at::LmHeadFile& file = needed(head, "head").file;
    if (vocab != nullptr) *vocab = file.head.vocab();
    if (hidden != nullptr) *hidden = file.head.hidden();
    if (blocks != nullptr) *blocks = file.blocks;
  });
}

void at_head_free(at_head* head) { delete head; }

at_status at_sharpness_new(const at_head* head, float alpha, float relative_top, int final_norm, int threads,
                           at_sharpness** out) {
  return guarded([&] { make(out, needed(head, "head"), alpha, relative_top, final_norm, threads); });
}

void at_sharpness_free(at_sharpness* processor) { delete processor; }

at_status at_sharpness_observe(at_sharpness* processor, const float* states, int64_t rows, int64_t hidden,
                               int64_t stride) {
  return guarded([&] {
    at_sharpness& p = needed(processor, "processor");
    p.processor.observe_context(matrix(states, rows, hidden, stride), p.head);
  });
}

at_status at_sharpness_truncate(at_sharpness* processor, int64_t positions) {
  return guarded([&] { needed(processor, "processor").processor.truncate_context(positions); });
}

at_status at_sharpness_reset(at_sharpness* processor) {
  return guarded([&] { needed(processor, "processor").processor.reset(); });
}

at_status at_sharpness_process(at_sharpness* processor, const int32_t* ids, float* logits, int64_t count,
                               int32_t* best) {
  return guarded([&] {
    at_sharpness& p = needed(processor, "processor");
    const at::SharpnessRecord& record = process(p.processor, p.head.vocab(), ids, logits, count);
    if (best != nullptr) *best = record.best;
  });
}

at_status at_sharpness_kept(const at_sharpness* processor, at_candidate* kept, int64_t room, int64_t* count) {
  return guarded([&] {
    const auto& all = needed(processor, "processor").processor.record().kept;
    const std::span<at_candidate> out = elements(kept, room, "kept");
    needed(count, "count") = static_cast<int64_t>(all.size());
    for (std::size_t i = 0; i < std::min(out.size(), all.size()); ++i)
      out[i] = {all[i].id, all[i].log_prob, all[i].entropy, all[i].score};
  });
}

at_status at_detector_new(const at_head* head, float threshold, int final_norm, int threads, at_detector** out) {
  return guarded([&] { make(out, needed(head, "head"), threshold, final_norm, threads); });
}

void at_detector_free(at_detector* detector) { delete detector; }

at_status at_detector_observe(at_detector* detector, const float* states, int64_t rows, int64_t hidden,
                              int64_t stride) {
  return guarded([&] {
    at_detector& p = needed(detector, "detector");
    p.detector.observe_context(matrix(states, rows, hidden, stride), p.head);
  });
}

at_status at_detector_truncate(at_detector* detector, int64_t positions) {
  return guarded([&] { needed(detector, "detector").detector.truncate_context(positions); });
}

at_status at_detector_reset(at_detector* detector) {
  return guarded([&] { needed(detector, "detector").detector.reset(); });
}

at_status at_detector_entropy(at_detector* detector, int32_t id, float* entropy, int* alert) {
  return guarded([&] {
    at::Detector& d = needed(detector, "detector").detector;
    const float found = d.entropy(id);
    if (entropy != nullptr) *entropy = found;
    if (alert != nullptr) *alert = found > d.options().threshold ? 1 : 0;
  });
}

at_status at_dola_new(const at_head* head, const int64_t* layers, int64_t count, float relative_top, int threads,
                      at_dola** out) {
  return guarded([&] {
    const std::span<const int64_t> given = elements(layers, count, "layers");
    make(out, needed(head, "head"), std::vector<at::Index>(given.begin(), given.end()), relative_top, threads);
  });
}

void at_dola_free(at_dola* dola) { delete dola; }

at_status at_dola_process(at_dola* dola, const float* states, int64_t layers, int64_t hidden, int64_t stride,
                          const int32_t* ids, float* logits, int64_t count, int32_t* best, int64_t* layer) {
  return guarded([&] {
    at_dola& p = needed(dola, "dola");
    p.processor.observe_states(matrix(states, layers, hidden, stride), p.head);
    const at::DolaRecord& record = process(p.processor, p.head.vocab(), ids, logits, count);
    if (best != nullptr) *best = record.best;
    if (layer != nullptr) *layer = record.layer;
  });
}
