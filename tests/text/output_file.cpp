// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/text/output_file.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <string>

#include "support/complaint.hpp"
#include "support/file_builders.hpp"

using namespace activation_trace;
namespace fs = std::filesystem;

namespace {

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::ptrdiff_t entries(const test::TemporaryFolder& folder) {
  return std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator());
}

}  // namespace

TEST_CASE("begin empties and follows links, create and append refuse them") {
  const test::TemporaryFolder folder;
  test::write_file(folder / "file", "what was there");
  fs::create_symlink(folder / "file", folder / "link");
  fs::create_symlink(folder / "nowhere", folder / "dangling");
  const auto name = [&](const char* file) { return (folder / file).string(); };

  for (const char* link : {"link", "dangling"}) {
    CHECK(test::complaint([&] { OutputFile::append(name(link)); }) ==
          name(link) + ": is a link, which is not followed here; remove it");
    CHECK(test::complaint([&] { OutputFile::create(name(link), "it"); }) == "it: cannot be written: File exists");
  }
  CHECK(test::complaint([&] { OutputFile::create(name("file"), "it"); }) == "it: cannot be written: File exists");
  CHECK(read(folder / "file") == "what was there");
  CHECK_FALSE(fs::exists(folder / "nowhere"));

  OutputFile::append(name("file")).write(", and more");
  CHECK(read(folder / "file") == "what was there, and more");
  OutputFile::begin(name("link")).write("new");
  CHECK(read(folder / "file") == "new");
  CHECK(test::complaint([&] { OutputFile::begin(folder.path()); }).find("Is a directory") != std::string::npos);
}

TEST_CASE("a write that fails leaves nothing of itself") {
  const test::TemporaryFolder folder;
  OutputFile file = OutputFile::append(folder / "file");
  file.write("line\n");
  file.sync();
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit limit{8, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  const std::string problem = test::complaint([&] { file.write("longer than that\n"); });
  const std::string whole = test::complaint([&] { write_whole_file(folder / "other", "longer than that\n"); });
  setrlimit(RLIMIT_FSIZE, &before);
  CHECK(problem == (folder / "file").string() + ": cannot be written: File too large");
  CHECK(read(folder / "file") == "line\n");
  CHECK(whole == (folder / "other").string() + ": cannot be written: File too large");
  CHECK(entries(folder) == 1);
}

TEST_CASE("a whole file replaces what is there, a link itself, and leaves nothing beside it") {
  const test::TemporaryFolder folder;
  test::write_file(folder / "victim", "not ours");
  fs::create_symlink(folder / "victim", folder / "file");
  fs::create_symlink(folder / "victim", folder / "file.new");  // where the other name once was
  write_whole_file(folder / "file", "first");
  write_whole_file(folder / "file", "second");
  CHECK(read(folder / "file") == "second");
  CHECK_FALSE(fs::is_symlink(folder / "file"));
  CHECK(read(folder / "victim") == "not ours");
  CHECK(entries(folder) == 3);

  fs::create_directory(folder / "folder");
  CHECK(test::complaint([&] {
          write_whole_file(folder / "folder", "x");
        }).starts_with((folder / "folder").string() + ": cannot be written: "));
  CHECK(test::complaint([&] { write_whole_file(folder / "no/file", "x"); }) ==
        (folder / "no/file").string() + ": cannot be written: No such file or directory");
  write_whole_file(folder / std::string(255, 'n'), "the longest name");
  CHECK(entries(folder) == 5);
}
