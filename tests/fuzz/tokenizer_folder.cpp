// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdlib>

#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "fuzz/inputs.hpp"

using namespace activation_trace;

// Files between lines of "----", each with its name as a first line, are a folder with a tokenizer or a typed error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::string_view names[] = {"tokenizer.json",    "tokenizer.model",         "tokenizer_config.json",
                                        "added_tokens.json", "special_tokens_map.json", "chat_template.jinja"};
  for (const auto& old : std::filesystem::directory_iterator(test::input_folder())) std::filesystem::remove(old);
  for (const std::string_view part : test::input_parts(test::text_of_input(data, size)))
    for (const std::string_view name : names)
      if (part.starts_with(name) && part.substr(name.size()).starts_with('\n'))
        static_cast<void>(test::input_file(name, part.substr(name.size() + 1)));
  try {
    const Tokenizer tokenizer = load_tokenizer(test::input_folder());
    const auto ids = tokenizer.encode_prompt("a b  ab12 <s><|im_end|>\xc3\xa9\xff\n", SpecialTokens::parse);
    for (const TokenId id : ids)
      if (id < 0 || id >= tokenizer.vocab_size()) std::abort();
    if (!is_valid_utf8(tokenizer.decode(ids))) std::abort();
  } catch (const FormatError&) {
  }
  return 0;
}
