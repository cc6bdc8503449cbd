// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/report/text.hpp"

#include <doctest/doctest.h>

#include <clocale>
#include <cmath>
#include <cwchar>
#include <string>

#include "activation_trace/report/color_scale.hpp"

using namespace activation_trace;

TEST_CASE("Columns on a terminal are those of the C library") {
  CHECK(display_width("ab") == 2);
  CHECK(display_width("\u6f22\u5b57") == 4);
  CHECK(display_width("e\u0301") == 1);
  CHECK(display_width("\U0001f600") == 2);
  if (std::setlocale(LC_CTYPE, "C.UTF-8") == nullptr) return;
  // Both know their Unicode version: they may differ where characters were added or are ambiguous, not by much.
  int different = 0;
  int compared = 0;
  for (char32_t code = 0xa1; code < 0x20000; ++code) {
    std::string text;
    if (code >= 0xd800 && code < 0xe000) continue;
    if (code < 0x800)
      text = {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
    else if (code < 0x10000)
      text = {static_cast<char>(0xe0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3f)),
              static_cast<char>(0x80 | (code & 0x3f))};
    else
      text = {static_cast<char>(0xf0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 0x3f)),
              static_cast<char>(0x80 | (code >> 6 & 0x3f)), static_cast<char>(0x80 | (code & 0x3f))};
    const int wanted = ::wcwidth(static_cast<wchar_t>(code));
    if (wanted < 0 || visible(text) != text) continue;
    ++compared;
    different += display_width(text) != static_cast<std::size_t>(wanted);
  }
  std::setlocale(LC_CTYPE, "C");
  CHECK(compared > 60000);
  CHECK(different < compared / 200);
}

TEST_CASE("Markup is escaped") { CHECK(escape_markup("<a b=\"'&\">") == "&lt;a b=&quot;&#39;&amp;&quot;&gt;"); }

TEST_CASE("Cells have exactly their width") {
  CHECK(printable_cell("ab", 4) == "ab  ");
  CHECK(printable_cell("abcd", 4) == "abcd");
  CHECK(printable_cell("abcde", 4) == "abc\u2026");
  CHECK(printable_cell("\u6f22\u5b57\u6f22", 4) == "\u6f22\u2026 ");
  CHECK(printable_cell("e\u0301e\u0301", 2) == "e\u0301e\u0301");
  CHECK(printable_cell("x", 0).empty());
  CHECK(shortened("ab", 4) == "ab");
  CHECK(shortened("abcde", 4) == "abc\u2026");
  CHECK(printable_cell(" a", 3, Spaces::marked) == "\u2423a ");
  for (std::size_t width = 0; width < 12; ++width)
    for (const char* text : {"", "\u6f22a\u6f22b\u6f22", "\n\n\n\n", "e\u0301\u0301xyz\xff\xfe"})
      CHECK(display_width(printable_cell(text, width)) == width);
}

TEST_CASE("Numbers for people") {
  CHECK(format_number(0.012345678) == "0.01235");
  CHECK(format_number(-0.0) == "0");
  CHECK(format_number(std::nan("")) == "\u2013");
  CHECK(format_number(1234567, 3) == "1.23e+06");
}

TEST_CASE("The colours are viridis, and their lightness rises evenly") {
  CHECK(hex(viridis(0)) == "#440154");
  CHECK(hex(viridis(1)) == "#fde725");
  CHECK(viridis(-3) == viridis(0));
  CHECK(viridis(7) == viridis(1));
  // CIE L* from sRGB, by its definition.
  const auto lightness = [](Rgb c) {
    const auto linear = [](std::uint8_t channel) {
      const double x = channel / 255.0;
      return x <= 0.04045 ? x / 12.92 : std::pow((x + 0.055) / 1.055, 2.4);
    };
    const double y = 0.2126 * linear(c.red) + 0.7152 * linear(c.green) + 0.0722 * linear(c.blue);
    return y > 0.008856 ? 116 * std::cbrt(y) - 16 : 903.3 * y;
  };
  const double low = lightness(viridis(0));
  const double high = lightness(viridis(1));
  for (int i = 1; i <= 100; ++i) {
    CHECK(lightness(viridis(i / 100.0)) > lightness(viridis((i - 1) / 100.0)));
    CHECK(std::abs(lightness(viridis(i / 100.0)) - (low + (high - low) * i / 100)) < 2.5);
  }
  CHECK(is_bright(viridis(1)));
  CHECK_FALSE(is_bright(viridis(0)));
}
