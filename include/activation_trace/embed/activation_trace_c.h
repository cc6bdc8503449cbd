/* SPDX-FileCopyrightText: 2026 The activation_trace authors */
/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ACTIVATION_TRACE_C_H
#define ACTIVATION_TRACE_C_H

/** @file
   The C interface, C99: for engines in C, Rust, Go, Python (ctypes), or built without exceptions. Link
   activation_trace::c.

   Every function returns a status, and at_last_error() the text of this thread's last one that was not AT_OK. Null
   where something is needed and sizes that do not fit are errors; outputs are then unchanged. A handle is used by one
   thread at a time. Matrices are row-major; `stride` counts floats between the starts of two rows, 0: as many as a row
   has. */

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What every function returns. */
typedef enum at_status {
  AT_OK = 0,
  AT_SHAPE = 1,    /**< sizes do not fit together */
  AT_ARGUMENT = 2, /**< a value that makes no sense, a null pointer */
  AT_STATE = 3,    /**< called in the wrong order */
  AT_FORMAT = 4,   /**< a file that is not what it should be */
  AT_OTHER = 5     /**< no memory, or the system's */
} at_status;

typedef struct at_head at_head;           /**< LM head and final norm of a model */
typedef struct at_sharpness at_sharpness; /**< activation decoding */
typedef struct at_detector at_detector;   /**< its alert alone */
typedef struct at_dola at_dola;           /**< DoLa */

/** A token that passed the filter. */
typedef struct at_candidate {
  int32_t id;     /**< the token */
  float log_prob; /**< over all that was given, in nats */
  float entropy;  /**< of the context, in nats */
  float score;    /**< log_prob - alpha * entropy */
} at_candidate;

/** This thread's last error; "" before the first. Valid until its next. */
const char* at_last_error(void);

/** Of a .gguf file of any architecture or a Hugging Face folder. */
at_status at_head_open(const char* path, at_head** out);
/** Of weights in memory, which must outlive it: GGUF's type number (0 F32, 1 F16, 8 Q8_0, 30 BF16 ...), rows tight;
   `bytes` is their size, which is checked. */
at_status at_head_view(uint32_t type, const void* weights, uint64_t bytes, int64_t vocab, int64_t hidden,
                       at_head** out);
/** Widens one row of weights whose type is not known here, such as by ggml's to_float: row[bytes] to out[hidden].
   `type` is the file's name of it ("IQ2_XXS"), "" of weights in memory. Returns 0; anything else fails what wanted the
   row, with AT_OTHER. Called on the thread that called in; no exception may leave it. */
typedef int (*at_dequantize)(void* user, const char* type, const void* row, uint64_t bytes, float* out, int64_t hidden);
/** As at_head_open, for a GGUF head of any type: the callback reads what is not read here. */
at_status at_head_open_by(const char* path, at_dequantize dequantize, void* user, at_head** out);
/** As at_head_view, for rows of any one size that the callback reads: `bytes` must be a multiple of vocab. */
at_status at_head_view_by(const void* weights, uint64_t bytes, int64_t vocab, int64_t hidden, at_dequantize dequantize,
                          void* user, at_head** out);
/** V, d and the number of blocks (0 of weights in memory); any of the three may be null. */
at_status at_head_shape(const at_head* head, int64_t* vocab, int64_t* hidden, int64_t* blocks);
/** A head must outlive the processors and detectors that were made with it. */
void at_head_free(at_head* head);

/** final_norm != 0: the states go through the head's norm first, which the published method does not do. */
at_status at_sharpness_new(const at_head* head, float alpha, float relative_top, int final_norm, int threads,
                           at_sharpness** out);
/** Null is allowed, here as in the other at_..._free. */
void at_sharpness_free(at_sharpness* processor);
/** Appends hidden[rows, d] of one layer, d as `hidden`, to the context. */
at_status at_sharpness_observe(at_sharpness* processor, const float* states, int64_t rows, int64_t hidden,
                               int64_t stride);
/** Forgets the context from that position on, after a rewind. */
at_status at_sharpness_truncate(at_sharpness* processor, int64_t positions);
/** Forgets the context, for the next prompt. */
at_status at_sharpness_reset(at_sharpness* processor);
/** logits[count] become scores in place, masked ones -inf. ids null: a full row, count = V. *best is the best token, -1
   if all is masked; may be null. */
at_status at_sharpness_process(at_sharpness* processor, const int32_t* ids, float* logits, int64_t count,
                               int32_t* best);
/** What the last process() kept: the first `room` of them, and in *count how many there are. */
at_status at_sharpness_kept(const at_sharpness* processor, at_candidate* kept, int64_t room, int64_t* count);

/** threshold in nats: a token of a larger context entropy is an alert. final_norm as in at_sharpness_new. */
at_status at_detector_new(const at_head* head, float threshold, int final_norm, int threads, at_detector** out);
/** As at_sharpness_free. */
void at_detector_free(at_detector* detector);
/** As at_sharpness_observe. */
at_status at_detector_observe(at_detector* detector, const float* states, int64_t rows, int64_t hidden, int64_t stride);
/** As at_sharpness_truncate. */
at_status at_detector_truncate(at_detector* detector, int64_t positions);
/** As at_sharpness_reset. */
at_status at_detector_reset(at_detector* detector);
/** The token's context entropy in nats, and whether it is above the threshold; either may be null. */
at_status at_detector_entropy(at_detector* detector, int32_t id, float* entropy, int* alert);

/** `layers` are names for the layers, `count` of them, of which at_dola_process says one. */
at_status at_dola_new(const at_head* head, const int64_t* layers, int64_t count, float relative_top, int threads,
                      at_dola** out);
/** As at_sharpness_free. */
void at_dola_free(at_dola* dola);
/** One step: states[count of layers, d] of the early layers at this position, then logits as at_sharpness_process. Into
    `layer` the one that was taken; it and best may be null. */
at_status at_dola_process(at_dola* dola, const float* states, int64_t layers, int64_t hidden, int64_t stride,
                          const int32_t* ids, float* logits, int64_t count, int32_t* best, int64_t* layer);

#ifdef __cplusplus
}
#endif

#endif
