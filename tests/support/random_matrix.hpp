// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "activation_trace/tensor/stored_matrix.hpp"

namespace activation_trace::test {

inline constexpr float infinity = std::numeric_limits<float>::infinity();

inline std::vector<float> normal_floats(Index count, std::mt19937& random, float deviation = 1.0f, float mean = 0.0f) {
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& v : values) v = normal(random);
  return values;
}

/// Whole numbers in [-2, 2]: dot products of them are exact in float, in any order.
inline std::vector<float> small_integers(Index count, std::mt19937& random) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& v : values) v = static_cast<float>(static_cast<int>(random() % 5) - 2);
  return values;
}

inline MatrixView<const float> matrix(const std::vector<float>& values, Index rows, Index cols) {
  return as_matrix(std::span<const float>(values), rows, cols);
}

/// Oddly: at an odd address, rows of an odd distance. As files have matrices: row after row, aligned.
enum class Placed { oddly, as_in_files };

/// A matrix in any stored form: random bits under scales of either sign that differ from block to block.
class RandomMatrix {
 public:
  RandomMatrix(DType dtype, Index rows, Index cols, std::mt19937& random, Placed placed = Placed::oddly) {
    const Index row_bytes = StoredMatrix<>::row_bytes_of(dtype, cols);
    const Index first = placed == Placed::oddly ? 1 : 0;
    const Index distance = row_bytes + (placed == Placed::oddly ? 3 : 0);
    bytes_.resize(static_cast<std::size_t>(rows * distance + first));
    std::uniform_real_distribution<float> scale(-1.0f, 1.0f);
    std::normal_distribution<float> normal;
    visit_dtype(dtype, [&]<class T>(std::type_identity<T>) {
      for (Index r = 0; r < rows; ++r) {
        for (Index i = 0; i < row_bytes; i += static_cast<Index>(sizeof(T))) {
          std::byte raw[sizeof(T)];
          for (std::byte& b : raw) b = static_cast<std::byte>(random());
          T unit;
          std::memcpy(static_cast<void*>(&unit), raw, sizeof(T));
          if constexpr (!QuantizedBlock<T>)
            unit = T(normal(random));
          else
            unit.d = Half(scale(random) / static_cast<float>(T::elements));
          if constexpr (requires { unit.m; }) unit.m = Half(scale(random));
          if constexpr (requires { unit.dmin; }) unit.dmin = Half(scale(random) / 64.0f);
          std::memcpy(bytes_.data() + first + r * distance + i, &unit, sizeof(T));
        }
      }
    });
    view_ = StoredMatrix(dtype, bytes_.data() + first, rows, cols, distance);
  }

  [[nodiscard]] const StoredMatrix<>& view() const noexcept { return view_; }

 private:
  std::vector<std::byte> bytes_;
  StoredMatrix<> view_;
};

}  // namespace activation_trace::test
