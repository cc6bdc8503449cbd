// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// The matrix product: weights are decoded while they are packed into panels of floats, and an outer-product
// micro-kernel multiplies panels by rows of x. One vector lane is one row of w, so that a tile of the result is
// stored, and a softmax over the rows of x is taken, without any operation across lanes.

constexpr Index panel_width = tile_vectors * lanes;
static_assert(panel_width <= max_panel_width, "callers keep max_panel_width pointers to the rows of a panel");
static_assert(panel_width % transpose_size == 0, "panels are transposed in whole squares");

/// Rows [0, rows) of `source`, elements [begin, end), as panel[k][panel_width]; missing rows are 0.
/// `row_buffer` holds panel_width * pack_depth floats. Rows of floats are read where they lie: copied first, packing
/// took 1.7 times as long.
inline void pack(Decode decode, const std::byte* const* source, Index rows, Index begin, Index end, float* row_buffer,
                 float* panel) {
  const float* floats[panel_width];
  for (Index k = begin; k < end; k += pack_depth) {
    const Index depth = std::min(pack_depth, end - k);
    for (Index r = 0; r < panel_width; ++r) {
      float* row = row_buffer + r * pack_depth;
      floats[r] = row;
      if (r >= rows)
        std::fill(row, row + depth, 0.0f);
      else if (decode == &decode_row<float>)
        floats[r] = reinterpret_cast<const float*>(source[r]) + k;
      else
        decode(source[r], k, depth, row);
    }
    float* out = panel + (k - begin) * panel_width;
    Index c = 0;
    for (; c + transpose_size <= depth; c += transpose_size)
      for (Index r = 0; r < panel_width; r += transpose_size)
        transpose(floats + r, c, out + c * panel_width + r, panel_width);
    for (; c < depth; ++c)
      for (Index r = 0; r < panel_width; ++r)
        out[c * panel_width + r] = load_scalar<float>(reinterpret_cast<const std::byte*>(floats[r] + c));
  }
}

/// Multiply-adds of one sum before it is added to memory. Short chains are more exact: the down projections of SmolLM2
/// sum hundreds of small terms onto a few large ones. Instead of whole panels of 288 to 320, 96 brings entropies of its
/// layer 24 from 63 errors above 1e-4 (worst 2.2e-4) to 7 (1.5e-4) of 983,040, at no measurable cost.
constexpr Index chain = 96;

/// out[r][0, vectors * lanes) = or += sum over k of x[r][k] * panel[k][...]. Each element is one chain of
/// multiply-adds in the order of k, whatever the shape of the tile.
template <Index rows, Index vectors>
[[gnu::always_inline]] inline void tile(const float* x, Index x_stride, const float* panel, Index depth, float* out,
                                        Index out_stride, Into into) {
  F sums[rows][vectors];
#pragma GCC unroll 16
  for (Index r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (Index v = 0; v < vectors; ++v) sums[r][v] = set(0.0f);
  for (Index k = 0; k < depth; ++k, panel += panel_width, ++x) {
    F w[vectors];
#pragma GCC unroll 4
    for (Index v = 0; v < vectors; ++v) w[v] = load(panel + v * lanes);
#pragma GCC unroll 16
    for (Index r = 0; r < rows; ++r) {
      const F broadcast = set(x[r * x_stride]);
#pragma GCC unroll 4
      for (Index v = 0; v < vectors; ++v) sums[r][v] = multiply_add(broadcast, w[v], sums[r][v]);
    }
  }
#pragma GCC unroll 16
  for (Index r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (Index v = 0; v < vectors; ++v) {
      float* p = out + r * out_stride + v * lanes;
      store(p, into == Into::add ? load(p) + sums[r][v] : sums[r][v]);
    }
  }
}

/// As `tile` for any number of rows, full tiles, then the largest that fit; and for any depth, in chains.
template <Index rows, Index vectors>
inline void tiles(const float* x, Index x_stride, Index n, const float* panel, Index depth, float* out,
                  Index out_stride, Into into) {
  for (; n >= rows; n -= rows, x += rows * x_stride, out += rows * out_stride) {
    tile<rows, vectors>(x, x_stride, panel, depth < chain ? depth : chain, out, out_stride, into);
    for (Index k = chain; k < depth; k += chain)
      tile<rows, vectors>(x + k, x_stride, panel + k * panel_width, depth - k < chain ? depth - k : chain, out,
                          out_stride, Into::add);
  }
  if constexpr (rows > 1)
    if (n > 0) tiles<(rows > 4 ? rows / 2 : rows - 1), vectors>(x, x_stride, n, panel, depth, out, out_stride, into);
}

/// out [n, panel_width] (+)= x [n, depth] panel [depth, panel_width].
inline void multiply_panel(const float* x, Index x_stride, Index n, const float* panel, Index depth, float* out,
                           Index out_stride, Into into) {
  tiles<tile_rows, tile_vectors>(x, x_stride, n, panel, depth, out, out_stride, into);
}

/// The same for the first `lanes` columns only: few candidates do not pay for a whole panel.
inline void multiply_narrow_panel(const float* x, Index x_stride, Index n, const float* panel, Index depth, float* out,
                                  Index out_stride, Into into) {
  tiles<8, 1>(x, x_stride, n, panel, depth, out, out_stride, into);
}
