// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/formats/gguf.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <memory>
#include <random>

#include "activation_trace/formats/checkpoint.hpp"
#include "support/tiny_llama.hpp"

using namespace activation_trace;
using test::ByteWriter;
using test::GgufBuilder;

namespace gguf_tests {  // compiled as one with others
namespace {

constexpr std::uint32_t F32 = 0;
constexpr std::uint32_t IQ2_XXS = 16;
constexpr std::uint32_t I8 = 24;
constexpr std::uint32_t F64 = 28;

// Exactly the bytes and not one more, so that AddressSanitizer sees the first read beyond them.
struct Exact {
  explicit Exact(std::span<const std::byte> source) : size(source.size()), data(new std::byte[source.size()]) {
    std::copy(source.begin(), source.end(), data.get());
  }
  [[nodiscard]] std::span<const std::byte> span() const { return {data.get(), size}; }
  std::size_t size;
  std::unique_ptr<std::byte[]> data;
};

struct Refusal {
  std::uint64_t offset;
  std::string text;  // without the file and the offset
};

Refusal refusal(std::span<const std::byte> bytes) {
  const Exact exact(bytes);
  try {
    (void)GgufFile::parse(exact.span(), "file");
  } catch (const FormatError& error) {
    const std::string prefix = "file: at byte " + std::to_string(error.offset()) + ": ";
    const std::string text = error.what();
    CHECK(text.starts_with(prefix));
    CHECK(text.find('\n') == std::string::npos);
    CHECK(error.file() == "file");
    return {error.offset(), text.substr(prefix.size())};
  }
  return {0, "no error"};
}

std::string refusal_text(const GgufBuilder& builder) { return refusal(builder.bytes()).text; }

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

GgufBuilder::Tensor tensor(std::string name, std::uint32_t type, std::vector<std::uint64_t> extents,
                           std::size_t bytes = 0) {
  return {std::move(name), type, std::move(extents), std::vector<std::byte>(bytes)};
}

// Reads all that a file promises; anything but a FormatError is a bug.
void exercise(std::span<const std::byte> bytes) {
  const Exact exact(bytes);
  try {
    GgufFile file = GgufFile::parse(exact.span(), "file");
    std::size_t sum = 0;
    for (const FileTensor& t : file.tensors())
      for (const std::byte byte : t.bytes) sum += std::to_integer<std::size_t>(byte);
    CHECK(sum < std::numeric_limits<std::size_t>::max());
    (void)detail::load_gguf_llama(std::move(file));
  } catch (const FormatError&) {
  }
}

test::TinyLlamaOptions smallest() {
  test::TinyLlamaOptions options;
  options.config.layers = 1;
  options.config.hidden = options.config.ffn = options.config.head_dim = 2;
  options.config.heads = options.config.kv_heads = 1;
  options.config.vocab = 3;
  return options;
}

}  // namespace

TEST_CASE("metadata of every type is found, converted where that loses nothing, and refused elsewhere") {
  GgufBuilder builder;
  builder.value("u8", std::uint8_t{200}).value("i8", std::int8_t{-5}).value("u16", std::uint16_t{60000});
  builder.value("i16", std::int16_t{-300}).value("u32", std::uint32_t{4000000000u}).value("i32", std::int32_t{-70000});
  builder.value("f32", 0.5f).value("bool", true).value("string", "text \xe2\x82\xac").value("u64", ~std::uint64_t{0});
  builder.value("i64", std::numeric_limits<std::int64_t>::min()).value("f64", 1e300);
  builder.array("strings", std::vector<std::string>{"a", "", "bc"}).array("floats", std::vector<float>{1, -2});
  builder.array("ints", std::vector<std::int32_t>{1, -2, 3}).array("none", std::vector<double>{});
  const auto bytes = builder.bytes();
  const GgufFile file = GgufFile::parse(bytes, "file");
  CHECK(file.version() == 3);
  CHECK(file.find<int>("u8") == 200);
  CHECK(file.find<std::int64_t>("i8") == -5);
  CHECK(file.find<unsigned>("u16") == 60000);
  CHECK(file.find<Index>("i16") == -300);
  CHECK(file.find<Index>("u32") == 4000000000);
  CHECK(file.find<int>("i32") == -70000);
  CHECK(file.find<double>("f32") == 0.5);
  CHECK(file.find<bool>("bool") == true);
  CHECK(file.find<std::string_view>("string") == "text \xe2\x82\xac");
  CHECK(file.find<std::uint64_t>("u64") == ~std::uint64_t{0});
  CHECK(file.find<std::int64_t>("i64") == std::numeric_limits<std::int64_t>::min());
  CHECK(file.find<double>("f64") == 1e300);
  CHECK(file.get<std::vector<std::string_view>>("strings") == std::vector<std::string_view>{"a", "", "bc"});
  CHECK(file.get<std::vector<float>>("floats") == std::vector<float>{1, -2});
  CHECK(file.get<std::vector<std::int64_t>>("ints") == std::vector<std::int64_t>{1, -2, 3});
  CHECK(file.get<std::vector<double>>("none").empty());
  CHECK_FALSE(file.find<int>("absent").has_value());
  CHECK(file.contains("u8"));
  CHECK_FALSE(file.contains("u"));

  CHECK_THROWS_AS((void)file.find<int>("u32"), FormatError);
  CHECK_THROWS_AS((void)file.find<std::uint32_t>("i8"), FormatError);
  CHECK_THROWS_AS((void)file.find<std::int64_t>("u64"), FormatError);
  CHECK_THROWS_AS((void)file.find<float>("f64"), FormatError);
  CHECK_THROWS_AS((void)file.find<float>("u8"), FormatError);
  CHECK_THROWS_AS((void)file.find<int>("f32"), FormatError);
  CHECK_THROWS_AS((void)file.find<int>("bool"), FormatError);
  CHECK_THROWS_AS((void)file.find<bool>("u8"), FormatError);
  CHECK_THROWS_AS((void)file.find<std::string_view>("strings"), FormatError);
  CHECK_THROWS_AS((void)file.find<std::vector<std::string_view>>("ints"), FormatError);
  CHECK_THROWS_AS((void)file.find<std::vector<int>>("u8"), FormatError);
  CHECK_THROWS_AS((void)file.get<int>("absent"), FormatError);
}

TEST_CASE("tensors are given outermost extent first, with their bytes") {
  GgufBuilder builder;
  builder.version = 2;
  builder.tensor({"m", F32, {2, 3}, ByteWriter().put(1.0f).put(2.0f).put(3.0f).put(4.0f).put(5.0f).put(6.0f).bytes()});
  builder.tensor(tensor("scalar", F32, {}, 4))
      .tensor(tensor("empty", 12, {256, 0}))
      .tensor(tensor("odd", IQ2_XXS, {256, 2}, 132));
  const auto bytes = builder.bytes();
  const GgufFile file = GgufFile::parse(bytes, "file");
  REQUIRE(file.tensors().size() == 4);
  const FileTensor* m = file.find_tensor("m");
  REQUIRE(m != nullptr);
  CHECK(m->shape == std::vector<Index>{3, 2});
  CHECK(m->dtype == DType::f32);
  std::vector<float> row(2);
  detail::matrix_of(*m, 3, 2, "file").decode_row(2, row);
  CHECK(row == std::vector<float>{5, 6});
  CHECK(file.find_tensor("scalar")->bytes.size() == 4);
  CHECK(file.find_tensor("empty")->bytes.empty());
  CHECK(file.find_tensor("nothing") == nullptr);
  // IQ2_XXS is skipped over, and refused by its name when its values are asked for.
  const FileTensor* odd = file.find_tensor("odd");
  CHECK_FALSE(odd->dtype.has_value());
  CHECK_THROWS_WITH_AS(
      (void)detail::matrix_of(*odd, 2, 256, "file"),
      "file: at byte 256: tensor 'odd' has type IQ2_XXS, which is not supported for weights; expected "
      "one of F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q5_K, Q6_K, Q5_0, Q5_1, Q2_K, Q3_K, IQ4_NL, IQ4_XS",
      FormatError);
}

TEST_CASE("the header says what the file is") {
  CHECK(contains(refusal(ByteWriter().raw("GGML").bytes()).text, "is not a GGUF file"));
  CHECK(contains(refusal(ByteWriter().raw("GG").bytes()).text, "needs 4 bytes, the file has 2 left"));
  GgufBuilder builder;
  builder.version = 1;
  CHECK(contains(refusal_text(builder), "version 1 is not supported"));
  builder.version = 4;
  CHECK(contains(refusal_text(builder), "version 4 is not supported"));
  builder.version = 0x03000000;
  CHECK(contains(refusal_text(builder), "big-endian"));
}

TEST_CASE("formats/README.md 4, CVE-2024-21802 and its kin: counts and lengths are capped by what follows") {
  for (const std::uint64_t count :
       {std::uint64_t{2}, std::uint64_t{1} << 32, ~std::uint64_t{0}, ~std::uint64_t{0} / 24}) {
    GgufBuilder values;
    values.value("key", std::uint8_t{1});
    values.value_count = count;
    CHECK(refusal(values.bytes()).text != "no error");
    if (count > 100) CHECK(contains(refusal_text(values), "metadata values cannot fit into the"));
    GgufBuilder tensors;
    tensors.tensor(tensor("t", F32, {1}, 4));
    tensors.tensor_count = count;
    CHECK(refusal(tensors.bytes()).text != "no error");
    if (count > 100) CHECK(contains(refusal_text(tensors), "tensors cannot fit into the"));
    GgufBuilder array;
    array.raw_value(ByteWriter().string("key").put(std::uint32_t{9}).put(std::uint32_t{10}).put(count));
    CHECK(refusal(array.bytes()).text != "no error");
    if (count < 100) continue;  // a builder's padding is long enough for two characters
    GgufBuilder string;
    string.raw_value(ByteWriter().string("key").put(std::uint32_t{8}).put(count));
    CHECK(refusal(string.bytes()).text != "no error");
    GgufBuilder key;
    key.raw_value(ByteWriter().put(count).raw("a").put(std::uint32_t{0}).put(std::uint8_t{0}));
    CHECK(refusal(key.bytes()).text != "no error");
  }
  GgufBuilder dims;
  dims.tensor(tensor("t", F32, {std::uint64_t{1} << 32, std::uint64_t{1} << 32}));
  CHECK(contains(refusal_text(dims), "more elements than can be counted"));
  GgufBuilder rank;
  rank.tensor(tensor("t", F32, {1, 1, 1, 1, 1}, 4));
  CHECK(contains(refusal_text(rank), "has 5 dimensions"));
}

TEST_CASE("formats/README.md 4, CVE-2025-53630: the sum of the padded sizes does not wrap") {
  GgufBuilder builder;
  const std::uint64_t quarter = std::uint64_t{1} << 62;
  for (std::uint64_t i = 0; i < 5; ++i) {
    auto t = tensor("t" + std::to_string(i), I8, {quarter});
    t.offset = i * quarter;  // the fifth begins at 0 again
    builder.tensor(t);
  }
  CHECK(contains(refusal_text(builder), "tensor 't3' makes the size of all tensors overflow"));
}

TEST_CASE("formats/README.md 4, CVE-2026-27940: the start of the data is part of the sum") {
  GgufBuilder builder;
  const std::uint64_t half = std::uint64_t{1} << 63;
  auto first = tensor("first", I8, {half - 32});
  auto second = tensor("second", I8, {half - 32});
  second.offset = half - 32;
  builder.tensor(first).tensor(second);  // 2^64 - 64 in all: fits, but not behind a header
  CHECK(contains(refusal_text(builder), "tensor 'first' needs"));
  auto third = tensor("third", I8, {0});
  third.offset = 2 * (half - 32);
  GgufBuilder empty_at_the_end;
  second.extents = {half - 32, 1};
  empty_at_the_end.tensor(tensor("first", I8, {0})).tensor(third);
  CHECK(contains(refusal_text(empty_at_the_end), "expected 0"));
}

TEST_CASE("formats/README.md 4, CVE-2026-33298: elements may be countable while their bytes are not") {
  GgufBuilder builder;
  builder.tensor(tensor("t", F64, {std::uint64_t{1} << 61}));  // 2^64 bytes
  CHECK(contains(refusal_text(builder), "more bytes than can be counted"));
  GgufBuilder signed_limit;
  signed_limit.tensor(tensor("t", F64, {std::uint64_t{1} << 60}));  // 2^63 bytes
  CHECK(contains(refusal_text(signed_limit), "more bytes than can be counted"));
}

TEST_CASE("formats/README.md 4, PR #24759: rounding up to the alignment does not wrap to 0") {
  GgufBuilder builder;
  const std::uint64_t half = std::uint64_t{1} << 63;
  auto second = tensor("second", I8, {half - 1});
  second.offset = half - 32;
  auto third = tensor("third", I8, {20});
  third.offset = 0 - std::uint64_t{32};
  builder.tensor(tensor("first", I8, {half - 32})).tensor(second).tensor(third);
  CHECK(contains(refusal_text(builder), "tensor 'third' makes the size of all tensors overflow"));
}

TEST_CASE("formats/README.md 4, issue #27203: the extents are multiplied step by step") {
  const auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  for (const auto& extents :
       {std::vector<std::uint64_t>{most, 2, 1, 1}, {most, 2, 0, 1}, {0, most, 2}, {~most, 2}, {~std::uint64_t{0}}}) {
    GgufBuilder builder;
    builder.tensor(tensor("t", F32, extents));
    CHECK(contains(refusal_text(builder), "than can be counted"));
  }
}

TEST_CASE("formats/README.md 4, PR #24997 and #26318: the alignment is a u32 power of two of sane size") {
  for (const std::uint32_t alignment : {0u, 3u, 48u, 0x80000000u, 1u << 21, ~0u}) {
    GgufBuilder builder;
    builder.value("general.alignment", alignment).tensor(tensor("t", F32, {1}, 4));
    CHECK(contains(refusal_text(builder), "expected a u32 power of two"));
  }
  GgufBuilder text;
  text.value("general.alignment", "32");
  CHECK(contains(refusal_text(text), "unexpected type: string"));
  GgufBuilder wide;
  wide.value("general.alignment", std::uint64_t{32});
  CHECK(contains(refusal_text(wide), "is 32 (u64), expected a u32"));
  GgufBuilder array;
  array.array("general.alignment", std::vector<std::uint32_t>{32});
  CHECK(contains(refusal_text(array), "unexpected type: array of u32"));
  for (const std::uint32_t alignment : {1u, 8u, 64u, 4096u}) {
    GgufBuilder builder;
    builder.alignment = alignment;
    builder.value("general.alignment", alignment).tensor(tensor("a", F32, {1}, 4)).tensor(tensor("b", F32, {1}, 4));
    CHECK(refusal_text(builder) == "no error");
  }
}

TEST_CASE("formats/README.md 4, PR #19856: exhaustion by strings and arrays, types out of range, duplicates") {
  const std::uint64_t too_long = (std::uint64_t{1} << 30) + 1;
  GgufBuilder string;
  string.raw_value(ByteWriter().string("key").put(std::uint32_t{8}).put(too_long));
  CHECK(contains(refusal_text(string), "claims 1073741825 bytes, at most 1073741824"));
  GgufBuilder array;
  array.raw_value(ByteWriter().string("key").put(std::uint32_t{9}).put(std::uint32_t{8}).put(too_long));
  CHECK(contains(refusal_text(array), "claims 1073741825 elements"));
  GgufBuilder nested;
  nested.raw_value(ByteWriter().string("key").put(std::uint32_t{9}).put(std::uint32_t{9}).put(std::uint64_t{0}));
  CHECK(contains(refusal_text(nested), "array of arrays"));
  GgufBuilder key;
  key.value(std::string(65536, 'k'), std::uint8_t{0});
  CHECK(contains(refusal_text(key), "claims 65536 bytes, at most 65535"));
  GgufBuilder no_key;
  no_key.value("", std::uint8_t{0});
  CHECK(contains(refusal_text(no_key), "a metadata key is empty"));
  GgufBuilder boolean;
  boolean.value("fine", true).raw_value(ByteWriter().string("b").put(std::uint32_t{7}).put(std::uint8_t{2}));
  CHECK(contains(refusal_text(boolean), "neither 0 nor 1"));
  for (const std::uint32_t type : {13u, 0x80000000u, ~0u}) {
    GgufBuilder value;
    value.raw_value(ByteWriter().string("key").put(type).put(std::uint64_t{0}));
    CHECK(contains(refusal_text(value), "expected 0 to 12"));
    GgufBuilder element;
    element.raw_value(ByteWriter().string("key").put(std::uint32_t{9}).put(type).put(std::uint64_t{0}));
    CHECK(contains(refusal_text(element), "expected 0 to 12"));
  }
  for (const std::uint32_t type : {4u, 5u, 31u, 33u, 36u, 38u, 42u, 0x80000000u, ~0u}) {
    GgufBuilder builder;
    builder.tensor(tensor("t", type, {32}, 32));
    CHECK(contains(refusal_text(builder), "which is not known"));
  }
  GgufBuilder keys;
  keys.value("a", std::uint8_t{1}).value("b", std::uint8_t{1}).value("a", 1.0f);
  CHECK(contains(refusal_text(keys), "metadata 'a' appears twice"));
  GgufBuilder tensors;
  tensors.tensor(tensor("t", F32, {1}, 4)).tensor(tensor("u", F32, {1}, 4)).tensor(tensor("t", F32, {2}, 8));
  CHECK(contains(refusal_text(tensors), "tensor 't' appears twice"));
  GgufBuilder long_name;
  long_name.tensor(tensor(std::string(64, 'n'), F32, {1}, 4));
  CHECK(contains(refusal_text(long_name), "at most 63"));
  GgufBuilder no_name;
  no_name.tensor(tensor("", F32, {1}, 4));
  CHECK(contains(refusal_text(no_name), "has no name"));
}

TEST_CASE("formats/README.md 4, CVE-2026-7482: a tensor larger than the file is refused when it is opened") {
  GgufBuilder builder;
  builder.tensor(tensor("t", F32, {1000}, 64));
  const Refusal found = refusal(builder.bytes());
  CHECK(found.offset == 64);  // 24 bytes of header, 33 of the tensor, padded
  CHECK(found.text == "tensor 't' needs 4000 bytes from here, the file has 128 in all");
  GgufBuilder beyond;
  auto t = tensor("t", F32, {1}, 4);
  t.offset = 64;
  beyond.tensor(t);
  CHECK(contains(refusal_text(beyond), "has offset 64, expected 0"));
}

TEST_CASE("rows are whole blocks") {
  GgufBuilder builder;
  builder.tensor(tensor("t", 12, {128, 2}, 144));
  CHECK(contains(refusal_text(builder), "rows of 128 elements, not a multiple of Q4_K's block of 256"));
}

TEST_CASE("unprintable and long names do not reach the terminal") {
  GgufBuilder builder;
  builder.value("\x1b[31m\n" + std::string(1000, 'x'), std::uint8_t{1});
  builder.value("\x1b[31m\n" + std::string(1000, 'x'), std::uint8_t{1});
  const std::string text = refusal_text(builder);
  CHECK(contains(text, "'\\x1b[31m\\nxxx"));
  CHECK(text.size() < 200);
}

TEST_CASE("a file cut short at any byte is refused") {
  const auto bytes = test::TinyLlama(smallest()).gguf().bytes();
  const GgufFile whole = GgufFile::parse(bytes, "file");
  const FileTensor& last = whole.tensors().back();
  const std::uint64_t needed = last.offset + last.bytes.size();  // the padding of the last one may be missing
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Refusal found = refusal(std::span(bytes).first(size));
    CHECK((found.text == "no error") == (size >= needed));
    if (found.text != "no error") CHECK(found.offset <= bytes.size());
  }
}

TEST_CASE("random changes give a model, or an error, and nothing else") {
  const auto original = test::TinyLlama(smallest()).gguf().bytes();
  std::mt19937_64 random(7);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  for (int round = 0; round < 20000; ++round) {
    auto bytes = original;
    const std::size_t changes = 1 + below(4);
    for (std::size_t i = 0; i < changes; ++i) {
      const std::size_t at = below(bytes.size());
      switch (below(4)) {
        case 0: bytes[at] = static_cast<std::byte>(random()); break;
        case 1: bytes[at] ^= static_cast<std::byte>(1u << below(8)); break;
        case 2: bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(at)); break;
        default: {  // a count or an extent of extreme size
          const std::uint64_t extreme = (std::uint64_t{1} << below(64)) - below(2);
          const std::size_t n = std::min<std::size_t>(8, bytes.size() - at);
          std::memcpy(bytes.data() + at, &extreme, n);
        }
      }
    }
    exercise(bytes);
  }
}

TEST_CASE("every weight type is a type of GGUF's, by its number and with its size") {
  for (const DType dtype : all_dtypes) {
    CAPTURE(name(dtype));
    const auto* type = detail::find_gguf_tensor_type(test::TinyLlama::gguf_type(dtype));
    REQUIRE(type != nullptr);
    CHECK(type->name == name(dtype));
    CHECK(type->dtype() == dtype);
    CHECK(Index{type->elements} == block_elements(dtype));
    CHECK(Index{type->bytes} == block_bytes(dtype));
  }
  CHECK_FALSE(detail::find_gguf_tensor_type(I8)->dtype().has_value());
}

TEST_CASE("what is no weight type here is refused by its name when its values are asked for") {
  struct Refused {
    std::uint32_t id;
    const char* name;
    std::uint64_t elements;
    std::size_t bytes;
  };
  for (const Refused& type : {Refused{16, "IQ2_XXS", 256, 66},
                              {17, "IQ2_XS", 256, 74},
                              {18, "IQ3_XXS", 256, 98},
                              {19, "IQ1_S", 256, 50},
                              {21, "IQ3_S", 256, 110},
                              {22, "IQ2_S", 256, 82},
                              {29, "IQ1_M", 256, 56},
                              {34, "TQ1_0", 256, 54},
                              {35, "TQ2_0", 256, 66},
                              {39, "MXFP4", 32, 17},
                              {40, "NVFP4", 64, 36}}) {
    const std::string name = type.name;
    CAPTURE(name);
    const auto bytes = GgufBuilder().tensor(tensor("t", type.id, {type.elements, 1}, type.bytes)).bytes();
    const GgufFile file = GgufFile::parse(bytes, "file");
    const FileTensor* found = file.find_tensor("t");
    REQUIRE(found != nullptr);
    try {
      (void)detail::matrix_of(*found, 1, static_cast<Index>(type.elements), "file");
      FAIL_CHECK("was read");
    } catch (const FormatError& error) {
      CHECK(contains(error.what(), "tensor 't' has type " + name + ", which is not supported for weights"));
    }
  }
}

}  // namespace gguf_tests
