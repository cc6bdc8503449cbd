// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/text/visible.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace activation_trace;

TEST_CASE("Nothing is hidden") {
  CHECK(visible(" a\\n\n\t\r") == " a\\n\\n\\t\\r");
  CHECK(visible(std::string("\0\x1b\x7f", 3)) == "\\x00\\x1b\\x7f");
  CHECK(visible("\xe2\x82|\xff|\xc0\x80") == "\\xe2\\x82|\\xff|\\xc0\\x80");
  CHECK(visible("\u202ex\u200d\ufeff\u2028\uffff") == "\\u{202e}x\\u{200d}\\u{feff}\\u{2028}\\u{ffff}");
  CHECK(visible("\u6f22e\u0301 \U0001f600", Spaces::marked) == "\u6f22e\u0301\u2423\U0001f600");
  for (int lead = 0; lead < 256; ++lead)
    for (const int next : {0x00, 0x41, 0x80, 0xa0, 0xbf, 0xff})
      CHECK(is_valid_utf8(visible(std::string{static_cast<char>(lead), static_cast<char>(next)})));
}

TEST_CASE("Of several lines, line ends, tabs and joiners stay, and nothing else that is hidden") {
  CHECK(visible_lines("a\n\tb\r\n") == "a\n\tb\\r\n");
  CHECK(visible_lines("\x1b]0;owned\x07") == "\\x1b]0;owned\\x07");
  CHECK(visible_lines("\u009b31m\u202e\u00ad") == "\\u{9b}31m\\u{202e}\\u{ad}");
  CHECK(visible_lines("\u0645\u06cc\u200c\u062e\u0648 \U0001f469\u200d\U0001f680") ==
        "\u0645\u06cc\u200c\u062e\u0648 \U0001f469\u200d\U0001f680");
  CHECK(visible_lines("\xff") == "\\xff");
  CHECK(visible_lines(std::string(1, '\0')) == "\\x00");
}

TEST_CASE("In a message: quoted, in one line, at most 80 bytes of it") {
  CHECK(detail::printable("a\nb\x1b") == "'a\\nb\\x1b'");
  CHECK(detail::printable(std::string(80, 'x')) == "'" + std::string(80, 'x') + "'");
  CHECK(detail::printable(std::string(81, 'x')) == "'" + std::string(80, 'x') + "'...");
  // A cut within a character takes it away; bytes that are none are cut anywhere.
  CHECK(detail::printable(std::string(79, 'x') + "\u00e9") == "'" + std::string(79, 'x') + "'...");
  CHECK(detail::printable(std::string(78, 'x') + "\u00e9") == "'" + std::string(78, 'x') + "\u00e9'");
  CHECK(detail::printable(std::string(500, '\x80')).size() == 77 * 4 + 5);
}
