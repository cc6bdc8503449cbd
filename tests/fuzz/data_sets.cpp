// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/evaluation/data_sets.hpp"

#include <cstdint>
#include <cstdlib>

#include "fuzz/inputs.hpp"

using namespace activation_trace;

namespace {

template <class Read>
void read(const Read& reader, const std::filesystem::path& path) {
  try {
    if (reader(path).empty()) std::abort();
  } catch (const FormatError&) {
  }
}

}  // namespace

// Any bytes are each of the data sets, with samples, or a typed error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::filesystem::path path = test::input_file("data", test::text_of_input(data, size));
  read(read_triviaqa, path);
  read(read_nq_open, path);
  read(read_hotpotqa, path);
  read(read_truthfulqa, path);
  read(read_factor, path);
  read(
      [](const std::filesystem::path& file) {
        std::vector<KnownFact> facts = read_known_facts(file);
        for (Index i = 0; i < static_cast<Index>(facts.size()); ++i)
          if (false_attribute(facts, i) == facts[static_cast<std::size_t>(i)].attribute) std::abort();
        return facts;
      },
      path);
  return 0;
}
