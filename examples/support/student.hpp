// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/generation/amateur.hpp"
#include "activation_trace/model/llama.hpp"
#include "support/command_line.hpp"
#include "support/memory.hpp"

namespace activation_trace::examples {

/// The amateur of contrastive decoding.
struct StudentSettings {
  std::string name;            ///< "ngram", a model, or empty: none
  bool ignore_prefix = false;  ///< it is shown the prompt's last token only

  [[nodiscard]] bool is_model() const { return !name.empty() && name != "ngram"; }
};

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

/// A student that is loaded.
class Student {
 public:
  /// `memory` is that of the model with this vocabulary, and on its `execution`, which must outlive this object. Throws
  /// what load_llama() throws, Error for more memory than there is.
  Student(const StudentSettings& settings, FileAccess access, Index vocab, const LlamaOptions& memory,
          Execution<Host>& execution) {
    if (!settings.is_model()) {
      amateur_ = std::make_unique<NgramAmateur>(vocab, NgramOptions{}, memory.sequences);
      return;
    }
    checkpoint_ = load_llama(settings.name, access);
    check_memory(checkpoint_.config, memory);
    model_.emplace(checkpoint_.config, checkpoint_.weights, memory, execution);
    amateur_ = std::make_unique<ModelAmateur<Llama>>(
        *model_, settings.ignore_prefix ? AmateurPrompt::last_token : AmateurPrompt::whole);
  }

  [[nodiscard]] Amateur& amateur() const { return *amateur_; }

 private:
  Checkpoint checkpoint_;
  std::optional<Llama> model_;
  std::unique_ptr<Amateur> amateur_;
};

}  // namespace activation_trace::examples
