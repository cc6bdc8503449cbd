// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <thread>

#include "activation_trace/processors/mode.hpp"
#include "support/command_line.hpp"

// The part of a command line that says which model is run, and how.
namespace activation_trace::examples {

/// A model and how to run it.
struct ModelSettings {
  std::string path;
  Index context = 0;  ///< 0: as much as prompt and answer need
  Index batch = 512;
  int threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 1024u));
  FileAccess access = FileAccess::map;
  bool quiet = false;
};

/// The amateur of contrastive decoding.
struct StudentSettings {
  std::string name;            ///< "ngram", a model, or empty: none
  bool ignore_prefix = false;  ///< it is shown the prompt's last token only

  [[nodiscard]] bool is_model() const { return !name.empty() && name != "ngram"; }
};

inline void add_threads_option(CLI::App& app, ModelSettings& s, const std::string& help = "threads") {
  app.add_option("-t,--threads", s.threads, help)->capture_default_str()->check(whole_number<int>(1, 1024));
}

/// The options of a model.
inline void add_model_options(CLI::App& app, ModelSettings& s) {
  app.add_option("-m,--model,--model-name,--model_name", s.path, "a .gguf file or a Hugging Face directory")
      ->required();
  app.add_option("-c,--ctx-size", s.context, "positions of the context (default: what prompt and answer need)")
      ->check(whole_number<Index>(1));
  app.add_option("-b,--batch-size", s.batch, "prompt positions computed at once")
      ->capture_default_str()
      ->check(whole_number<Index>(1));
  add_threads_option(app, s);
  app.add_flag_callback(
      "--no-mmap", [&s] { s.access = FileAccess::read; }, "read the model instead of mapping it");
  app.add_flag("-q,--quiet", s.quiet, "no progress and no timings");
}

inline void add_student_options(CLI::App& app, StudentSettings& s) {
  app.add_option("--student,--student_model,--student-model", s.name, "the amateur: a model, or ngram (the prompt's)");
  app.add_flag("--ignore_prefix,--ignore-prefix", s.ignore_prefix, "it sees the prompt's last token only");
}

/// `wanted`: whether a mode subtracts an amateur's likings. Throws UsageError for a student without a use, or for none.
inline void refuse_senseless_student(const CLI::App& app, const StudentSettings& s, bool wanted) {
  for (const char* option : {"--student", "--ignore_prefix"})
    if (app.count(option) != 0 && !wanted)
      throw UsageError(std::string(option) + ": needs --decoding_mode " + std::string(Contrastive::name));
  if (wanted && s.name.empty())
    throw UsageError("--decoding_mode " + std::string(Contrastive::name) + ": needs --student, a model or ngram");
  if (s.ignore_prefix && s.name == "ngram")
    throw UsageError("--ignore_prefix: --student ngram has nothing but the prompt");
}

}  // namespace activation_trace::examples
