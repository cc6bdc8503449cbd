// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/text/mapped_file.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <sstream>

#include "support/file_builders.hpp"

using namespace activation_trace;

namespace {

/// What Linux says of the mapping that has this address: "rd mr mw me hg" and the like; empty where it says nothing.
std::string flags_of(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  bool within = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0, end = 0;
    char dash = 0;
    std::istringstream words(line);
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    if (words >> std::hex >> begin >> dash >> end && dash == '-') within = begin <= at && at < end;
    if (within && line.starts_with("VmFlags:")) return line + " ";
  }
  return {};
}

}  // namespace

TEST_CASE("both ways of access give the bytes, and they stay in place when the object moves") {
  const test::TemporaryFolder folder;
  test::write_file(folder / "file", "some bytes");
  for (const FileAccess access : {FileAccess::map, FileAccess::read}) {
    MappedFile file = MappedFile::open(folder / "file", access);
    CHECK(file.access() == access);
    const auto bytes = file.bytes();
    CHECK(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()) == "some bytes");
    const MappedFile moved = std::move(file);
    CHECK(moved.bytes().data() == bytes.data());
    CHECK(file.bytes().empty());  // NOLINT(bugprone-use-after-move): the moved-from state is documented as empty
    MappedFile other = MappedFile::open(folder / "file", FileAccess::map);
    other = MappedFile::open(folder / "file", access);
    CHECK(std::equal(other.bytes().begin(), other.bytes().end(), bytes.begin(), bytes.end()));
  }
}

TEST_CASE("both ways wish for huge pages, and a mapped and a read file are the same bytes") {
  const test::TemporaryFolder folder;
  std::string content(5 << 20, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 31 + i / 4096);
  test::write_file(folder / "file", content);
  const bool known = std::filesystem::exists("/sys/kernel/mm/transparent_hugepage/enabled");
  for (const FileAccess access : {FileAccess::map, FileAccess::read}) {
    const MappedFile file = MappedFile::open(folder / "file", access);
    CHECK(detail::text_of(file.bytes()) == content);
    const std::string flags = flags_of(file.bytes().data() + content.size() / 2);
    if (known && !flags.empty()) CHECK(flags.find(" hg ") != std::string::npos);
  }
}

TEST_CASE("a wish for huge pages that is refused changes nothing") {
  void* const memory = ::mmap(nullptr, 2 * detail::huge_page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  REQUIRE(::munmap(memory, 2 * detail::huge_page) == 0);
  detail::prefer_huge_pages(memory, 2 * detail::huge_page);  // no memory there
  std::byte few[64]{};
  detail::prefer_huge_pages(few, sizeof(few));
  CHECK(std::all_of(std::begin(few), std::end(few), [](std::byte b) { return b == std::byte{0}; }));
}

TEST_CASE("formats/README.md 4, mmap of a file that shrinks: a file that was read does not change any more") {
  const test::TemporaryFolder folder;
  test::write_file(folder / "file", std::string(100000, 'x'));
  const MappedFile file = MappedFile::open(folder / "file", FileAccess::read);
  std::filesystem::resize_file(folder / "file", 1);
  CHECK(std::all_of(file.bytes().begin(), file.bytes().end(), [](std::byte b) { return b == std::byte{'x'}; }));
}

TEST_CASE("what is no readable file is named in one line") {
  const test::TemporaryFolder folder;
  const auto message = [&](const char* name) -> std::string {
    try {
      (void)MappedFile::open(folder / name);
    } catch (const FormatError& error) {
      CHECK(error.file() == (folder / name).string());
      return std::string(error.what()).substr((folder / name).string().size());
    }
    return "no error";
  };
  CHECK(message("missing") == ": No such file or directory");
  CHECK(message(".") == ": is a folder, not a file");
  test::write_file(folder / "empty", "");
  CHECK(message("empty") == ": is empty");
  test::write_file(folder / "pointer",
                   std::string_view("version https://git-lfs.github.com/spec/v1\n"
                                    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
                                    "size 12345\n"));
  CHECK(message("pointer") ==
        ": is a Git LFS pointer, not the file itself: get that by `git lfs pull` where it was cloned");
  test::write_file(folder / "about", "version https://git-lfs.github.com/spec/v1" + std::string(2000, '.'));
  CHECK(message("about") == "no error");  // longer than any pointer
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(message("pipe") == ": is not a regular file");  // and does not wait for a writer
}
