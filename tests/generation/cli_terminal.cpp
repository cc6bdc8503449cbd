// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// What a model says and what files are named must not command the terminal.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "cli_fixture.hpp"

using namespace activation_trace;

namespace {

/// What a program prints on a terminal; at most the 4 kB that one holds back.
struct Terminal : test::CliFixture {
  [[nodiscard]] std::string shown(const std::vector<std::string>& arguments) const {
    const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    REQUIRE(master >= 0);
    REQUIRE(grantpt(master) == 0);
    REQUIRE(unlockpt(master) == 0);
    const std::string slave = ptsname(master);
    const int open_too = open(slave.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC);  // or its end would lose what it wrote
    test::Program running(folder.path(), arguments, {"NO_COLOR=1"}, executable, slave);
    CHECK(running.wait().code == 0);
    fcntl(master, F_SETFL, O_NONBLOCK);
    std::string text;
    char piece[4096];
    for (ssize_t n = 0; (n = read(master, piece, sizeof piece)) > 0;) text.append(piece, static_cast<std::size_t>(n));
    close(open_too);
    close(master);
    std::erase(text, '\r');  // the terminal's own, before line ends
    return text;
  }
};

}  // namespace

TEST_CASE_FIXTURE(Terminal, "A terminal is shown the escapes that a model writes, a file gets the bytes") {
  // Token 3 + byte is that byte in this vocabulary.
  const std::vector<std::string> any_mode{"-m", model, "-p", "x", "-n", "3", "-q", "--logit-bias", "30+1000"};
  std::vector<std::string> escapes = any_mode;
  escapes.insert(escapes.begin(), {"--decoding_mode", "baseline"});  // nothing is filtered before the bias
  CHECK(run(escapes).out == "\x1b\x1b\x1b\n");
  CHECK(shown(escapes) == "\\x1b\\x1b\\x1b\n");
  std::vector<std::string> lines = escapes;
  lines.back() = "13+1000";
  CHECK(shown(lines) == "\n\n\n");
  std::vector<std::string> compared = any_mode;
  compared.emplace_back("--compare");
  const std::string table = shown(compared);
  CHECK(table.find('\x1b') == std::string::npos);
  CHECK(table.find("greedy:     \\x1b\\x1b\\x1b\n") != std::string::npos);
  std::vector<std::string> colored = escapes;
  colored.emplace_back("--color=always");
  const std::string text = shown(colored);
  CHECK(text.find("\x1b[48;2;") != std::string::npos);
  CHECK(text.find("\x1b\x1b") == std::string::npos);
  CHECK(text.find("\\x1b") != std::string::npos);
}

TEST_CASE_FIXTURE(Terminal, "Errors show what names hide, in one line of bounded length") {
  fails(run({"-m", (folder / "\x1b]0;\u202e\n\xff.gguf").string(), "-p", "x"}), 1, {"/\\x1b]0;\\u{202e}\\n\\xff.gguf"});
  const Finished result = run({"-m", model, "-p", "x", "--logit-bias", std::string(100000, 'a')});
  CHECK(result.code == 2);
  CHECK(result.err.size() < 2200);
}
