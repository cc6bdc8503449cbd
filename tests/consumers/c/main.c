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
