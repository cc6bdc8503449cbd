// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/formats/gguf_split.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "activation_trace/formats/checkpoint.hpp"
#include "support/tiny_llama.hpp"

using namespace activation_trace;
using test::GgufBuilder;

namespace gguf_split_tests {  // compiled as one with others
namespace {

// A model in three parts, as llama-gguf-split writes it; the first holds no tensor if it is asked to.
struct SplitModel {
  explicit SplitModel(bool no_tensor_first = false) {
    const GgufBuilder whole = test::TinyLlama(options()).gguf();
    const std::size_t count = whole.tensors.size();
    const std::size_t first = no_tensor_first ? 0 : count / 3;
    const std::size_t ends[] = {first, first + count / 4, count};
    for (std::size_t part = 0, tensor = 0; part < 3; ++part) {
      if (part == 0) parts[part].values = whole.values;
      say(part, static_cast<std::uint16_t>(part), std::uint16_t{3}, static_cast<std::int32_t>(count));
      for (; tensor < ends[part]; ++tensor) parts[part].tensor(whole.tensors[tensor]);
    }
  }

  static test::TinyLlamaOptions options() {
    test::TinyLlamaOptions options;
    options.config.layers = 2;
    options.config.hidden = options.config.ffn = 32;
    options.config.head_dim = 8;
    options.config.heads = 4;
    options.config.kv_heads = 2;
    options.config.vocab = 40;
    options.dtype = DType::q5_0;
    return options;
  }

  template <class Number, class Count, class Tensors>
  void say(std::size_t part, Number number, Count count, Tensors tensors) {
    parts[part].value("split.no", number).value("split.count", count).value("split.tensors.count", tensors);
  }
  // Replaces what a part says of itself.
  template <class Number, class Count, class Tensors>
  void correct(std::size_t part, Number number, Count count, Tensors tensors) {
    parts[part].values.resize(parts[part].values.size() - 3);
    say(part, number, count, tensors);
  }
  [[nodiscard]] std::int32_t tensors() const {
    return static_cast<std::int32_t>(parts[0].tensors.size() + parts[1].tensors.size() + parts[2].tensors.size());
  }

  static std::string file(std::size_t part) { return "m-0000" + std::to_string(part + 1) + "-of-00003.gguf"; }
  void write(const test::TemporaryFolder& folder) const {
    for (std::size_t part = 0; part < 3; ++part) test::write_file(folder / file(part), parts[part].bytes());
  }

  GgufBuilder parts[3];
};

std::string refusal(const std::filesystem::path& path) {
  try {
    (void)load_llama(path);
  } catch (const FormatError& error) {
    return error.what();
  }
  return "no error";
}

// What opening each of the three says: one text, or three that differ.
std::string refusal(const SplitModel& model, std::size_t given) {
  const test::TemporaryFolder folder;
  model.write(folder);
  std::string text = refusal(folder / SplitModel::file(given));
  const std::string place = folder.path().string() + "/";
  for (std::size_t at = text.find(place); at != std::string::npos; at = text.find(place)) text.erase(at, place.size());
  return text;
}

}  // namespace

TEST_CASE("a split file is the whole one, whichever part is given") {
  const test::TemporaryFolder folder;
  const test::TinyLlama tiny(SplitModel::options());
  test::write_file(folder / "whole.gguf", tiny.gguf().bytes());
  const GgufFile whole = GgufFile::open(folder / "whole.gguf");
  CHECK(whole.files().size() == 1);
  for (const bool no_tensor_first : {false, true}) {
    SplitModel(no_tensor_first).write(folder);
    for (const FileAccess access : {FileAccess::map, FileAccess::read}) {
      for (std::size_t given = 0; given < 3; ++given) {
        CAPTURE(given);
        GgufFile opened = GgufFile::open(folder / SplitModel::file(given), access);
        const GgufFile split = std::move(opened);  // the views survive a move
        CHECK(split.access() == access);
        CHECK(split.name() == (folder / SplitModel::file(0)).string());
        REQUIRE(split.files().size() == 3);
        for (std::size_t part = 0; part < 3; ++part)
          CHECK(split.files()[part].name() == (folder / SplitModel::file(part)).string());
        CHECK(split.find<std::string_view>("tokenizer.ggml.model") == "no_vocab");
        REQUIRE(split.tensors().size() == whole.tensors().size());
        for (std::size_t i = 0; i < whole.tensors().size(); ++i) {
          const FileTensor& expected = whole.tensors()[i];
          const FileTensor* found = split.find_tensor(expected.name);
          REQUIRE(found == &split.tensors()[i]);
          CHECK(found->shape == expected.shape);
          CHECK(std::equal(found->bytes.begin(), found->bytes.end(), expected.bytes.begin(), expected.bytes.end()));
        }
        const Checkpoint checkpoint = load_llama(folder / SplitModel::file(given), access);
        CHECK(checkpoint.config.vocab == 40);
        CHECK(checkpoint.weights.layers[1].down.dtype() == DType::q5_0);
      }
    }
  }
  // In memory there is nothing beside it.
  const auto bytes = SplitModel().parts[1].bytes();
  CHECK(GgufFile::parse(bytes, "part").tensors().size() == SplitModel().parts[1].tensors.size());
}

TEST_CASE("a relative name without a folder finds the parts beside it") {
  const test::TemporaryFolder folder;
  SplitModel().write(folder);
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  const std::string text = refusal(SplitModel::file(1));
  std::filesystem::current_path(before);
  CHECK(text == "no error");
}

TEST_CASE("joined files and files of one part are whole, whatever their names") {
  for (const std::uint16_t count : {std::uint16_t{0}, std::uint16_t{1}}) {
    const test::TemporaryFolder folder;
    GgufBuilder builder = test::TinyLlama(SplitModel::options()).gguf();
    builder.value("split.no", std::uint16_t{0}).value("split.count", count);
    test::write_file(folder / "joined.gguf", builder.bytes());
    CHECK(refusal(folder / "joined.gguf") == "no error");
  }
}

TEST_CASE("a part that is missing is named, and so is what it belongs to") {
  for (std::size_t missing = 0; missing < 3; ++missing) {
    const test::TemporaryFolder folder;
    SplitModel().write(folder);
    std::filesystem::remove(folder / SplitModel::file(missing));
    const std::string given = (folder / SplitModel::file((missing + 1) % 3)).string();
    CHECK(refusal(given) == (folder / SplitModel::file(missing)).string() + ": is not there: part " +
                                std::to_string(missing + 1) + " of 3 of the split file of which " + given + " is one");
  }
}

TEST_CASE("a part under another name is told which names are looked for") {
  const test::TemporaryFolder folder;
  SplitModel().write(folder);
  for (const char* name : {"model.gguf", "-00002-of-00003.gguf", "m-00002-of-00004.gguf", "m-2-of-3.gguf"}) {
    std::filesystem::copy_file(folder / SplitModel::file(1), folder / name);
    CHECK(refusal(folder / name) == (folder / name).string() +
                                        ": is part 2 of 3 of a split file, which are found by their names: expected "
                                        "one that ends in -00002-of-00003.gguf");
  }
}

TEST_CASE("parts that say something else than their names are refused") {
  SplitModel swapped;
  std::swap(swapped.parts[1], swapped.parts[2]);
  CHECK(
      refusal(swapped, 0) ==
      "m-00002-of-00003.gguf: says that it is part 3 of 3, expected 2 of 3 as its name and m-00001-of-00003.gguf say");
  CHECK(refusal(swapped, 1).starts_with("m-00002-of-00003.gguf: is part 3 of 3 of a split file"));

  SplitModel other_count;
  other_count.correct(2, std::uint16_t{2}, std::uint16_t{4}, other_count.tensors());
  CHECK(
      refusal(other_count, 0) ==
      "m-00003-of-00003.gguf: says that it is part 3 of 4, expected 3 of 3 as its name and m-00001-of-00003.gguf say");

  SplitModel whole;
  whole.parts[1].values.clear();
  CHECK(refusal(whole, 2).starts_with("m-00002-of-00003.gguf: does not say that it is a part, expected 2 of 3"));

  SplitModel no_number;
  no_number.parts[1].values.erase(no_number.parts[1].values.begin());
  CHECK(refusal(no_number, 0) == "m-00002-of-00003.gguf: metadata 'split.no' is missing");

  const test::TemporaryFolder folder;
  SplitModel().write(folder);
  test::write_file(folder / SplitModel::file(2), "GGML and more");
  CHECK(refusal(folder / SplitModel::file(0)).find("m-00003-of-00003.gguf: at byte 0: is not a GGUF file") !=
        std::string::npos);
}

TEST_CASE("numbers of parts out of all range are refused before anything is looked for") {
  SplitModel model;
  model.correct(0, std::uint16_t{0}, std::numeric_limits<std::uint64_t>::max(), model.tensors());
  CHECK(refusal(model, 0) ==
        "m-00001-of-00003.gguf: split.count is 18446744073709551615, at most 99999 parts have names");
  model.correct(0, std::numeric_limits<std::uint64_t>::max(), std::uint16_t{3}, model.tensors());
  CHECK(refusal(model, 0) ==
        "m-00001-of-00003.gguf: split.no is 18446744073709551615, expected less than split.count, 3");
  model.correct(0, std::uint16_t{3}, std::uint16_t{3}, model.tensors());
  CHECK(refusal(model, 0) == "m-00001-of-00003.gguf: split.no is 3, expected less than split.count, 3");
  model.correct(0, std::uint16_t{0}, std::uint16_t{65535}, model.tensors());
  CHECK(refusal(model, 0).ends_with("expected one that ends in -00001-of-65535.gguf"));
  model.correct(0, std::uint16_t{0}, std::int32_t{-3}, model.tensors());
  CHECK(refusal(model, 0).ends_with("metadata 'split.count' is out of range: -3"));
  model.correct(0, std::uint16_t{0}, 3.0f, model.tensors());
  CHECK(refusal(model, 0).ends_with("metadata 'split.count' has an unexpected type: f32"));
  model.correct(0, std::uint16_t{0}, std::uint16_t{3}, std::int32_t{-1});
  CHECK(refusal(model, 0).ends_with("metadata 'split.tensors.count' is out of range: -1"));

  const test::TemporaryFolder folder;  // as many parts as there may be, of which one is there
  model.correct(0, std::uint16_t{0}, std::uint32_t{99999}, model.tensors());
  test::write_file(folder / "m-00001-of-99999.gguf", model.parts[0].bytes());
  CHECK(refusal(folder / "m-00001-of-99999.gguf").find("m-00002-of-99999.gguf: is not there: part 2 of 99999") !=
        std::string::npos);
}

TEST_CASE("parts of two models, tensors that are missing or there twice") {
  SplitModel two;
  two.correct(2, std::uint16_t{2}, std::uint16_t{3}, two.tensors() + 9);
  const std::string both = std::to_string(two.tensors() + 9) + ", but " + std::to_string(two.tensors());
  CHECK(refusal(two, 0) ==
        "m-00003-of-00003.gguf: split.tensors.count is " + both + " in m-00001-of-00003.gguf: parts of two models");

  SplitModel twice;
  twice.parts[2].tensors.back().name = twice.parts[0].tensors.front().name;
  CHECK(refusal(twice, 1).find("tensor '" + twice.parts[0].tensors.front().name + "' is also in m-0000") !=
        std::string::npos);

  SplitModel fewer;
  const std::int32_t all = fewer.tensors();
  fewer.parts[1].tensors.pop_back();
  CHECK(refusal(fewer, 2) == "m-00001-of-00003.gguf: split.tensors.count is " + std::to_string(all) +
                                 ", but the parts hold " + std::to_string(all - 1) + " tensors");

  SplitModel uncounted;
  uncounted.parts[0].values.pop_back();
  CHECK(refusal(uncounted, 0) == "m-00001-of-00003.gguf: metadata 'split.tensors.count' is missing");
  SplitModel counted_once;  // all that llama.cpp asks for
  counted_once.parts[1].values.pop_back();
  counted_once.parts[2].values.pop_back();
  for (std::size_t given = 0; given < 3; ++given) CHECK(refusal(counted_once, given) == "no error");
}

TEST_CASE("what is wrong with a tensor names the part that holds it") {
  SplitModel model;
  GgufBuilder::Tensor& last = model.parts[2].tensors.back();
  last.extents.front() += 32;
  last.data.resize(last.data.size() * 2);
  const std::string text = refusal(model, 0);
  CAPTURE(text);
  CHECK(text.starts_with("m-00003-of-00003.gguf: at byte "));
}

}  // namespace gguf_split_tests
