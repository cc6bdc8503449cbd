// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Distributions of several layers beside that of the mature one, in blocks of at most divergence_block entries. Where
// the mature layer is -inf an entry does not count.

/// x where the mature logit is above -inf, else -inf; NaN becomes +inf where it counts.
[[gnu::always_inline]] inline F where_counted(F mature, F x) {
  const F counted = zero_where_less(mature, set(std::numeric_limits<float>::lowest()), set(1.0f));
  return min(x, (counted - set(0.5f)) * set(std::numeric_limits<float>::infinity()));
}

/// The largest of x[0, n) and the sum of e^(x - largest), over the entries that count: -inf and 0 if there is none. The
/// sum is NaN for NaN or +inf.
inline void counted_exponentials(const float* mature, const float* x, Index n, float* maximum, double* sum_of) {
  float rest[2][lanes];
  for (Index j = 0; j < lanes; ++j) {
    rest[0][j] = -std::numeric_limits<float>::infinity();
    rest[1][j] = 0;
  }
  const Index whole = n / lanes * lanes;
  for (Index i = whole; i < n; ++i) {
    rest[0][i - whole] = mature[i];
    rest[1][i - whole] = x[i];
  }
  const F last = where_counted(load(rest[0]), load(rest[1]));
  F maxima = last;
  for (Index i = 0; i < whole; i += lanes) maxima = max(where_counted(load(mature + i), load(x + i)), maxima);
  *maximum = largest(maxima);
  // A finite stand-in for -inf, so that differences from it are -inf, not NaN.
  const F base = max(set(*maximum), set(std::numeric_limits<float>::lowest()));
  double total = static_cast<double>(sum(exp(last - base)));
  for (Index i = 0; i < whole; i += 8 * lanes) {
    F run = set(0.0f);
    for (Index j = i; j < i + 8 * lanes && j < whole; j += lanes)
      run = run + exp(where_counted(load(mature + j), load(x + j)) - base);
    total += static_cast<double>(sum(run));
  }
  *sum_of = total;
}

/// With a, b two logarithms, h = |a - b| / 2 and m the mean of e^a and e^b: what m is to be multiplied by to give an
/// entry's part of KL(m || .), ln cosh h, or of the Jensen-Shannon divergence, h tanh h - ln cosh h. Both are sums of
/// terms >= 0 in this form: nothing cancels, and a layer close to the mature one has a relative error as small as any.
[[gnu::always_inline]] inline F divergence_factor(F h, bool jensen_shannon) {
  const F border = set(0.75f);
  // Series in h^2 below the border; relative errors 9e-9 and 1.3e-8, weighted least squares towards equal ripples.
  const F bounded = min(h, border);
  const F z = bounded * bounded;
  F below;
  if (jensen_shannon) {
    below = set(0x1.9ecf1p-10f);
    below = multiply_add(below, z, set(-0x1.c86d44p-8f));
    below = multiply_add(below, z, set(0x1.3bb60cp-6f));
    below = multiply_add(below, z, set(-0x1.823434p-5f));
    below = multiply_add(below, z, set(0x1.c714eap-4f));
    below = multiply_add(below, z, set(-0x1.ffffdep-3f));
  } else {
    below = set(-0x1.c28aa8p-12f);
    below = multiply_add(below, z, set(0x1.07fca4p-9f));
    below = multiply_add(below, z, set(-0x1.b70054p-8f));
    below = multiply_add(below, z, set(0x1.6bfd7ep-6f));
    below = multiply_add(below, z, set(-0x1.55550ap-4f));
  }
  below = multiply_add(below, z, set(0.5f)) * z;
  // Above it e^(-2 h) is at most 0.223, where ln(1 + u) takes a short polynomial, relative error 1e-8.
  const F u = exp(set(-2.0f) * h);
  F log_1_u = set(-0x1.91087cp-4f);
  log_1_u = multiply_add(log_1_u, u, set(0x1.7a3484p-3f));
  log_1_u = multiply_add(log_1_u, u, set(-0x1.fc92e8p-3f));
  log_1_u = multiply_add(log_1_u, u, set(0x1.553f28p-2f));
  log_1_u = multiply_add(log_1_u, u, set(-0x1.ffff96p-2f));
  log_1_u = multiply_add(log_1_u, u, set(1.0f)) * u;
  const F log_2 = set(0x1.62e43p-1f);
  const F above = jensen_shannon ? (log_2 - log_1_u) - set(2.0f) * h * u / (set(1.0f) + u) : (h - log_2) + log_1_u;
  return zero_where_less(h, border, above) + (below - zero_where_less(h, border, below));
}

/// One vector's part of the sum of m times its factor, 0 where the mature layer does not count. `p` is e^a.
[[gnu::always_inline]] inline F divergence_terms(F mature, F p, F x, F maximum, F inverse_sum, F offset, F offset_rest,
                                                 bool jensen_shannon) {
  const F q = exp(where_counted(mature, x) - maximum) * inverse_sum;
  // x - mature exactly, as a sum of two: what rounding takes is not small beside the difference of similar layers.
  const F rounded = x - mature;
  const F back = rounded - x;
  const F rest = (x - (rounded - back)) - (mature + back);
  const F difference = (rounded - offset) + (rest - offset_rest);
  const F h = max(difference, set(0.0f) - difference) * set(0.5f);
  return zero_where_less(mature, set(std::numeric_limits<float>::lowest()),
                         (p + q) * divergence_factor(h, jensen_shannon));
}

[[gnu::always_inline]] inline void divergences_of_block(const float* mature, const float* layers, Index stride,
                                                        Index count, Index n, const DivergenceRow* rows, double* sums,
                                                        bool jensen_shannon) {
  float p[divergence_block];
  float rest[2][lanes];
  for (Index j = 0; j < lanes; ++j) {
    rest[0][j] = -std::numeric_limits<float>::infinity();
    rest[1][j] = 0;
  }
  const Index whole = n / lanes * lanes;
  for (Index i = whole; i < n; ++i) rest[0][i - whole] = mature[i];
  const F lowest = set(std::numeric_limits<float>::lowest());
  F counted = zero_where_less(load(rest[0]), lowest, set(1.0f));
  for (Index i = 0; i < whole; i += lanes) {
    const F x = load(mature + i);
    store(p + i, exp(where_counted(x, x) - set(rows[0].maximum)) * set(rows[0].inverse_sum));
    counted = counted + zero_where_less(x, lowest, set(1.0f));
  }
  const F last = load(rest[0]);
  const F last_p = exp(where_counted(last, last) - set(rows[0].maximum)) * set(rows[0].inverse_sum);
  for (Index layer = 0; layer < count; ++layer) {
    const float* x = layers + layer * stride;
    const F maximum = set(rows[layer + 1].maximum);
    const F inverse_sum = set(rows[layer + 1].inverse_sum);
    const F offset = set(rows[layer + 1].offset);
    const F offset_rest = set(rows[layer + 1].offset_rest);
    for (Index i = whole; i < n; ++i) rest[1][i - whole] = x[i];
    double total = static_cast<double>(
        sum(divergence_terms(last, last_p, load(rest[1]), maximum, inverse_sum, offset, offset_rest, jensen_shannon)));
    for (Index i = 0; i < whole; i += 8 * lanes) {
      F run = set(0.0f);
      for (Index j = i; j < i + 8 * lanes && j < whole; j += lanes)
        run = run + divergence_terms(load(mature + j), load(p + j), load(x + j), maximum, inverse_sum, offset,
                                     offset_rest, jensen_shannon);
      total += static_cast<double>(sum(run));
    }
    sums[layer] = total;
  }
  sums[count] = static_cast<double>(sum(counted));
}

/// sums[layer] of (e^a + e^b) times the factor of KL(m || .), and in sums[count] the number of entries that count.
inline void reference_divergences(const float* mature, const float* layers, Index stride, Index count, Index n,
                                  const DivergenceRow* rows, double* sums) {
  divergences_of_block(mature, layers, stride, count, n, rows, sums, false);
}

/// The same with the factor of the Jensen-Shannon divergence.
inline void jensen_shannon_divergences(const float* mature, const float* layers, Index stride, Index count, Index n,
                                       const DivergenceRow* rows, double* sums) {
  divergences_of_block(mature, layers, stride, count, n, rows, sums, true);
}
