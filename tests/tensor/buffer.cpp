// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/tensor/buffer.hpp"

#include <doctest/doctest.h>

#include <cstdint>

using namespace activation_trace;

TEST_CASE("a buffer owns zeroed, aligned memory and moves it") {
  Buffer<float> a(7);
  CHECK(reinterpret_cast<std::uintptr_t>(a.data()) % 64 == 0);
  for (Index i = 0; i < 7; ++i) CHECK(a.view()[i] == 0);
  a.view()[3] = 5;
  Buffer<float> b = std::move(a);
  CHECK(b.view()[3] == 5);
  CHECK(a.size() == 0);  // NOLINT(bugprone-use-after-move): the moved-from state is documented as empty
  b = Buffer<float>(2);
  CHECK(b.size() == 2);
  CHECK(b.view()[1] == 0);
}

TEST_CASE("a buffer seen as a matrix is checked") {
  Buffer<int> buffer(6);
  CHECK(buffer.matrix(2, 3).contiguous());
  CHECK_THROWS_AS((void)buffer.matrix(3, 3), ShapeError);
  CHECK_THROWS_AS(Buffer<int>(-1), ShapeError);
  CHECK(Buffer<int>(0).view().empty());
}
