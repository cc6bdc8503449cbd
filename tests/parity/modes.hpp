// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "activation_trace/model/llama.hpp"

// Compares every way of decoding and scoring with what golden/generate_decoding.py wrote into <stem>_generation,
// <stem>_scoring and <stem>_beams, and generate_dola_transformers.py into <stem>_dola_transformers. The options of each
// run are read from the same files. Compiled once, for the tiny model's test and the real one's.
namespace activation_trace::test {

/// `amateur` has the sequences of `llama`.
void compare_generation(const std::string& stem, Llama<>& llama, Llama<>& amateur);
void compare_scoring(const std::string& stem, Llama<>& llama);
/// `llama` has four sequences or more.
void compare_beams(const std::string& stem, Llama<>& llama);
void compare_dola_of_transformers(const std::string& stem, Llama<>& llama);

}  // namespace activation_trace::test
