// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/tensor/dtype.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>

using namespace activation_trace;

// The enumerators, which one writes, and the list, which everything is derived from, stand in the same order.
static_assert(dtype_of<float> == DType::f32);
static_assert(dtype_of<Half> == DType::f16);
static_assert(dtype_of<BFloat16> == DType::bf16);
static_assert(dtype_of<Q8_0Block> == DType::q8_0);
static_assert(dtype_of<Q4_0Block> == DType::q4_0);
static_assert(dtype_of<Q4_1Block> == DType::q4_1);
static_assert(dtype_of<Q4_KBlock> == DType::q4_k);
static_assert(dtype_of<Q5_KBlock> == DType::q5_k);
static_assert(dtype_of<Q6_KBlock> == DType::q6_k);
static_assert(dtype_of<Q5_0Block> == DType::q5_0);
static_assert(dtype_of<Q5_1Block> == DType::q5_1);
static_assert(dtype_of<Q2_KBlock> == DType::q2_k);
static_assert(dtype_of<Q3_KBlock> == DType::q3_k);
static_assert(dtype_of<IQ4_NLBlock> == DType::iq4_nl);
static_assert(dtype_of<IQ4_XSBlock> == DType::iq4_xs);
static_assert(StorageType<float> && StorageType<Q6_KBlock>);
static_assert(!StorageType<double> && !StorageType<int> && !StorageType<const float>);

TEST_CASE("every weight type has a name of its own, is found by it, and visits as itself") {
  std::set<std::string> names;
  for (const DType dtype : all_dtypes) {
    CAPTURE(name(dtype));
    CHECK(names.insert(std::string(name(dtype))).second);
    CHECK(find_dtype(name(dtype)) == dtype);
    CHECK(visit_dtype(dtype, []<class T>(std::type_identity<T>) { return dtype_of<T>; }) == dtype);
    visit_dtype(dtype, [&]<class T>(std::type_identity<T>) {
      CHECK(block_bytes(dtype) == static_cast<Index>(sizeof(T)));
      CHECK(block_elements(dtype) == elements_per_unit<T>);
    });
  }
  CHECK(names.size() == WeightTypes::size);
  CHECK(name(DType::f32) == "F32");
  CHECK(name(DType::bf16) == "BF16");
  CHECK(name(DType::q5_k) == "Q5_K");
  CHECK_FALSE(find_dtype("Q4_9").has_value());
  CHECK_FALSE(find_dtype("").has_value());
}

TEST_CASE("README's table names the weight types that there are") {
  std::ifstream readme(ACTIVATION_TRACE_SOURCE_DIR "/README.md");
  std::string line;
  const std::string begin = "| Weights | ";
  while (std::getline(readme, line) && !line.starts_with(begin)) continue;
  REQUIRE(line.starts_with(begin));
  std::istringstream listed(line.substr(begin.size(), line.find(':') - begin.size()));
  std::set<std::string> said;
  for (std::string type; std::getline(listed >> std::ws, type, ',');) CHECK(said.insert(type).second);
  std::set<std::string> known;
  for (const DType dtype : all_dtypes) known.emplace(name(dtype));
  CHECK(said == known);
}

TEST_CASE("a number that is no weight type is refused") {
  for (const DType none : {static_cast<DType>(WeightTypes::size), static_cast<DType>(-1)}) {
    CHECK_THROWS_WITH_AS(visit_dtype(none, [](auto) {}), "DType: not a weight type", ArgumentError);
    CHECK_THROWS_AS((void)block_elements(none), ArgumentError);
    CHECK_THROWS_AS((void)block_bytes(none), ArgumentError);
    CHECK_THROWS_AS((void)name(none), ArgumentError);
  }
}
