// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include "activation_trace/error.hpp"
#include "activation_trace/tensor/space.hpp"
#include "activation_trace/tensor/view.hpp"

// C++23's std::mdspan, Kokkos' of the same interface for C++20, and CUDA's cuda::std::mdspan. Templates on the type:
// the header that has it is the caller's to include, and there need be none.

namespace activation_trace {
inline namespace v0 {

/// An mdspan of one dimension or more, with strides, whose elements lie in memory as they are (no accessor that
/// computes them).
template <class M>
concept Mdspan = requires(const M& span) {
  typename M::extents_type;
  typename M::mapping_type;
  requires M::rank()
  >= 1;
  requires M::mapping_type::is_always_strided();
  requires std::same_as<typename M::data_handle_type, typename M::element_type*>;
  span.data_handle();
  requires std::same_as<typename M::reference, typename M::element_type&>;
  span.extent(0);
  span.stride(0);
};

/// The same memory as a view: of Host, or `as_view<Cuda>` where it is a device's, which an mdspan does not say.
template <class Space = Host, Mdspan M>
[[nodiscard]] auto as_view(const M& span) {
  using View = TensorView<typename M::element_type, static_cast<int>(M::rank()), Space>;
  typename View::Extents extents{};
  typename View::Extents strides{};
  for (std::size_t d = 0; d < M::rank(); ++d) {
    extents[d] = static_cast<Index>(span.extent(d));
    strides[d] = static_cast<Index>(span.stride(d));
  }
  return View(span.data_handle(), extents, strides);
}

namespace detail {

[[noreturn]] inline void refuse_mdspan(std::size_t d, const std::string& problem) {
  throw ShapeError("as_mdspan: dimension " + std::to_string(d) + ": " + problem);
}

/// `extents[d]` for an mdspan's Extents, of which some may be part of the type.
template <class Extents>
typename Extents::index_type checked_extent(const auto& extents, std::size_t d) {
  const Index extent = extents[d];
  if (!std::in_range<typename Extents::index_type>(extent))
    refuse_mdspan(d, "its extent " + std::to_string(extent) + " does not fit the mdspan's index type");
  const auto fixed = static_cast<std::size_t>(Extents::static_extent(d));
  if (fixed != static_cast<std::size_t>(-1) && fixed != static_cast<std::size_t>(extent))  // -1: not of the type
    refuse_mdspan(d, "expected " + std::to_string(fixed) + " elements, got " + std::to_string(extent));
  return static_cast<typename Extents::index_type>(extent);
}

/// A stride that std::layout_stride may have: positive, and of elements that do not overlap those of another dimension.
template <class T>
T checked_stride(const auto& extents, const auto& strides, std::size_t d) {
  if (extents[d] <= 1) return 1;  // it leads nowhere
  const Index stride = strides[d];
  if (stride <= 0) refuse_mdspan(d, "an mdspan has positive strides only, got " + std::to_string(stride));
  if (!std::in_range<T>(stride))
    refuse_mdspan(d, "its stride " + std::to_string(stride) + " does not fit the mdspan's index type");
  for (std::size_t o = 0; o < extents.size(); ++o)
    if (o != d && extents[o] > 1 && stride / extents[o] < strides[o] && strides[o] / extents[d] < stride)
      refuse_mdspan(d, "an mdspan's elements do not overlap, and those of dimension " + std::to_string(o) + " would");
  return static_cast<T>(stride);
}

}  // namespace detail

/// The same memory as an mdspan of type M, such as `std::mdspan<float, std::dextents<Index, 2>, std::layout_stride>`.
/// Throws ShapeError where M cannot say what the view is: other static extents, strides that its layout does not have,
/// or, with layout_stride, strides that are not positive or let elements overlap.
template <Mdspan M, class T, int Rank, class Space>
requires(M::rank() == static_cast<std::size_t>(Rank) && std::convertible_to<T (*)[], typename M::element_type (*)[]>)
    [[nodiscard]] M as_mdspan(TensorView<T, Rank, Space> view) {
  using Mapping = typename M::mapping_type;
  using Extents = typename M::extents_type;
  const auto& e = view.extents();
  const auto extents = [&]<std::size_t... D>(std::index_sequence<D...>) {
    return Extents(detail::checked_extent<Extents>(e, D)...);
  }
  (std::make_index_sequence<M::rank()>());
  if constexpr (requires(const Mapping& mapping) { Mapping(mapping.extents(), mapping.strides()); }) {
    // Its own kind of array, which need not be std's.
    std::remove_cvref_t<decltype(std::declval<const Mapping&>().strides())> strides{};
    for (std::size_t d = 0; d < M::rank(); ++d)
      strides[d] = detail::checked_stride<typename M::index_type>(e, view.strides(), d);
    return M(view.data(), Mapping(extents, strides));
  } else {
    const Mapping mapping(extents);
    for (std::size_t d = 0; d < M::rank(); ++d)
      if (!view.empty() && e[d] > 1 && static_cast<Index>(mapping.stride(d)) != view.strides()[d])
        detail::refuse_mdspan(d, "its stride is " + std::to_string(view.strides()[d]) + ", that of the layout " +
                                     std::to_string(mapping.stride(d)));
    return M(view.data(), mapping);
  }
}

}  // namespace v0
}  // namespace activation_trace
