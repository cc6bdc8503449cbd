// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
#include <string>

#include "activation_trace/tensor/dtype.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// How a row of blocks lies in memory: as files have it, or taken apart into planes that kernels of a device load 16
/// bytes at a time (cuda/ops/planes.cuh). Rows of scalars are the same in both.
enum class RowLayout { file, planes };

/// A non-owning [rows, cols] matrix in its stored form, the type known at run time: what a weight of a
/// model file is. Rows are contiguous; the distance between them is free. The data need not be aligned:
/// files do not promise it, so units are read by memcpy or unaligned loads.
template <class Space = Host>
class StoredMatrix {
 public:
  StoredMatrix() noexcept = default;

  /// Throws ShapeError for negative extents, a row that is not a whole number of blocks, or a size that overflows.
  StoredMatrix(DType dtype, const std::byte* data, Index rows, Index cols)
      : StoredMatrix(dtype, data, rows, cols, row_bytes_of(dtype, cols)) {}

  /// With `row_bytes` between the starts of two rows, at least the bytes of one row.
  StoredMatrix(DType dtype, const std::byte* data, Index rows, Index cols, Index row_bytes)
      : dtype_(dtype), data_(data), rows_(rows), cols_(cols), row_bytes_(row_bytes) {
    if (rows < 0) throw ShapeError("StoredMatrix: rows must not be negative, got " + std::to_string(rows));
    if (row_bytes < row_bytes_of(dtype, cols))
      throw ShapeError("StoredMatrix: row_bytes " + std::to_string(row_bytes) + " is less than one row");
    if (rows != 0 && row_bytes > std::numeric_limits<Index>::max() / rows)
      throw ShapeError("StoredMatrix: size in bytes overflows");
    if (data == nullptr && rows != 0 && cols != 0) throw ShapeError("StoredMatrix: null data with non-zero extents");
  }

  /// The same in a layout that the host does not read.
  StoredMatrix(DType dtype, const std::byte* data, Index rows, Index cols, Index row_bytes,
               RowLayout layout) requires(!Space::host_accessible)
      : StoredMatrix(dtype, data, rows, cols, row_bytes) {
    layout_ = layout;
  }

  /// A scalar matrix with contiguous rows. Throws ShapeError if the columns are strided.
  template <StorageType T>
  requires(elements_per_unit<T> == 1)
      StoredMatrix(MatrixView<const T, Space> view)  // NOLINT(google-explicit-constructor): a view is a stored matrix
      : StoredMatrix(dtype_of<T>, reinterpret_cast<const std::byte*>(view.data()), view.extent(0), view.extent(1),
                     checked_row_bytes(view)) {}

  /// The same of elements that could be written.
  template <StorageType T>
  requires(elements_per_unit<T> == 1) StoredMatrix(MatrixView<T, Space> view)  // NOLINT(google-explicit-constructor)
      : StoredMatrix(MatrixView<const T, Space>(view)) {}

  /// The form of the elements; f32 of an empty matrix.
  [[nodiscard]] DType dtype() const noexcept { return dtype_; }
  /// Rows; row_bytes() is their distance.
  [[nodiscard]] Index rows() const noexcept { return rows_; }
  /// Elements of a row, whatever number of blocks they are stored in.
  [[nodiscard]] Index cols() const noexcept { return cols_; }
  /// Bytes between the starts of two rows.
  [[nodiscard]] Index row_bytes() const noexcept { return row_bytes_; }
  /// How a row lies in memory; the file's where the host reads it.
  [[nodiscard]] RowLayout layout() const noexcept { return layout_; }
  /// The first byte of row 0, perhaps unaligned.
  [[nodiscard]] const std::byte* data() const noexcept { return data_; }
  /// The first byte of row `r`, which is not checked.
  [[nodiscard]] const std::byte* row(Index r) const noexcept { return data_ + r * row_bytes_; }

  /// Rows [begin, end). Throws ShapeError if they do not exist.
  [[nodiscard]] StoredMatrix slice(Index begin, Index end) const {
    if (begin < 0 || end < begin || end > rows_)
      throw ShapeError("StoredMatrix: rows [" + std::to_string(begin) + ", " + std::to_string(end) +
                       ") do not lie within " + std::to_string(rows_));
    StoredMatrix result = *this;
    if (data_ != nullptr) result.data_ = row(begin);
    result.rows_ = end - begin;
    return result;
  }

  /// Widens row `r` to float; `out` holds cols() elements. The definition of the stored values.
  void decode_row(Index r, std::span<float> out) const requires(Space::host_accessible) {
    if (r < 0 || r >= rows_)
      throw ShapeError("StoredMatrix: no row " + std::to_string(r) + " of " + std::to_string(rows_));
    if (static_cast<Index>(out.size()) != cols_)
      throw ShapeError("StoredMatrix::decode_row: expected room for " + std::to_string(cols_) + " elements, got " +
                       std::to_string(out.size()));
    visit_dtype(dtype_, [&]<class T>(std::type_identity<T>) {
      const std::byte* unit = row(r);
      for (Index c = 0; c < cols_; c += elements_per_unit<T>, unit += sizeof(T)) {
        T value;
        std::memcpy(&value, unit, sizeof(T));
        if constexpr (QuantizedBlock<T>)
          value.decode(out.data() + c);
        else
          out[static_cast<std::size_t>(c)] = static_cast<float>(value);
      }
    });
  }

  /// Bytes of one row of `cols` elements. Throws ShapeError if that is not a whole number of blocks.
  static Index row_bytes_of(DType dtype, Index cols) {
    const Index elements = block_elements(dtype);
    if (cols < 0 || cols % elements != 0)
      throw ShapeError("StoredMatrix: a row of " + std::to_string(cols) + " elements is not a multiple of " +
                       std::string(name(dtype)) + "'s block of " + std::to_string(elements));
    const Index units = cols / elements;
    if (units > std::numeric_limits<Index>::max() / block_bytes(dtype))
      throw ShapeError("StoredMatrix: row of " + std::to_string(cols) + " elements overflows");
    return units * block_bytes(dtype);
  }

 private:
  template <class T>
  static Index checked_row_bytes(const MatrixView<const T, Space>& view) {
    if (view.extent(1) > 1 && view.stride(1) != 1) throw ShapeError("StoredMatrix: columns must be contiguous");
    if (view.extent(0) > 1 && view.stride(0) < view.extent(1))
      throw ShapeError("StoredMatrix: rows must not overlap or run backwards");
    return (view.extent(0) > 1 ? view.stride(0) : view.extent(1)) * static_cast<Index>(sizeof(T));
  }

  DType dtype_ = DType::f32;
  const std::byte* data_ = nullptr;
  Index rows_ = 0;
  Index cols_ = 0;
  Index row_bytes_ = 0;
  RowLayout layout_ = RowLayout::file;
};

}  // namespace v0
}  // namespace activation_trace
