// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// encode_strings MODEL < STRINGS > IDS: what the tokenizer of a .gguf file or a Hugging Face folder makes of texts,
// each without special tokens. Texts and ids as in tests/tokenizer/golden; check_real_vocabularies.py compares them.
#include <cstdio>
#include <exception>
#include <iostream>
#include <iterator>
#include <string>

#include "activation_trace/tokenizer/load_tokenizer.hpp"

namespace {

std::size_t take_number(const std::string& bytes, std::size_t& position) {
  std::size_t value = 0;
  for (unsigned shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.at(position++));
    value |= std::size_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
}

void put_number(std::string& bytes, std::size_t value) {
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(0x80 | (value & 0x7f)));
  bytes.push_back(static_cast<char>(value));
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) return std::fputs("usage: encode_strings MODEL < STRINGS > IDS\n", stderr), 2;
  const activation_trace::Tokenizer tokenizer = activation_trace::load_tokenizer(argv[1]);
  const std::string input{std::istreambuf_iterator<char>(std::cin), {}};
  std::string output;
  for (std::size_t position = 0; position != input.size();) {
    const std::size_t size = take_number(input, position);
    const auto ids = tokenizer.encode(input.substr(position, size), activation_trace::SpecialTokens::as_text);
    position += size;
    put_number(output, ids.size());
    for (const activation_trace::TokenId id : ids) put_number(output, static_cast<std::size_t>(id));
  }
  std::cout << output << std::flush;
  return std::cout ? 0 : 1;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "encode_strings: %s\n", error.what()), 1;
}
