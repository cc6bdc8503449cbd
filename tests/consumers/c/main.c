/* SPDX-FileCopyrightText: 2026 The activation_trace authors */
/* SPDX-License-Identifier: Apache-2.0 */

/* The C interface from C99: the arrays of README's "The processor alone", whose entropies have a closed form. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "activation_trace/embed/activation_trace_c.h"

static int failures = 0;

static void check(int ok, const char* what) {
  if (ok) return;
  ++failures;
  printf("failed: %s (%s)\n", what, at_last_error());
}

/* Weights as tenths in bytes, a type of our own. */
static int widen(void* user, const char* type, const void* row, uint64_t bytes, float* out, int64_t hidden) {
  const signed char* tenths = (const signed char*)row;
  int64_t k;
  if (strcmp(type, "") != 0 || bytes != (uint64_t)hidden) return 1;
  for (k = 0; k < hidden; ++k) out[k] = (float)tenths[k] / 10;
  ++*(int*)user;
  return 0;
}

static int refuse(void* user, const char* type, const void* row, uint64_t bytes, float* out, int64_t hidden) {
  (void)user, (void)type, (void)row, (void)bytes, (void)out, (void)hidden;
  return 7;
}

/* The same head in a type that the library does not know. */
static void check_callback(const float* states, float entropy) {
  const signed char tenths[] = {0, 0, 10, 0, 5, 5, 0, 10};
  at_head* head = NULL;
  at_detector* detector = NULL;
  float found = -1;
  int calls = 0;
  check(at_head_view_by(tenths, sizeof tenths, 4, 2, NULL, NULL, &head) == AT_ARGUMENT, "no callback");
  check(at_head_view_by(tenths, 7, 4, 2, widen, &calls, &head) == AT_SHAPE, "rows of no one size");
  check(at_head_view_by(tenths, sizeof tenths, 4, 2, widen, &calls, &head) == AT_OK, "a head by a callback");
  check(at_detector_new(head, 1.0f, 0, 1, &detector) == AT_OK, "its detector");
  check(at_detector_observe(detector, states, 3, 2, 0) == AT_OK, "its context");
  check(at_detector_entropy(detector, 1, &found, NULL) == AT_OK && calls > 0, "its rows were asked for");
  check(fabsf(found - entropy) < 1e-6f, "and are the same weights");
  at_detector_free(detector);
  at_head_free(head);
  check(at_head_view_by(tenths, sizeof tenths, 4, 2, refuse, NULL, &head) == AT_OK, "a callback that fails");
  check(at_detector_new(head, 1.0f, 0, 1, &detector) == AT_OK, "is not asked yet");
  check(at_detector_observe(detector, states, 3, 2, 0) == AT_OK, "nor for the context");
  check(at_detector_entropy(detector, 1, &found, NULL) == AT_OTHER, "but for a token");
  check(strcmp(at_last_error(), "dequantize: the callback returns 7 for a row of 2 bytes") == 0, "and the text says so");
  at_detector_free(detector);
  at_head_free(head);
}

int main(void) {
  const float states[] = {0, 2, 3, 0, 0, -2};
  const float weights[] = {0, 0, 1, 0, 0.5f, 0.5f, 0, 1};
  float logits[] = {2.0f, 1.5f, -3.0f, 1.0f};
  at_head* head = NULL;
  at_sharpness* sharpness = NULL;
  at_candidate kept[4];
  int32_t best = -1;
  int64_t count = 0, vocab = 0, hidden = 0;

  check(strcmp(at_last_error(), "") == 0, "no error at first");
  check(at_head_view(0, weights, sizeof weights, 4, 2, &head) == AT_OK, "head");
  check(at_head_shape(head, &vocab, &hidden, NULL) == AT_OK && vocab == 4 && hidden == 2, "shape");
  check(at_sharpness_new(head, 1.0f, 0.1f, 0, 1, &sharpness) == AT_OK, "processor");
  check(at_sharpness_process(sharpness, NULL, logits, 4, &best) == AT_STATE, "no context yet");
  check(at_sharpness_observe(sharpness, states, 3, 2, 0) == AT_OK, "context");
  check(at_sharpness_process(sharpness, NULL, logits, 4, &best) == AT_OK, "a step");
  check(at_sharpness_kept(sharpness, kept, 4, &count) == AT_OK && count == 3, "three pass the filter");
  check(best == 1, "the sharp token");
  check_callback(states, kept[1].entropy);
  check(fabs((double)kept[0].entropy - log(3.0)) < 1e-6, "a token that all positions say alike has ln 3");
  check(at_sharpness_new(NULL, 1.0f, 0.1f, 0, 1, &sharpness) == AT_ARGUMENT, "a null head");
  check(strcmp(at_last_error(), "head is null") == 0, "and its text");
  check(at_sharpness_new(head, 1.0f, 0.1f, 0, 1, NULL) == AT_ARGUMENT, "nowhere to put it");
  at_sharpness_free(sharpness);
  at_sharpness_free(NULL);
  at_head_free(head);
  if (failures == 0) puts("the C interface works from C99");
  return failures;
}
