// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/formats/safetensors.hpp"

#include <doctest/doctest.h>

#include <concepts>
#include <memory>
#include <random>

#include "support/file_builders.hpp"
#include "support/tiny_llama.hpp"

using namespace activation_trace;

namespace safetensors_tests {  // compiled as one with others
namespace {

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

template <std::invocable F>
std::string refusal(F&& action) {
  try {
    action();
  } catch (const FormatError& error) {
    const std::string text = error.what();
    CHECK(text.find('\n') == std::string::npos);
    return text;
  }
  return "no error";
}

std::string refusal(std::span<const std::byte> bytes) {
  // Exactly the bytes, so that AddressSanitizer sees the first read beyond them.
  const std::unique_ptr<std::byte[]> exact(new std::byte[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), exact.get());
  return refusal([&] { (void)SafetensorsFile::parse({exact.get(), bytes.size()}, "file"); });
}

// The refusal of a header in front of so many bytes of data.
std::string refusal(const std::string& header, std::size_t data) {
  return refusal(test::safetensors_bytes(header, std::vector<std::byte>(data)));
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape, std::uint64_t begin,
                  std::uint64_t end) {
  return '"' + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":[)" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}

}  // namespace

TEST_CASE("tensors are found with their type, shape and bytes, wherever they lie") {
  const auto bytes = test::safetensors_bytes(
      R"({"__metadata__":{"format":"pt"},)" + entry("b", "F32", "[2,1]", 6, 14) + "," + entry("a", "F16", "[3]", 0, 6) +
          "," + entry("scalar", "BF16", "[]", 14, 16) + "," + entry("none", "F32", "[0,7]", 14, 14) + "," +
          entry("\\u00e9", "I64", "[1]", 16, 24) + "}",
      test::ByteWriter()
          .put(std::uint16_t{0x3c00})
          .put(std::uint16_t{0})
          .put(std::uint16_t{0xc000})
          .put(1.5f)
          .put(-2.0f)
          .put(std::uint16_t{0x4000})
          .put(std::uint64_t{7})
          .bytes());
  const SafetensorsFile file = SafetensorsFile::parse(bytes, "file");
  CHECK(file.tensors().size() == 5);
  REQUIRE(file.find_tensor("a") != nullptr);
  CHECK(detail::floats_of(*file.find_tensor("a"), 3, "file") == std::vector<float>{1, 0, -2});
  CHECK(file.find_tensor("b")->shape == std::vector<Index>{2, 1});
  std::vector<float> row(1);
  detail::matrix_of(*file.find_tensor("b"), 2, 1, "file").decode_row(1, row);  // not aligned to 4 bytes
  CHECK(row[0] == -2);
  CHECK(file.find_tensor("scalar")->shape.empty());
  CHECK(file.find_tensor("none")->bytes.empty());
  CHECK(file.find_tensor("c") == nullptr);
  const FileTensor* wide = file.find_tensor("\xc3\xa9");
  REQUIRE(wide != nullptr);
  CHECK_FALSE(wide->dtype.has_value());
  CHECK(contains(refusal([&] { (void)detail::floats_of(*wide, 1, "file"); }), "has type I64, which is not supported"));
  CHECK(contains(refusal([&] { (void)detail::floats_of(*file.find_tensor("a"), 4, "file"); }),
                 "tensor 'a' has shape [3], expected [4]"));
}

TEST_CASE("formats/README.md 4, safetensors: the header's length sizes nothing before it is checked") {
  CHECK(contains(refusal(test::ByteWriter().put(std::uint32_t{0}).bytes()), "at least 8 bytes, found 4"));
  for (const std::uint64_t length :
       {std::uint64_t{3}, std::uint64_t{100'000'001}, ~std::uint64_t{0}, std::uint64_t{1} << 63})
    CHECK(contains(refusal(test::ByteWriter().put(length).raw("{}").bytes()), "at byte 0: the header claims"));
  std::vector<std::byte> large(8 + 100'000'001, std::byte{' '});  // the limit counts, not only the file's size
  const std::uint64_t length = 100'000'001;
  std::memcpy(large.data(), &length, 8);
  CHECK(contains(refusal(large), "at most 100000000 are allowed"));
  CHECK(contains(refusal(test::ByteWriter().put(std::uint64_t{3}).raw(" {}").bytes()), "does not begin with '{'"));
  CHECK(contains(refusal(test::ByteWriter().put(std::uint64_t{0}).bytes()), "does not begin with '{'"));
  CHECK(refusal("{}", 0) == "no error");
}

TEST_CASE("formats/README.md 4, safetensors: duplicate keys") {
  const std::string a = entry("a", "F32", "[1]", 0, 4);
  const std::string text = refusal("{" + a + "," + a + "}", 4);
  CHECK(contains(text, "JSON key 'a' appears twice in one object"));
  CHECK(contains(text, "at byte " + std::to_string(8 + 1 + a.size() + 1 + 3)));  // behind the second key
  CHECK(contains(refusal(R"({"a":{"dtype":"F32","shape":[1],"shape":[2],"data_offsets":[0,4]}})", 4),
                 "'shape' appears twice"));
  CHECK(refusal(R"({"__metadata__":{"shape":"x","a":"y"},)" + a + "}", 4) == "no error");
}

TEST_CASE("formats/README.md 4, safetensors: gaps and overlaps") {
  const auto two = [](std::uint64_t b, std::uint64_t e, std::uint64_t b2, std::uint64_t e2) {
    const auto shape = [](std::uint64_t n) { return "[" + std::to_string(n) + "]"; };
    return "{" + entry("a", "U8", shape(e - b), b, e) + "," + entry("b", "U8", shape(e2 - b2), b2, e2) + "}";
  };
  CHECK(refusal(two(0, 4, 4, 8), 8) == "no error");
  CHECK(refusal(two(4, 8, 0, 4), 8) == "no error");
  CHECK(contains(refusal(two(0, 4, 5, 8), 8), "tensor 'b' begins here"));
  CHECK(contains(refusal(two(0, 4, 3, 8), 8), "tensor 'b' begins here"));
  CHECK(contains(refusal(two(0, 4, 0, 4), 4), "tensor 'b' begins here"));
  CHECK(contains(refusal(two(1, 4, 4, 8), 8), "tensor 'a' begins here"));
  CHECK(contains(refusal(two(0, 4, 4, 8), 9), "1 bytes belong to no tensor"));
  CHECK(contains(refusal("{}", 1), "1 bytes belong to no tensor"));
}

TEST_CASE("formats/README.md 4, safetensors: shape and dtype against the range") {
  CHECK(
      contains(refusal("{" + entry("a", "F32", "[2]", 0, 4) + "}", 4), "has 4 bytes, its shape and dtype F32 need 8"));
  CHECK(contains(refusal("{" + entry("a", "F32", "[1]", 4, 0) + "}", 4), "data_offsets [4, 0]"));
  CHECK(contains(refusal("{" + entry("a", "F32", "[2]", 0, 8) + "}", 4), "data_offsets [0, 8], the data has 4 bytes"));
  CHECK(contains(refusal("{" + entry("a", "F32", "[4611686018427387904,4,4]", 0, 0) + "}", 0), "than can be counted"));
  CHECK(contains(refusal("{" + entry("a", "F32", "[0,9223372036854775807,2]", 0, 0) + "}", 0), "than can be counted"));
  CHECK(contains(refusal("{" + entry("a", "F64", "[2305843009213693952]", 0, 0) + "}", 0), "than can be counted"));
  CHECK(contains(refusal("{" + entry("a", "F4", "[3]", 0, 1) + "}", 1), "has 1 bytes"));  // 12 bits are no bytes
  CHECK(contains(refusal("{" + entry("a", "F99", "[1]", 0, 4) + "}", 4), "unknown dtype 'F99'"));
  CHECK(contains(refusal("{" + entry("a", "F32", "[-1]", 0, 4) + "}", 4), "that is not a size"));
  CHECK(contains(refusal("{" + entry("a", "F32", "[1.0]", 0, 4) + "}", 4), "that is not a size"));
  CHECK(contains(refusal("{" + entry("a", "F32", "[18446744073709551616]", 0, 4) + "}", 4), "that is not a size"));
  CHECK(contains(refusal("{" + entry("a", "F32", "1", 0, 4) + "}", 4), "has no array shape"));
  CHECK(contains(refusal(R"({"a":[1]})", 0), "not described by an object"));
  CHECK(contains(refusal(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4), "has no dtype"));
  CHECK(contains(refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", 4), "has 3 data_offsets"));
  CHECK(contains(refusal(R"({"__metadata__":{"a":1}})", 0), "__metadata__ is not a map of strings to strings"));
  CHECK(contains(refusal(R"({"__metadata__":"a"})", 0), "__metadata__ is not a map of strings to strings"));
}

TEST_CASE("headers that are no JSON, or too deep, are refused in one short line") {
  CHECK(contains(refusal("{\"a\":\n}", 0), "is not JSON"));
  CHECK(contains(refusal("{} {}", 0), "is not JSON"));
  CHECK(contains(refusal("{\"\xff\":1}", 0), "is not JSON"));
  CHECK(contains(refusal("{\"a\":1e999}", 0), "is not JSON"));
  CHECK(contains(refusal("{/**/}", 0), "is not JSON"));
  CHECK(contains(refusal("{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}", 0),
                 "nested more than 64 levels"));
  CHECK(contains(refusal("{\"a\":" + std::string(1000000, '['), 0), "nested more than 64 levels"));
  CHECK(refusal("{\"a\":\"" + std::string(100000, 'x'), 0).size() < 300);
}

TEST_CASE("formats/README.md 4, safetensors: the index does not lead out of its folder") {
  const auto parse = [](const std::string& file) {
    return refusal([&] { (void)parse_safetensors_index(R"({"weight_map":{"t":)" + file + "}}", "index"); });
  };
  CHECK(parse(R"("model-00001-of-00002.safetensors")") == "no error");
  for (const char* file : {R"("../x.safetensors")", R"("/x.safetensors")", R"("a/b.safetensors")", R"("..")", R"(".")",
                           R"("")", R"("a\\b.safetensors")", R"("a\u0000.safetensors")", R"("C:x.safetensors")",
                           R"(".safetensors")", R"("config.json")"})
    CHECK(contains(parse(file), "expected the plain name of a .safetensors file"));
  CHECK(contains(parse("1"), "has no file name"));
  CHECK(contains(refusal([] { (void)parse_safetensors_index("[]", "index"); }), "has no object weight_map"));
  CHECK(contains(refusal([] {
                   (void)parse_safetensors_index(R"({"weight_map":{"t":"a.safetensors","t":"a.safetensors"}})", "i");
                 }),
                 "appears twice"));
}

TEST_CASE("a model in several files: each tensor once, and where the index says") {
  const test::TemporaryFolder folder;
  const auto file = [&](const char* name, const char* tensor) {
    test::write_file(folder / name,
                     test::safetensors_bytes("{" + entry(tensor, "U8", "[1]", 0, 1) + "}", std::vector<std::byte>(1)));
  };
  const auto open = [&] { return refusal([&] { (void)open_safetensors_folder(folder.path()); }); };
  CHECK(contains(open(), "holds neither model.safetensors nor model.safetensors.index.json"));
  test::write_file(folder / "model.safetensors.index.json",
                   R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  file("1.safetensors", "a");
  CHECK(contains(open(), "2.safetensors: No such file"));
  file("2.safetensors", "c");
  CHECK(contains(open(), "holds no tensor 'b', which the index places there"));
  file("2.safetensors", "b");
  CHECK(open_safetensors_folder(folder.path()).size() == 2);
  test::write_file(folder / "2.safetensors", test::safetensors_bytes("{" + entry("b", "U8", "[1]", 0, 1) + "," +
                                                                         entry("a", "U8", "[1]", 1, 2) + "}",
                                                                     std::vector<std::byte>(2)));
  CHECK(contains(open(), "tensor 'a' is also in"));
  file("model.safetensors", "a");  // the single file is preferred, as transformers does
  CHECK(open_safetensors_folder(folder.path()).size() == 1);
}

TEST_CASE("a safetensors file cut short at any byte, or changed at random, is refused or read") {
  const auto original =
      test::safetensors_bytes(R"({"__metadata__":{"format":"pt"},)" + entry("a", "F32", "[2,2]", 0, 16) + "," +
                                  entry("b", "F16", "[3]", 16, 22) + "}",
                              std::vector<std::byte>(22));
  for (std::size_t size = 0; size < original.size(); ++size)
    CHECK(refusal(std::span(original).first(size)) != "no error");
  CHECK(refusal(original) == "no error");
  std::mt19937_64 random(11);
  for (int round = 0; round < 20000; ++round) {
    auto bytes = original;
    for (std::uint64_t changes = 1 + random() % 3; changes > 0; --changes) {
      const auto at = static_cast<std::ptrdiff_t>(random() % bytes.size());
      switch (random() % 3) {
        case 0: bytes[static_cast<std::size_t>(at)] = static_cast<std::byte>(random()); break;
        case 1: bytes.erase(bytes.begin() + at); break;
        default: bytes.insert(bytes.begin() + at, bytes[static_cast<std::size_t>(random() % bytes.size())]);
      }
    }
    (void)refusal(bytes);  // anything but a FormatError ends the test
  }
}

}  // namespace safetensors_tests
