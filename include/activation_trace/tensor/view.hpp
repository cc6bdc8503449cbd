// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cassert>
#include <concepts>
#include <limits>
#include <span>
#include <string>
#include <type_traits>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/tensor/space.hpp"

namespace activation_trace {
inline namespace v0 {

namespace detail {
template <class Range, class T>
concept SpannableAs = std::constructible_from<std::span<T>, Range &&>;
}  // namespace detail

/// A strided, non-owning view of `Rank` dimensions over memory in `Space`.
///
/// Row-major unless strides are given; extents and strides count elements. Trivially copyable: pass by value.
/// Slices are checked always and throw ShapeError; element access is checked by assert only. A view of one
/// space does not convert to a view of another, and elements of memory that the host cannot reach cannot be
/// named on the host: both are compile errors.
template <class T, int Rank, class Space = Host>
class TensorView {
  static_assert(Rank >= 1, "a view has at least one dimension");

 public:
  using element_type = T;                                             ///< const where the elements may not be written
  using value_type = std::remove_cv_t<T>;                             ///< T without const
  using space = Space;                                                ///< where the memory is: Host or Cuda
  using Extents = std::array<Index, static_cast<std::size_t>(Rank)>;  ///< a number per dimension

  constexpr TensorView() noexcept = default;

  /// A contiguous row-major view. Throws ShapeError for a negative extent or a null pointer to a non-empty view.
  constexpr TensorView(T* data, const Extents& extents) : TensorView(data, extents, row_major(extents)) {}

  /// A view with given strides, in elements; a stride may be 0 (broadcast) or negative.
  constexpr TensorView(T* data, const Extents& extents, const Extents& strides)
      : data_(data), extents_(extents), strides_(strides) {
    Index count = 1;
    for (const Index e : extents) {
      if (e < 0) throw ShapeError("TensorView: extent must not be negative, got " + std::to_string(e));
      if (e != 0 && count > std::numeric_limits<Index>::max() / e)
        throw ShapeError("TensorView: number of elements overflows");
      count *= e;
    }
    if (data == nullptr && count != 0) throw ShapeError("TensorView: null data with non-zero extents");
  }

  /// Any contiguous host range with data() and size(), such as std::vector, is a vector view.
  template <detail::SpannableAs<T> Range>
  constexpr TensorView(Range&& range)  // NOLINT(google-explicit-constructor,bugprone-forwarding-reference-overload)
      requires(Rank == 1 && Space::host_accessible && !std::same_as<std::remove_cvref_t<Range>, TensorView>)
      : TensorView(std::span<T>(std::forward<Range>(range))) {}

  /// All of a span.
  constexpr TensorView(std::span<T> span)  // NOLINT(google-explicit-constructor)
      requires(Rank == 1 && Space::host_accessible)
      : TensorView(span.data(), Extents{static_cast<Index>(span.size())}) {}

  /// Adding const is implicit.
  // NOLINTBEGIN(google-explicit-constructor)
  template <class U>
  requires(std::same_as<const U, T> &&
           !std::same_as<U, T>) constexpr TensorView(const TensorView<U, Rank, Space>& other) noexcept
      : data_(other.data()), extents_(other.extents()), strides_(other.strides()) {}
  // NOLINTEND(google-explicit-constructor)

  /// Memory does not change its space: copy explicitly.
  template <class U, class OtherSpace>
  requires(!std::same_as<OtherSpace, Space>) TensorView(const TensorView<U, Rank, OtherSpace>&)
  = delete;

  /// Dimensions.
  static constexpr int rank() noexcept { return Rank; }
  /// The element at index 0 of every dimension, of `Space`; may be null where there is none.
  [[nodiscard]] constexpr T* data() const noexcept { return data_; }
  /// Elements in each dimension.
  [[nodiscard]] constexpr const Extents& extents() const noexcept { return extents_; }
  /// The distance, in elements, from one index to the next in each dimension.
  [[nodiscard]] constexpr const Extents& strides() const noexcept { return strides_; }
  /// Elements in dimension `dim`, 0 <= dim < rank().
  [[nodiscard]] constexpr Index extent(int dim) const noexcept { return extents_[at(dim)]; }
  /// The distance, in elements, between neighbours in dimension `dim`.
  [[nodiscard]] constexpr Index stride(int dim) const noexcept { return strides_[at(dim)]; }

  /// Elements of all dimensions together.
  [[nodiscard]] constexpr Index size() const noexcept {
    Index count = 1;
    for (const Index e : extents_) count *= e;
    return count;
  }
  /// Whether there is no element.
  [[nodiscard]] constexpr bool empty() const noexcept { return size() == 0; }

  /// Whether the elements lie in row-major order without gaps.
  [[nodiscard]] constexpr bool contiguous() const noexcept { return empty() || has_strides_of(row_major(extents_)); }

  /// Element at one index per dimension.
  template <std::convertible_to<Index>... Indices>
  requires(sizeof...(Indices) == Rank && Space::host_accessible) constexpr T& operator()(
      Indices... indices) const noexcept {
    const Extents index{static_cast<Index>(indices)...};
    Index offset = 0;
    for (std::size_t d = 0; d < index.size(); ++d) {
      assert(index[d] >= 0 && index[d] < extents_[d]);
      offset += index[d] * strides_[d];
    }
    return data_[offset];
  }

  /// Element `i` of a vector view.
  constexpr T& operator[](Index i) const noexcept requires(Rank == 1 && Space::host_accessible) { return (*this)(i); }

  /// The sub-view at index `i` of the first dimension.
  [[nodiscard]] constexpr TensorView<T, (Rank > 1 ? Rank - 1 : 1), Space> row(Index i) const requires(Rank > 1) {
    check_range(0, i, i + 1);
    typename TensorView<T, Rank - 1, Space>::Extents e{};
    typename TensorView<T, Rank - 1, Space>::Extents s{};
    for (std::size_t d = 0; d + 1 < extents_.size(); ++d) {
      e[d] = extents_[d + 1];
      s[d] = strides_[d + 1];
    }
    return {data_ + i * strides_[0], e, s};
  }

  /// The half-open range [begin, end) of dimension `dim`, all of the others.
  [[nodiscard]] constexpr TensorView slice(int dim, Index begin, Index end) const {
    check_range(dim, begin, end);
    TensorView result = *this;
    if (data_ != nullptr) result.data_ = data_ + begin * strides_[at(dim)];
    result.extents_[at(dim)] = end - begin;
    return result;
  }

  /// The same elements with the dimensions in reverse order.
  [[nodiscard]] constexpr TensorView transposed() const noexcept {
    TensorView result = *this;
    for (std::size_t d = 0; d < extents_.size(); ++d) {
      result.extents_[d] = extents_[extents_.size() - 1 - d];
      result.strides_[d] = strides_[strides_.size() - 1 - d];
    }
    return result;
  }

  /// The elements as a span. Throws ShapeError if they are not contiguous.
  [[nodiscard]] constexpr std::span<T> span() const requires(Space::host_accessible) {
    if (!contiguous()) throw ShapeError("TensorView::span: the view is not contiguous");
    return {data_, static_cast<std::size_t>(size())};
  }

 private:
  static constexpr std::size_t at(int dim) noexcept {
    assert(dim >= 0 && dim < Rank);
    return static_cast<std::size_t>(dim);
  }

  static constexpr Extents row_major(const Extents& extents) noexcept {
    Extents strides{};
    Index step = 1;
    for (std::size_t d = extents.size(); d-- > 0;) {
      strides[d] = step;
      // An overflow here means too many elements, which the constructor refuses before anything is read.
      if (extents[d] > 0 && step <= std::numeric_limits<Index>::max() / extents[d]) step *= extents[d];
    }
    return strides;
  }

  [[nodiscard]] constexpr bool has_strides_of(const Extents& expected) const noexcept {
    for (std::size_t d = 0; d < extents_.size(); ++d)
      if (extents_[d] != 1 && strides_[d] != expected[d]) return false;
    return true;
  }

  constexpr void check_range(int dim, Index begin, Index end) const {
    if (dim < 0 || dim >= Rank)
      throw ShapeError("TensorView: no dimension " + std::to_string(dim) + " in a view of rank " +
                       std::to_string(Rank));
    if (begin < 0 || end < begin || end > extents_[at(dim)])
      throw ShapeError("TensorView: range [" + std::to_string(begin) + ", " + std::to_string(end) +
                       ") does not lie within extent " + std::to_string(extents_[at(dim)]) + " of dimension " +
                       std::to_string(dim));
  }

  T* data_ = nullptr;
  Extents extents_{};
  Extents strides_{};
};

/// A vector [n].
template <class T, class Space = Host>
using VectorView = TensorView<T, 1, Space>;
/// A matrix [rows, cols].
template <class T, class Space = Host>
using MatrixView = TensorView<T, 2, Space>;

/// `span` seen as [rows, cols], row-major. Throws ShapeError unless it holds exactly rows * cols elements.
template <class T>
[[nodiscard]] constexpr MatrixView<T> as_matrix(std::span<T> span, Index rows, Index cols) {
  const MatrixView<T> view(span.data(), {rows, cols});
  if (view.size() != static_cast<Index>(span.size()))
    throw ShapeError("as_matrix: expected " + std::to_string(rows) + " x " + std::to_string(cols) + " elements, got " +
                     std::to_string(span.size()));
  return view;
}

}  // namespace v0
}  // namespace activation_trace
