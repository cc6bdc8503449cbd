// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Products of the panels of integers.inl with activations of eight bits.
// Of a row of y every term is an integer, exactly, times one float: its bits are those of the order in which the blocks
// follow each other, the same for every width and whatever rows are beside it.

/// Blocks of T from element `begin` of the rows at `w`, `stride` bytes apart, as a panel. As much of the rows behind
/// them is read ahead: a processor's own prefetching does not follow so many rows at once.
template <class T>
inline void pack_integers(const std::byte* w, Index stride, Index begin, Index count, float* panel) {
  PanelRows rows{w + begin / T::elements * static_cast<Index>(sizeof(T)), stride};
  PanelBlock out{panel};
  constexpr auto bytes = lanes * static_cast<Index>(sizeof(T));
  const std::byte* ahead = w + lanes * stride + begin / T::elements * bytes;
  for (Index i = 0; i < count; i += T::elements, ahead += bytes) {
    for (Index line = 0; line < bytes; line += 64) __builtin_prefetch(ahead + line);
    Integers<T>::pack(rows, out);
    rows = rows.at(static_cast<Index>(sizeof(T)));
    out = out.next(T::elements / 32);
  }
}

/// out[i] += a panel of `blocks` times row i < n of x, of which rows are x_stride blocks apart.
template <class Form, Index n>
inline void multiply_integer_tile(const float* panel, Index blocks, const RoundedBlock* x, Index x_stride, float* out) {
  constexpr int halves = Form::has_halves ? 2 : 1;
  constexpr int quads = 8 / halves;
  F sums[n];
#pragma GCC unroll 8
  for (Index i = 0; i < n; ++i) sums[i] = load(out + i * lanes);
  for (Index b = 0; b < blocks; ++b, ++x, panel += PanelBlock::floats) {
#pragma GCC unroll 2
    for (int half = 0; half < halves; ++half) {
      IntegerSum<Form::bits> integers[n];
#pragma GCC unroll 8
      for (Index i = 0; i < n; ++i)
        integers[i].start(-Form::centre * x[i * x_stride].eight.totals[Form::has_halves ? half : 2]);
#pragma GCC unroll 8
      for (int j = 0; j < quads; ++j) {
        const int quad = half * quads + j;
        const I quanta = load_words(reinterpret_cast<const std::byte*>(panel + quad * lanes));
#pragma GCC unroll 8
        for (Index i = 0; i < n; ++i) {
          integers[i].add(quanta, x[i * x_stride].eight.q + 4 * quad);
          if ((j + 1) % IntegerSum<Form::bits>::held == 0 || j + 1 == quads) integers[i].collect();
        }
      }
      const F step = load(panel + (8 + half) * lanes);
#pragma GCC unroll 8
      for (Index i = 0; i < n; ++i)
        sums[i] = multiply_add(to_float(integers[i].total), step * set(x[i * x_stride].eight.scale), sums[i]);
      if constexpr (Form::has_offsets) {
        const F offset = load(panel + (10 + half) * lanes);
#pragma GCC unroll 8
        for (Index i = 0; i < n; ++i)
          sums[i] = multiply_add(offset, set(x[i * x_stride].eight.sums[Form::has_halves ? half : 2]), sums[i]);
      }
    }
  }
#pragma GCC unroll 8
  for (Index i = 0; i < n; ++i) store(out + i * lanes, sums[i]);
}

/// The same of any n rows.
template <class Form, Index tile = integer_rows>
inline void multiply_integers(const float* panel, Index blocks, const RoundedBlock* x, Index x_stride, Index n,
                              float* out) {
  for (; n >= tile; n -= tile, x += tile * x_stride, out += tile * lanes)
    multiply_integer_tile<Form, tile>(panel, blocks, x, x_stride, out);
  if constexpr (tile > 1) multiply_integers<Form, tile / 2>(panel, blocks, x, x_stride, n, out);
}

/// d activations, a multiple of 32, in eight bits.
inline void quantize_activations(const float* x, Index d, RoundedBlock* blocks) {
  for (Index i = 0; i < d; i += 32, x += 32, ++blocks) {
    blocks->eight = {};
    EightBits* out = &blocks->eight;
    F most = max(load(x), set(0.0f) - load(x));
    bool finite = true;
    for (Index j = 0; j < 32; j += lanes) {
      const F v = load(x + j);
      most = max(max(v, set(0.0f) - v), most);
      finite = finite && sum((v - v)) == 0.0f;
    }
    const float largest_of_all = largest(most);
    if (!finite || largest_of_all < least_activation) {
      if (!finite) out->scale = out->sums[0] = out->sums[1] = out->sums[2] = std::numeric_limits<float>::quiet_NaN();
      continue;
    }
    out->scale = largest_of_all / 127.0f;
    store_rounded(x, 127.0f / largest_of_all, out->q);
    for (int half = 0; half < 2; ++half) {
      std::int32_t total = 0;
      for (int j = 0; j < 16; ++j) total += out->q[half * 16 + j];
      out->totals[half] = total;
      out->sums[half] = out->scale * static_cast<float>(total);
    }
    out->totals[2] = out->totals[0] + out->totals[1];
    out->sums[2] = out->scale * static_cast<float>(out->totals[2]);
  }
}

template <class T>
constexpr FastKernels fast_kernels_of() {
  if constexpr (requires { Integers<T>::bits; }) {
    using Form = IntegerForm<Integers<T>::bits, Integers<T>::centre, Integers<T>::has_offsets, Integers<T>::has_halves>;
    return {.lanes = lanes,
            .panel_floats = fast_depth / 32 * PanelBlock::floats,
            .round = quantize_activations,
            .pack = pack_integers<T>,
            .multiply = multiply_integers<Form>};
  } else {
    return {};
  }
}
template <class... T>
constexpr std::array<FastKernels, sizeof...(T)> fast_kernels(TypeList<T...>) {
  return {fast_kernels_of<T>()...};
}

inline constexpr auto fast_table = fast_kernels(WeightTypes{});
