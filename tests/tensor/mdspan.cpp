// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/tensor/mdspan.hpp"

#include <doctest/doctest.h>

#include <array>
#include <numeric>
#include <type_traits>
#include <vector>

// The standard library's own where it has one, otherwise CUDA's, which is the same for older compilers.
#if __has_include(<mdspan>)
#include <mdspan>
#endif
#if defined(__cpp_lib_mdspan)
namespace md = std;
#else
#include <cuda/std/mdspan>
namespace md = cuda::std;
#endif

using namespace activation_trace;

namespace {

std::vector<float> numbers(std::size_t count) {
  std::vector<float> data(count);
  std::iota(data.begin(), data.end(), 0.0f);
  return data;
}

using Strided = md::mdspan<float, md::dextents<Index, 2>, md::layout_stride>;
using Tiny = md::mdspan<float, md::dextents<signed char, 1>>;

template <class View, class M>
concept BecomesMdspan = requires(const View& view) {
  as_mdspan<M>(view);
};

/// An accessor whose elements are computed: no view can be of them.
struct Doubled {
  using offset_policy = Doubled;
  using element_type = const float;
  using reference = float;
  using data_handle_type = const float*;
  constexpr float access(const float* data, std::size_t i) const noexcept { return 2 * data[i]; }
  constexpr const float* offset(const float* data, std::size_t i) const noexcept { return data + i; }
};

}  // namespace

TEST_CASE("a view of an mdspan has its elements, whatever its layout and index type") {
  std::vector<float> data = numbers(24);
  const md::mdspan<float, md::dextents<int, 2>> right(data.data(), 4, 6);
  const md::mdspan<const float, md::extents<unsigned char, 4, 6>, md::layout_left> left(data.data());
  const MatrixView<float> rows = as_view(right);
  const MatrixView<const float> columns = as_view(left);
  for (Index i = 0; i < 4; ++i)
    for (Index j = 0; j < 6; ++j) {
      CHECK(rows(i, j) == static_cast<float>(6 * i + j));
      CHECK(columns(i, j) == static_cast<float>(i + 4 * j));
    }
  as_view(right)(1, 1) = 100;
  CHECK(data[7] == 100);
  const VectorView<float> vector = as_view(md::mdspan<float, md::dextents<std::size_t, 1>>(data.data() + 2, 3));
  CHECK(vector[2] == 4);
  const TensorView<float, 3> cube = as_view(md::mdspan<float, md::extents<int, 2, 3, 4>>(data.data()));
  CHECK(&cube(1, 2, 3) == &data[23]);
}

TEST_CASE("the space of an mdspan is what its user says it is") {
  static_assert(std::is_same_v<decltype(as_view(std::declval<Strided>())), MatrixView<float>>);
  static_assert(std::is_same_v<decltype(as_view<Cuda>(std::declval<Strided>())), MatrixView<float, Cuda>>);
}

TEST_CASE("computed elements, and no dimensions, give no view") {
  static_assert(Mdspan<Strided>);
  static_assert(!Mdspan<md::mdspan<const float, md::dextents<int, 1>, md::layout_right, Doubled>>);
  static_assert(!Mdspan<md::mdspan<float, md::extents<int>>>);
  static_assert(!Mdspan<std::vector<float>>);
}

TEST_CASE("a view as an mdspan: the same elements, by every layout that has its strides") {
  std::vector<float> data = numbers(24);
  const MatrixView<float> view = as_matrix(std::span<float>(data), 4, 6);
  for (const MatrixView<float>& m : {view, view.transposed(), view.slice(1, 2, 5), view.slice(0, 1, 2)}) {
    const auto span = as_mdspan<Strided>(m);
    REQUIRE(span.extent(0) == m.extent(0));
    REQUIRE(span.extent(1) == m.extent(1));
    for (Index i = 0; i < m.extent(0); ++i)
      for (Index j = 0; j < m.extent(1); ++j) CHECK(&span.data_handle()[span.mapping()(i, j)] == &m(i, j));
  }
  using Right = md::mdspan<const float, md::dextents<int, 2>>;
  using Left = md::mdspan<const float, md::dextents<int, 2>, md::layout_left>;
  using Fixed = md::mdspan<float, md::extents<int, 4, md::dynamic_extent>>;
  CHECK(as_mdspan<Right>(view).extent(1) == 6);
  CHECK(as_mdspan<Left>(view.transposed()).extent(1) == 4);
  CHECK(as_mdspan<Fixed>(view).extent(0) == 4);
  CHECK(as_mdspan<Right>(view.slice(0, 2, 2)).extent(0) == 0);
  CHECK(as_view(as_mdspan<Strided>(view.transposed()))(5, 3) == 23);
}

TEST_CASE("what an mdspan cannot be is refused by name") {
  std::vector<float> data = numbers(24);
  const MatrixView<float> view = as_matrix(std::span<float>(data), 4, 6);
  using Right = md::mdspan<float, md::dextents<int, 2>>;
  using Fixed = md::mdspan<float, md::extents<int, 3, 6>>;
  using TinyStrided = md::mdspan<float, md::dextents<signed char, 2>, md::layout_stride>;
  CHECK_THROWS_WITH_AS((void)as_mdspan<Right>(view.slice(1, 0, 5)),
                       "as_mdspan: dimension 0: its stride is 6, that of the layout 5", ShapeError);
  CHECK_THROWS_WITH_AS((void)as_mdspan<Fixed>(view), "as_mdspan: dimension 0: expected 3 elements, got 4", ShapeError);
  const std::vector<float> many(200);
  using ConstTiny = md::mdspan<const float, md::dextents<signed char, 1>>;
  CHECK_THROWS_WITH_AS((void)as_mdspan<ConstTiny>(VectorView<const float>(many)),
                       "as_mdspan: dimension 0: its extent 200 does not fit the mdspan's index type", ShapeError);
  CHECK_THROWS_WITH_AS((void)as_mdspan<TinyStrided>(MatrixView<float>(data.data(), {2, 2}, {200, 1})),
                       "as_mdspan: dimension 0: its stride 200 does not fit the mdspan's index type", ShapeError);
  CHECK_THROWS_WITH_AS((void)as_mdspan<Strided>(MatrixView<float>(data.data(), {4, 6}, {0, 1})),
                       "as_mdspan: dimension 0: an mdspan has positive strides only, got 0", ShapeError);
  CHECK_THROWS_WITH_AS((void)as_mdspan<Strided>(MatrixView<float>(data.data() + 5, {4, 6}, {6, -1})),
                       "as_mdspan: dimension 1: an mdspan has positive strides only, got -1", ShapeError);
  CHECK_THROWS_WITH_AS((void)as_mdspan<Strided>(MatrixView<float>(data.data(), {4, 6}, {5, 1})),
                       "as_mdspan: dimension 0: an mdspan's elements do not overlap, and those of dimension 1 would",
                       ShapeError);
  static_assert(BecomesMdspan<VectorView<float>, Tiny>);
  static_assert(!BecomesMdspan<VectorView<const float>, Tiny>);  // const is not lost
  static_assert(!BecomesMdspan<MatrixView<float>, Tiny>);        // nor a dimension
}
