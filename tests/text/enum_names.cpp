// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/text/enum_names.hpp"

#include <doctest/doctest.h>

using namespace activation_trace;

namespace {

enum class Fruit { apple, pear };
enum class Nameless { one };

}  // namespace

template <>
struct activation_trace::EnumNames<Fruit> {
  static constexpr std::pair<Fruit, std::string_view> all[] = {{Fruit::pear, "a pear"}, {Fruit::apple, "an apple"}};
};

static_assert(NamedEnum<Fruit>);
static_assert(!NamedEnum<Nameless>);
static_assert(!NamedEnum<int>);
static_assert(name(Fruit::pear) == "a pear");

TEST_CASE("values of an enumeration have the names that were given them, others none") {
  CHECK(name(Fruit::apple) == "an apple");
  CHECK(name(Fruit::pear) == "a pear");
  CHECK(name(static_cast<Fruit>(7)) == "?");
}
