// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// A few rows of x times rows of w, of any type, with 512-bit vectors. Up to nine rows of x meet two rows of w that are
// widened in registers: two sums for each, and a vector of x is loaded once for both. Of more rows of x, and of rows of
// w with gaps, which are attention's keys, a few rows of w become floats in the first-level cache, once for all rows of
// x, and a register tile multiplies them by a group of these. One row of x takes one row of w after another. A product
// of two rows is summed in the same order, whatever tile it is in: vectors of 16 along a stretch of dot_depth, then
// across the vector, then stretch by stretch.

constexpr Index dot_depth = 768;            // elements: eight rows of them are 24 KiB
constexpr Index dot_group = 6;              // rows of x by four of w: 24 sums, with w and x 29 of 32 registers
constexpr Index dot_ahead = 2048;           // bytes: the processor's own prefetching stops at a page and starts late
constexpr Index dot_rows_ahead = 16;        // of attention's keys, of which a row is a part
constexpr Index dot_shared = 9;             // rows of x at most by two of w: 18 sums; DoLa has nine
constexpr Index dot_shared_ahead = 8192;    // bytes: two rows of w take less time than memory
constexpr Index dot_shared_chunk = 131072;  // bytes of w, for whose later stretches it lies in the second-level cache

/// Bytes [at, at + bytes) on their way to the second-level cache, from which the processor brings them nearer by
/// itself: more of them can be on the way than to the first.
[[gnu::always_inline]] inline void fetch(const std::byte* at, Index bytes) {
  for (Index line = 0; line < bytes; line += 64) _mm_prefetch(reinterpret_cast<const char*>(at + line), _MM_HINT_T1);
}

/// sums[i][r] += vectors at k of rows of x and w, as many elements as `mask` has.
template <Index n, Index m>
[[gnu::always_inline]] inline void add_products(__mmask16 mask, const float* const (&w)[m], const float* x,
                                                Index x_stride, Index k, F (&sums)[n][m]) {
  F v[m];
#pragma GCC unroll 8
  for (Index r = 0; r < m; ++r) v[r] = _mm512_maskz_loadu_ps(mask, w[r] + k);
#pragma GCC unroll 6
  for (Index i = 0; i < n; ++i) {
    const F x_i = _mm512_maskz_loadu_ps(mask, x + i * x_stride + k);
#pragma GCC unroll 8
    for (Index r = 0; r < m; ++r) sums[i][r] = multiply_add(v[r], x_i, sums[i][r]);
  }
}

/// The sums of four vectors.
[[gnu::always_inline]] inline __m128 sums_of(const F* v) {
  const F ab = _mm512_add_ps(_mm512_maskz_unpacklo_ps(all, v[0], v[1]), _mm512_maskz_unpackhi_ps(all, v[0], v[1]));
  const F cd = _mm512_add_ps(_mm512_maskz_unpacklo_ps(all, v[2], v[3]), _mm512_maskz_unpackhi_ps(all, v[2], v[3]));
  const F abcd = _mm512_add_ps(_mm512_maskz_shuffle_ps(all, ab, cd, 0x44), _mm512_maskz_shuffle_ps(all, ab, cd, 0xee));
  const __m256 half =
      _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xff, abcd, 0), _mm512_maskz_extractf32x8_ps(0xff, abcd, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/// y[r] = or += the sum of sums[r], r < count.
template <Index m>
[[gnu::always_inline]] inline void store_sums(const F* sums, Index count, float* y, Into into) {
#pragma GCC unroll 2
  for (Index r = 0; r < m; r += 4) {
    const auto stored = static_cast<__mmask8>(((1u << count) - 1) >> r);
    __m128 total = sums_of(sums + r);
    if (into == Into::add) total = _mm_add_ps(_mm_maskz_loadu_ps(stored, y + r), total);
    _mm_mask_storeu_ps(y + r, stored, total);
  }
}

/// y[i][r] = or += row r of w times row i < n of x, r < count.
template <Index n, Index m>
inline void dot_tile(const float* const (&w)[m], Index count, Index depth, const float* x, Index x_stride, float* y,
                     Index y_stride, Into into) {
  F sums[n][m];
#pragma GCC unroll 6
  for (Index i = 0; i < n; ++i)
#pragma GCC unroll 8
    for (Index r = 0; r < m; ++r) sums[i][r] = set(0.0f);
  Index k = 0;
  for (; k + lanes <= depth; k += lanes) add_products(all, w, x, x_stride, k, sums);
  if (k < depth) add_products(static_cast<__mmask16>((1u << (depth - k)) - 1), w, x, x_stride, k, sums);
#pragma GCC unroll 6
  for (Index i = 0; i < n; ++i, y += y_stride) store_sums<m>(sums[i], count, y, into);
}

/// The same for any n <= dot_group but one.
template <Index m, Index n = dot_group>
inline void dot_tile_of(Index rows, const float* const (&w)[m], Index count, Index depth, const float* x,
                        Index x_stride, float* y, Index y_stride, Into into) {
  if (rows == n) return dot_tile<n>(w, count, depth, x, x_stride, y, y_stride, into);
  if constexpr (n > 2) dot_tile_of<m, n - 1>(rows, w, count, depth, x, x_stride, y, y_stride, into);
}

/// y[i][r] = row r of w times row i < n of x, four rows of w at a time, of which `used` bytes of `row_bytes` are
/// elements: all of a matrix of weights, a part of attention's keys. `decode` is null where w is floats.
inline void dot_decoded_rows(Decode decode, const std::byte* w, Index row_bytes, Index used, Index rows, Index cols,
                             const float* x, Index x_stride, Index n, float* y, Index y_stride) {
  constexpr Index m = 4;
  alignas(64) float decoded[m * dot_depth];
  const Index groups = (n + dot_group - 1) / dot_group;
  for (Index r = 0; r < rows; r += m, w += m * row_bytes, y += m) {
    const Index count = std::min(m, rows - r);
    for (Index k = 0; k < cols; k += dot_depth) {
      const Index depth = std::min(dot_depth, cols - k);
      const Index piece = used * depth / cols;
      const float* floats[m];
      for (Index j = 0; j < m; ++j) {
        const std::byte* row = w + std::min(j, count - 1) * row_bytes;  // those that are missing are the last once more
        if (used == row_bytes)  // two groups of rows ahead, in the order of memory
          fetch(w + m * (2 * row_bytes + used * k / cols) + j * piece, piece);
        else  // a few lines at a time: where only the caller fetched, keys came at 0.63 of the speed
          fetch(row + dot_rows_ahead * row_bytes + used * k / cols, piece);
        if (decode == nullptr) {
          floats[j] = reinterpret_cast<const float*>(row) + k;
        } else {
          if (j < count) decode(row, k, depth, decoded + j * dot_depth);
          floats[j] = decoded + std::min(j, count - 1) * dot_depth;
        }
      }
      for (Index g = 0, i = 0; g < groups; ++g) {  // of equal size: eight rows are four and four
        const Index size = (n - i + groups - g - 1) / (groups - g);
        dot_tile_of<m>(size, floats, count, depth, x + i * x_stride + k, x_stride, y + i * y_stride, y_stride,
                       k == 0 ? Into::set : Into::add);
        i += size;
      }
    }
  }
}

/// sums[j] += the products of a run of row j of w, at `at[j]`, with x: a part of each row in turns.
template <class T, Index m>
[[gnu::always_inline]] inline void add_run(const std::byte* const (&at)[m], Index parts, const float* x, F (&sums)[m]) {
  constexpr std::type_identity<T> type;
  float headers[m][header_size];
#pragma GCC unroll 4
  for (Index j = 0; j < m; ++j) unpack_headers(type, at[j], parts, headers[j]);
  // With headers in memory as in decode(), every part can be compiled for itself: 4 to 14 % faster than halves in a
  // loop.
  asm volatile("" ::: "memory");
#pragma GCC unroll 2
  for (Index half = 0; half < 2; ++half) {
#pragma GCC unroll 4
    for (int quarter = 0; quarter < 4; ++quarter) {
      const Index part = 4 * half + quarter;
      if (part >= parts) break;
#pragma GCC unroll 4
      for (Index j = 0; j < m; ++j) {
        F v[part_elements / lanes];
        decode_part(type, headers[j], at[j], half, quarter, Vectors{v});
#pragma GCC unroll 2
        for (Index k = 0; k < part_elements / lanes; ++k)
          sums[j] = multiply_add(v[k], load(x + part * part_elements + k * lanes), sums[j]);
      }
    }
  }
}

/// Rows of w that one row of x meets in turns, because additions of one wait for each other. Those of scalars wait for
/// memory; of Q8_0 four in turns were no faster from the cache and read memory at 0.75 of the speed.
template <class T>
constexpr Index rows_in_turns = !QuantizedBlock<T>             ? 1
                                : std::is_same_v<T, Q8_0Block> ? 2
                                                               : 4;

/// Bytes [at, at + bytes) on their way to the first-level cache; returns where the next line to fetch begins. For one
/// row of x that is better than the second level: on Zen 4 Q8_0 took 0.81 to 0.92 of the time.
[[gnu::always_inline]] inline const std::byte* fetch_on(const std::byte* at, Index bytes) {
  for (const std::byte* const end = at + bytes; at < end; at += 64)
    _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T0);
  return at;
}

/// sums[j] = elements [begin, end) of row j of w, at most dot_depth, times x: one chain of vectors each. As many bytes
/// are fetched from `ahead` on.
template <class T, Index m>
[[gnu::always_inline]] inline void dot_stretch(const std::byte* const (&rows)[m], Index begin, Index end,
                                               const float* x, const std::byte*& ahead, F (&sums)[m]) {
  constexpr auto size = static_cast<Index>(sizeof(T));
  const std::byte* at[m];
#pragma GCC unroll 4
  for (Index j = 0; j < m; ++j) {
    at[j] = rows[j] + begin / elements_per_unit<T> * size;
    sums[j] = set(0.0f);
  }
  if constexpr (QuantizedBlock<T>) {
    for (Index k = begin; k < end; k += run_elements) {
      const Index parts = std::min(run_parts, (end - k) / part_elements);
      ahead = fetch_on(ahead, m * (parts * part_elements / T::elements * size));
      add_run<T>(at, parts, x + k, sums);
#pragma GCC unroll 4
      for (Index j = 0; j < m; ++j) at[j] += run_elements / T::elements * size;
    }
  } else {
    static_assert(m == 1);
    ahead = fetch_on(ahead, (end - begin) * size);
    Index k = begin;
    for (; k + lanes <= end; k += lanes, at[0] += lanes * size)
      sums[0] = multiply_add(load_vector<T>(at[0]), load(x + k), sums[0]);
    if (k < end) {
      float last[lanes] = {};
      decode<T>(at[0], end - k, last);
      const auto mask = static_cast<__mmask16>((1u << (end - k)) - 1);
      sums[0] = multiply_add(load(last), _mm512_maskz_loadu_ps(mask, x + k), sums[0]);
    }
  }
}

/// y = rows of w times one row of x: every product and sum is dot_tile's, but w is widened in registers, and memory is
/// fetched in its order, whatever the turns: that is how a processor reads it fastest. On Zen 4, rows that were each
/// fetched for themselves took 1.5 times as long for F16 with 576 columns and 2.3 times with 1536, and 1.03 to 1.1
/// times for Q4_1, which waits for its widening. Q8_0 row after row took 1.10 to 1.18 times as long as two rows in
/// turns: each row is one chain of additions.
template <class T>
inline void dot_one_row(const std::byte* w, Index row_bytes, Index used, Index rows, Index cols, const float* x,
                        float* y) {
  constexpr Index m = 4;  // sums that are added across lanes together
  constexpr Index turns = rows_in_turns<T>;
  for (Index r = 0; r < rows; r += m, w += m * row_bytes, y += m) {
    const Index count = std::min(m, rows - r);
    F sums[m] = {set(0.0f), set(0.0f), set(0.0f), set(0.0f)};
#pragma GCC unroll 4
    for (Index j = 0; j < m; j += turns) {
      if (j >= count) break;
      const std::byte* at[turns];
      for (Index i = 0; i < turns; ++i)  // those that are missing are the last once more
        at[i] = w + std::min(j + i, count - 1) * row_bytes;
      const std::byte* ahead = at[turns - 1] + (used == row_bytes ? dot_ahead : 0);  // who has gaps fetches himself
      F part[turns];
      Index begin = 0;
      for (; cols - begin > dot_depth; begin += dot_depth) {
        dot_stretch<T>(at, begin, begin + dot_depth, x, ahead, part);
        F four[m];
#pragma GCC unroll 4
        for (Index i = 0; i < m; ++i) four[i] = part[i % turns];
        store_sums<m>(four, std::min(turns, count - j), y + j, begin == 0 ? Into::set : Into::add);
      }
      dot_stretch<T>(at, begin, cols, x, ahead, part);
#pragma GCC unroll 4
      for (Index i = 0; i < turns; ++i) sums[j + i] = part[i];
    }
    store_sums<m>(sums, count, y, cols <= dot_depth ? Into::set : Into::add);
  }
}

/// sums[j][i] += vectors of two rows of w times those of row i of x, of which vector k is vector k n + i at `x`.
template <Index n, Index vectors>
[[gnu::always_inline]] inline void add_shared(const F (&w)[2][vectors], const float* x, F (&sums)[2][n]) {
#pragma GCC unroll 2
  for (Index k = 0; k < vectors; ++k)
#pragma GCC unroll 9
    for (Index i = 0; i < n; ++i) {
      F x_i = load(x + (k * n + i) * lanes);
      asm("" : "+v"(x_i));  // GCC would load it for each row of w, and loads are as scarce as multiply-adds
#pragma GCC unroll 2
      for (Index j = 0; j < 2; ++j) sums[j][i] = multiply_add(w[j][k], x_i, sums[j][i]);
    }
}

/// The same for `count` elements, at most a run, of rows of w at `at[j]`, with x padded by zeros to whole parts.
template <class T, Index n>
[[gnu::always_inline]] inline void add_shared_run(const std::byte* const (&at)[2], Index count, const float* x,
                                                  F (&sums)[2][n]) {
  constexpr Index vectors = part_elements / lanes;
  F w[2][vectors];
  if constexpr (QuantizedBlock<T>) {
    constexpr std::type_identity<T> type;
    const Index parts = count / part_elements;
    float headers[2][header_size];
#pragma GCC unroll 2
    for (Index j = 0; j < 2; ++j) unpack_headers(type, at[j], parts, headers[j]);
    const auto add_part = [&](Index half, int quarter) __attribute__((always_inline)) {
#pragma GCC unroll 2
      for (Index j = 0; j < 2; ++j) decode_part(type, headers[j], at[j], half, quarter, Vectors{w[j]});
      add_shared(w, x + (4 * half + quarter) * n * part_elements, sums);
    };
    if constexpr (ShortBlock<T>) {
      for (Index part = 0; part < parts; ++part) add_part(part / 4, static_cast<int>(part % 4));
    } else {
      for (Index half = 0; half < 2; ++half)
#pragma GCC unroll 4
        for (int quarter = 0; quarter < 4; ++quarter) add_part(half, quarter);
    }
  } else {
    constexpr auto size = static_cast<Index>(sizeof(T));
    Index k = 0;
    for (; k + part_elements <= count; k += part_elements) {
#pragma GCC unroll 2
      for (Index j = 0; j < 2; ++j)
#pragma GCC unroll 2
        for (Index c = 0; c < vectors; ++c) w[j][c] = load_vector<T>(at[j] + (k + c * lanes) * size);
      add_shared(w, x + k * n, sums);
    }
    if (k == count) return;
#pragma GCC unroll 2
    for (Index j = 0; j < 2; ++j) {
      float last[part_elements] = {};
      decode<T>(at[j] + k * size, count - k, last);
#pragma GCC unroll 2
      for (Index c = 0; c < vectors; ++c) w[j][c] = load(last + c * lanes);
    }
    add_shared(w, x + k * n, sums);
  }
}

/// y[i][r] = or += the sum of sums[r][i], r < count, of two rows of w.
template <Index n>
[[gnu::always_inline]] inline void store_shared(const F (&sums)[2][n], Index count, float* y, Index y_stride,
                                                Into into) {
  const auto stored = static_cast<__mmask8>((1u << count) - 1);
#pragma GCC unroll 9
  for (Index i = 0; i < n; i += 2) {
    const Index next = std::min(i + 1, n - 1);
    const F four[4] = {sums[0][i], sums[1][i], sums[0][next], sums[1][next]};
    const __m128 both = sums_of(four);
#pragma GCC unroll 2
    for (Index row = i; row <= next; ++row) {
      float* to = y + row * y_stride;
      __m128 total = row == i ? both : _mm_movehl_ps(both, both);
      if (into == Into::add) total = _mm_add_ps(_mm_maskz_loadu_ps(stored, to), total);
      _mm_mask_storeu_ps(to, stored, total);
    }
  }
}

/// y[i] = or += a stretch of rows of w times row i < n of x, which is padded and in turns as above. Of memory behind w,
/// `fetched` bytes are fetched with each run, in its order.
template <class T, Index n>
inline void dot_shared_tiles(const std::byte* w, Index row_bytes, Index rows, Index depth, Index fetched,
                             const float* x, float* y, Index y_stride, Into into) {
  constexpr Index run_bytes = run_elements / elements_per_unit<T> * static_cast<Index>(sizeof(T));
  const std::byte* ahead = w + dot_shared_ahead;
  for (Index r = 0; r < rows; r += 2, w += 2 * row_bytes, y += 2) {
    const Index count = std::min<Index>(2, rows - r);
    F sums[2][n];
#pragma GCC unroll 2
    for (Index j = 0; j < 2; ++j)
#pragma GCC unroll 9
      for (Index i = 0; i < n; ++i) sums[j][i] = set(0.0f);
    const std::byte* at[2] = {w, w + (count - 1) * row_bytes};  // one that is missing is the last once more
    for (Index k = 0; k < depth; k += run_elements, at[0] += run_bytes, at[1] += run_bytes) {
      fetch(ahead, fetched);
      ahead += fetched;
      add_shared_run<T, n>(at, std::min(run_elements, depth - k), x + k * n, sums);
    }
    store_shared<n>(sums, count, y, y_stride, into);
  }
}

/// The same for any count of 2 to n.
template <class T, Index n = dot_shared>
inline void dot_shared_tiles_of(Index count, const std::byte* w, Index row_bytes, Index rows, Index depth,
                                Index fetched, const float* x, float* y, Index y_stride, Into into) {
  if (count == n) return dot_shared_tiles<T, n>(w, row_bytes, rows, depth, fetched, x, y, y_stride, into);
  if constexpr (n > 2) dot_shared_tiles_of<T, n - 1>(count, w, row_bytes, rows, depth, fetched, x, y, y_stride, into);
}

/// Elements [begin, begin + depth) of n rows of x, vectors of all rows in turns, with zeros behind up to a whole part.
inline void share(const float* x, Index x_stride, Index n, Index begin, Index depth, float* shared) {
  const Index whole = (depth + part_elements - 1) / part_elements * part_elements;
  for (Index i = 0; i < n; ++i)
    for (Index k = 0; k < whole; k += lanes) {
      const Index left = std::clamp<Index>(depth - k, 0, lanes);
      const auto mask = static_cast<__mmask16>((1u << left) - 1);
      store(shared + k * n + i * lanes, _mm512_maskz_loadu_ps(mask, x + i * x_stride + begin + k));
    }
}

/// y[i] = rows of w times row i < n of x: every product and sum is dot_tile's. All of a chunk of w is fetched with its
/// first stretch.
template <class T>
inline void dot_shared_rows(const std::byte* w, Index row_bytes, Index rows, Index cols, const float* x, Index x_stride,
                            Index n, float* y, Index y_stride) {
  static_assert(dot_depth % run_elements == 0);
  alignas(64) float shared[dot_shared * dot_depth];
  const Index chunk = cols <= dot_depth ? rows : std::max<Index>(2, dot_shared_chunk / row_bytes / 2 * 2);
  for (Index r = 0; r < rows; r += chunk, w += chunk * row_bytes, y += chunk)
    for (Index k = 0; k < cols; k += dot_depth) {
      const Index depth = std::min(dot_depth, cols - k);
      const Index runs = (depth + run_elements - 1) / run_elements;
      share(x, x_stride, n, k, depth, shared);
      dot_shared_tiles_of<T>(n, w + k / elements_per_unit<T> * static_cast<Index>(sizeof(T)), row_bytes,
                             std::min(chunk, rows - r), depth, k == 0 ? (2 * row_bytes + runs - 1) / runs : 0, shared,
                             y, y_stride, k == 0 ? Into::set : Into::add);
    }
}

template <class T>
inline void dot_rows(const std::byte* w, Index row_bytes, Index rows, Index cols, const float* x, Index x_stride,
                     Index n, float* y, Index y_stride) {
  constexpr Decode decode = std::is_same_v<T, float> ? nullptr : decode_row<T>;
  const Index used = cols / elements_per_unit<T> * static_cast<Index>(sizeof(T));
  if (n == 1) return dot_one_row<T>(w, row_bytes, used, rows, cols, x, y);
  if (n <= dot_shared && 2 * used > row_bytes)
    return dot_shared_rows<T>(w, row_bytes, rows, cols, x, x_stride, n, y, y_stride);
  dot_decoded_rows(decode, w, row_bytes, used, rows, cols, x, x_stride, n, y, y_stride);
}

/// x is used as it is.
template <class T>
inline Index arranged_size(Index) {
  return 0;
}
template <class T>
inline void arrange(const float*, Index, float*) {}
