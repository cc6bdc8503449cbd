// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/model/kv_cache.hpp"

#include <doctest/doctest.h>

using namespace activation_trace;

TEST_CASE("blocks, keys and values have rows of their own") {
  KvCache cache(2, 3, 4);
  float next = 0;
  for (Index block = 0; block < 2; ++block) {
    for (auto rows : {cache.keys(block, 0, 3), cache.values(block, 0, 3)})
      for (Index i = 0; i < 3; ++i)
        for (Index c = 0; c < 4; ++c) rows(i, c) = next++;
  }
  CHECK(cache.keys(0, 1, 2)(0, 0) == 4);
  CHECK(cache.values(0, 0, 1)(0, 0) == 12);
  CHECK(cache.keys(1, 0, 3)(2, 3) == 35);
  CHECK(cache.values(1, 2, 3)(0, 3) == 47);
}

TEST_CASE("a cache holds floats or halves, and is asked for what it holds") {
  KvCache cache(2, 3, 4, DType::f16);
  CHECK(cache.stored() == DType::f16);
  cache.keys<Half>(1, 2, 3)(0, 3) = Half(0.5f);
  CHECK(static_cast<float>(cache.keys<Half>(1, 0, 3)(2, 3)) == 0.5f);
  CHECK(static_cast<float>(cache.values<Half>(1, 0, 3)(2, 3)) == 0.0f);
  CHECK_THROWS_WITH_AS((void)cache.keys(0, 0, 1), "KvCache: keys and values are F16, asked for as F32", StateError);
  CHECK_THROWS_AS((void)KvCache(1, 1, 1).values<Half>(0, 0, 1), StateError);
  CHECK_THROWS_WITH_AS(KvCache(1, 1, 1, DType::bf16), "KvCache: keys and values are F32 or F16, not BF16",
                       ArgumentError);
}

TEST_CASE("the size moves within the capacity only") {
  KvCache cache(1, 5, 2);
  CHECK(cache.size() == 0);
  cache.advance(5);
  CHECK_THROWS_WITH_AS(cache.advance(1), "KvCache: cannot advance by 1 positions from 5 of 5", StateError);
  cache.rewind(2);
  CHECK(cache.size() == 2);
  CHECK_THROWS_WITH_AS(cache.rewind(3), "KvCache: cannot rewind to position 3 of 2", ArgumentError);
  CHECK_THROWS_AS(cache.rewind(-1), ArgumentError);
  CHECK_THROWS_AS(cache.advance(-1), StateError);
  CHECK_THROWS_AS((void)cache.keys(0, 0, 6), ShapeError);
  CHECK_THROWS_AS((void)cache.keys(1, 0, 1), ShapeError);
}

TEST_CASE("impossible extents are refused before memory is asked for") {
  CHECK_THROWS_WITH_AS(KvCache(1, 0, 4), "KvCache: capacity must be positive, got 0", ArgumentError);
  CHECK_THROWS_AS(KvCache(0, 1, 4), ArgumentError);
  CHECK_THROWS_AS(KvCache(1, 1, -4), ArgumentError);
  CHECK_THROWS_AS(KvCache(1 << 20, Index{1} << 40, 1 << 20), ArgumentError);
}
