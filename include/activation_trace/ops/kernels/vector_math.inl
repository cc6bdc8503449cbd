// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Elementary functions, and the pieces of ops that are made of them.

/// e^x to 1 ulp or so for -87.3 <= x <= 88.3; NaN stays NaN.
[[gnu::always_inline]] inline F exp_in_range(F x) {
  const F n = round(x * set(0x1.715476p0f));
  // ln 2 in two parts; n times the first is exact.
  const F r = multiply_add(n, set(-0x1.0bfbe8p-15f), multiply_add(n, set(-0x1.62ep-1f), x));
  // (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2, relative error of e^r 4e-9: weighted least squares towards equal ripples.
  F p = set(0x1.6a235p-10f);
  p = multiply_add(p, r, set(0x1.123a6cp-7f));
  p = multiply_add(p, r, set(0x1.5558f4p-5f));
  p = multiply_add(p, r, set(0x1.55549p-3f));
  p = multiply_add(p, r, set(0x1.fffffcp-2f));
  return times_power_of_two(multiply_add(p * r, r, r) + set(1.0f), n);
}

/// The same for any x: 0 below -87.3, where results would be denormal, and constant above 88.3.
[[gnu::always_inline]] inline F exp(F x) {
  // min and max return their second argument if one is NaN.
  return zero_where_less(x, set(-87.3f), exp_in_range(min(set(88.3f), max(set(-87.3f), x))));
}

/// The largest of `old` and a column of `rows` scores, in every lane; NaN is passed over. In four chains: in one, each
/// step waits for the one before.
[[gnu::always_inline]] inline F largest_of_columns(const float* scores, Index rows, F old) {
  F m[4] = {old, old, old, old};
  Index t = 0;
  for (; t + 4 <= rows; t += 4)
#pragma GCC unroll 4
    for (Index j = 0; j < 4; ++j) m[j] = max(load(scores + (t + j) * panel_width), m[j]);
  for (; t < rows; ++t) m[0] = max(load(scores + t * panel_width), m[0]);
  return max(max(m[0], m[1]), max(m[2], m[3]));
}

/// Appends `rows` rows of scores, each `width` columns wide, to the softmax state of every column. `state` is
/// [3][panel_width]: maxima, sums, weighted sums as in SoftmaxState, whose rules for -inf, +inf and NaN hold.
/// Two passes, maximum first: the tile is in the first-level cache, and differences are exact (numerics/README.md 2).
inline void softmax_columns(const float* scores, Index rows, Index width, float* state) {
  const F lowest = set(std::numeric_limits<float>::lowest());
  for (Index c = 0; c < width; c += lanes) {
    const F old = load(state + c);
    const F m = largest_of_columns(scores + c, rows, old);
    const F base = max(m, lowest);  // a finite stand-in for -inf: differences from it are -inf, not NaN
    F l = set(0.0f);
    F a = set(0.0f);
    for (Index t = 0; t < rows; ++t) {
      // Below it e^d is lost beside that of the maximum, which is 1; and it keeps 0 * inf out of the sums.
      const F d = max(set(-87.3f), load(scores + t * panel_width + c) - base);
      const F e = exp_in_range(d);
      l = l + e;
      a = multiply_add(d, e, a);
    }
    const F d = max(set(-256.0f), old - base);  // e^-256 is 0
    const F scale = exp(d);
    const F old_sum = load(state + panel_width + c);
    const F old_weighted = load(state + 2 * panel_width + c);
    store(state + c, m);
    // Where every score is -inf, nothing is added.
    store(state + panel_width + c, multiply_add(scale, old_sum, zero_where_less(m, lowest, l)));
    store(state + 2 * panel_width + c,
          multiply_add(scale, multiply_add(d, old_sum, old_weighted), zero_where_less(m, lowest, a)));
  }
}

/// scores[0, count) become e^(scale * (score - maximum)), the rest up to `padded`, a multiple of lanes, 0.
/// Returns their sum.
inline float exponentiate_row(float* scores, Index count, Index padded, float scale) {
  for (Index i = count; i < padded; ++i) scores[i] = -std::numeric_limits<float>::infinity();
  F maxima = load(scores);
  for (Index i = lanes; i < padded; i += lanes) maxima = max(load(scores + i), maxima);
  const F maximum = set(largest(maxima));
  F total = set(0.0f);
  for (Index i = 0; i < padded; i += lanes) {
    const F e = exp((load(scores + i) - maximum) * set(scale));
    store(scores + i, e);
    total = total + e;
  }
  return sum(total);
}

/// The largest of x[0, n), -inf if there is none; NaN is passed over.
inline float largest_of(const float* x, Index n) {
  F m[4];
  for (Index j = 0; j < 4; ++j) m[j] = set(-std::numeric_limits<float>::infinity());
  Index i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes)
    for (Index j = 0; j < 4; ++j) m[j] = max(load(x + i + j * lanes), m[j]);
  float result = largest(max(max(m[0], m[1]), max(m[2], m[3])));
  for (; i < n; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

/// Sum of e^(x - maximum) over x[0, n): float in runs of 8 vectors, double beyond.
inline double sum_exponentials(const float* x, Index n, float maximum) {
  const F base = set(maximum);
  double total = 0;
  Index i = 0;
  for (; i + 8 * lanes <= n; i += 8 * lanes) {
    F run = set(0.0f);
    for (Index j = 0; j < 8; ++j) run = run + exp(load(x + i + j * lanes) - base);
    total += static_cast<double>(sum(run));
  }
  for (; i < n; ++i) total += static_cast<double>(std::exp(x[i] - maximum));
  return total;
}

constexpr Index values_ahead = 16;  // rows of them, on their way to the second-level cache

/// Columns [0, vectors * lanes) of weighted_sum for `heads` heads. Each is summed in the order of the rows.
template <class T, Index heads, Index vectors>
inline void weighted_columns(const float* weights, Index weight_stride, const T* values, Index stride, Index rows,
                             float* out, Index out_stride, Into into) {
  F sums[heads][vectors];
#pragma GCC unroll 8
  for (Index h = 0; h < heads; ++h)
#pragma GCC unroll 4
    for (Index j = 0; j < vectors; ++j)
      sums[h][j] = into == Into::add ? load(out + h * out_stride + j * lanes) : set(0.0f);
  for (Index r = 0; r < rows; ++r, values += stride) {
    for (Index j = 0; j < vectors * lanes; j += 64 / static_cast<Index>(sizeof(T)))
      __builtin_prefetch(values + values_ahead * stride + j, 0, 2);
#pragma GCC unroll 4
    for (Index j = 0; j < vectors; ++j) {
      const F v = load_vector<T>(reinterpret_cast<const std::byte*>(values + j * lanes));
#pragma GCC unroll 8
      for (Index h = 0; h < heads; ++h) sums[h][j] = multiply_add(set(weights[h * weight_stride + r]), v, sums[h][j]);
    }
  }
#pragma GCC unroll 8
  for (Index h = 0; h < heads; ++h)
#pragma GCC unroll 4
    for (Index j = 0; j < vectors; ++j) store(out + h * out_stride + j * lanes, sums[h][j]);
}

/// The same for fewer columns than lanes, by vectors, too: a compiler may fuse a scalar product and its sum in some
/// rows and not in others.
template <class T, Index heads>
inline void weighted_rest(const float* weights, Index weight_stride, const T* values, Index stride, Index rows,
                          Index cols, float* out, Index out_stride, Into into) {
  F sums[heads];
  float edge[lanes] = {};
#pragma GCC unroll 8
  for (Index h = 0; h < heads; ++h) {
    for (Index c = 0; c < cols; ++c) edge[c] = into == Into::add ? out[h * out_stride + c] : 0.0f;
    sums[h] = load(edge);
  }
  T row[lanes] = {};
  for (Index r = 0; r < rows; ++r, values += stride) {
    for (Index c = 0; c < cols; ++c) row[c] = values[c];
    const F v = load_vector<T>(reinterpret_cast<const std::byte*>(row));
#pragma GCC unroll 8
    for (Index h = 0; h < heads; ++h) sums[h] = multiply_add(set(weights[h * weight_stride + r]), v, sums[h]);
  }
#pragma GCC unroll 8
  for (Index h = 0; h < heads; ++h) {
    store(edge, sums[h]);
    for (Index c = 0; c < cols; ++c) out[h * out_stride + c] = edge[c];
  }
}

/// weighted_sum for `count` heads, at most `heads`.
template <class T, Index heads = sum_heads>
inline void weighted_sum_of(Index count, const float* weights, Index weight_stride, const T* values, Index stride,
                            Index rows, Index cols, float* out, Index out_stride, Into into) {
  if constexpr (heads > 1)
    if (count < heads)
      return weighted_sum_of<T, heads - 1>(count, weights, weight_stride, values, stride, rows, cols, out, out_stride,
                                           into);
  Index c = 0;
  for (; c + 4 * lanes <= cols; c += 4 * lanes)
    weighted_columns<T, heads, 4>(weights, weight_stride, values + c, stride, rows, out + c, out_stride, into);
  for (; c + lanes <= cols; c += lanes)
    weighted_columns<T, heads, 1>(weights, weight_stride, values + c, stride, rows, out + c, out_stride, into);
  if (c < cols)
    weighted_rest<T, heads>(weights, weight_stride, values + c, stride, rows, cols - c, out + c, out_stride, into);
}

/// out[h][c] = or += sum over the rows r of weights[h][r] * values[r][c], floats or halves. A head's bits are those
/// that it has alone.
template <class T>
inline void weighted_sum(const float* weights, Index weight_stride, Index heads, const T* values, Index stride,
                         Index rows, Index cols, float* out, Index out_stride, Into into) {
  const Index groups = (heads + sum_heads - 1) / sum_heads;
  for (Index g = 0, h = 0; g < groups; ++g) {  // of equal size
    const Index count = (heads - h + groups - g - 1) / (groups - g);
    weighted_sum_of<T>(count, weights + h * weight_stride, weight_stride, values, stride, rows, cols,
                       out + h * out_stride, out_stride, into);
    h += count;
  }
}

struct Silu {
  [[gnu::always_inline]] static F of(F g) {
    const F bounded = max(set(-88.3f), g);  // where the result is 0 within 1e-36; -inf would become NaN below
    return bounded / (set(1.0f) + exp(set(0.0f) - bounded));
  }
};

/// g / 2 (1 + tanh(u)) = g / (1 + e^(-2 u)) with u = sqrt(2 / pi) (g + 0.044715 g^3).
struct GeluTanh {
  [[gnu::always_inline]] static F of(F g) {
    const F bounded = max(set(-20.0f), g);  // where the result is 0 within 1e-36, as for silu
    const F twice = set(1.5957691216057308f) * bounded;
    const F u = multiply_add(twice * bounded, set(0.044715f) * bounded, twice);
    return bounded / (set(1.0f) + exp(set(0.0f) - u));
  }
};

/// y = Activation::of(gate) * up.
template <class Activation>
inline void gated_multiply(const float* gate, const float* up, Index n, float* y) {
  Index i = 0;
  for (; i + lanes <= n; i += lanes) store(y + i, Activation::of(load(gate + i)) * load(up + i));
  if (i < n) {
    float rest[2][lanes] = {};
    std::copy(gate + i, gate + n, rest[0]);
    std::copy(up + i, up + n, rest[1]);
    store(rest[0], Activation::of(load(rest[0])) * load(rest[1]));
    std::copy(rest[0], rest[0] + (n - i), y + i);
  }
}

inline void rms_norm(const float* x, const float* weight, Index d, float eps, float* y) {
  F sums[4] = {set(0.0f), set(0.0f), set(0.0f), set(0.0f)};
  Index i = 0;
  for (; i + 4 * lanes <= d; i += 4 * lanes) {
    for (Index j = 0; j < 4; ++j) {
      const F v = load(x + i + j * lanes);
      sums[j] = multiply_add(v, v, sums[j]);
    }
  }
  double squares = static_cast<double>(sum((sums[0] + sums[1]) + (sums[2] + sums[3])));
  for (; i < d; ++i) squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const auto scale = static_cast<float>(1.0 / std::sqrt(squares / static_cast<double>(d) + static_cast<double>(eps)));
  i = 0;
  for (; i + lanes <= d; i += lanes) store(y + i, load(x + i) * set(scale) * load(weight + i));
  for (; i < d; ++i) y[i] = x[i] * scale * weight[i];
}
