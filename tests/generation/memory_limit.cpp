// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "support/memory_limit.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <limits>
#include <string>
#include <string_view>

#include "support/file_builders.hpp"

using activation_trace::examples::control_group_limit;

namespace {

// A machine's control groups.
struct Groups {
  activation_trace::test::TemporaryFolder folder;

  void limit(const std::string& file, std::string_view content) const {
    std::filesystem::create_directories((folder / file).parent_path());
    activation_trace::test::write_file(folder / file, content);
  }
  [[nodiscard]] double of(std::string_view groups) const {
    activation_trace::test::write_file(folder / "cgroup", groups);
    return control_group_limit(folder / "cgroup", folder.path());
  }
};

constexpr double kNone = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("the memory of control groups: the lowest limit from the group up to the root") {
  const Groups two;  // version 2
  CHECK(two.of("0::/a/b\n") == kNone);
  two.limit("a/b/memory.max", "max\n");
  CHECK(two.of("0::/a/b\n") == kNone);
  two.limit("a/memory.max", "4096\n");
  CHECK(two.of("0::/a/b\n") == 4096);
  CHECK(two.of("0::/a\n") == 4096);
  CHECK(two.of("0::/\n") == kNone);
  two.limit("a/b/memory.max", "1024\n");
  CHECK(two.of("0::/a/b\n") == 1024);
  // Seen from inside a container the group's own files are the root's, whatever its name is.
  two.limit("memory.max", "2048\n");
  CHECK(two.of("0::/system.slice/docker-1.scope\n") == 2048);
  CHECK(two.of("0::/a/b\n") == 1024);

  const Groups one;  // version 1
  one.limit("memory/memory.limit_in_bytes", "9223372036854771712\n");
  CHECK(one.of("3:cpu,cpuacct:/a\n4:memory:/a:b\n0::/c\n") == 9223372036854771712.0);
  one.limit("memory/a:b/memory.limit_in_bytes", "8192\n");
  CHECK(one.of("3:cpu,cpuacct:/a\n4:memory:/a:b\n0::/c\n") == 8192);
  CHECK(one.of("4:hugetlb,memory:/a:b\n") == 8192);
  CHECK(one.of("4:cpu:/a:b\n") == kNone);
  CHECK(one.of("1:name=memory:/a:b\n") == kNone);

  for (const char* damaged : {"", "\n", ":", "::", "x", "0:memory"}) {
    CAPTURE(damaged);
    CHECK(Groups().of(damaged) == kNone);
  }
  CHECK(control_group_limit("/no/such/file", "/no/such/folder") == kNone);
}
