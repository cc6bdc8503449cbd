// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace activation_trace {
inline namespace v0 {

/// How the turns of a Conversation are joined (evaluation/README.md 1.3).
enum class ConversationStyle {
  single,  ///< before each turn the separator and a space; "ROLE: text"
  two,     ///< after the system text and turns the two separators in turn; "ROLE: text"
  dolly,   ///< "ROLE:", a new line, text, the separators in turn; after every second turn a blank line
};

/// The conversation formats of the published evaluation of chat models, which took them from FastChat by way of DoLa.
/// A model's own format is ChatTemplate's.
struct Conversation {
  std::string system;                                   ///< what comes before all turns
  std::array<std::string, 2> roles;                     ///< who asks, who answers
  ConversationStyle style = ConversationStyle::single;  ///< how turns are joined
  std::array<std::string, 2> separators;                ///< single has the first only
  std::vector<std::string> turns = {};  ///< in turns of the roles; an example that the format begins with

  /// The text up to where the answer to `question` begins.
  [[nodiscard]] std::string prompt(std::string_view question) const;
};

/// The published formats by the model that they are for; one_shot, which begins with an example, is for all others.
enum class ConversationFormat { one_shot, vicuna, koala, dolly, gar, gar_test };

/// The example of one_shot is shorter than FastChat's and in our words: answers to it need not equal published ones.
[[nodiscard]] Conversation conversation(ConversationFormat format);

/// By what the name of a model contains, in lower case: vicuna or output, koala, dolly, gar; else one_shot.
[[nodiscard]] ConversationFormat conversation_format(std::string_view model_id);

inline std::string Conversation::prompt(std::string_view question) const {
  std::vector<std::string> all = turns;
  all.emplace_back(question);
  std::string text = system;
  if (style == ConversationStyle::two) text += separators[0];
  const std::string opening = style == ConversationStyle::single ? separators[0] + ' ' : "";
  const std::string colon = style == ConversationStyle::dolly ? ":\n" : ": ";
  for (std::size_t i = 0; i < all.size(); ++i) {
    text += opening + roles[i % 2] + colon + all[i];
    if (style != ConversationStyle::single) text += separators[i % 2];
    if (style == ConversationStyle::dolly && i % 2 == 1) text += "\n\n";
  }
  return text + opening + roles[1] + (style == ConversationStyle::dolly ? ":\n" : ":");
}

inline Conversation conversation(ConversationFormat format) {
  const std::string polite = " gives helpful, detailed, and polite answers to the ";
  const std::string chat = "A chat between a curious ";
  switch (format) {
    case ConversationFormat::one_shot: break;
    case ConversationFormat::vicuna:
      return {.system =
                  chat + "user and an artificial intelligence assistant. The assistant" + polite + "user's questions.",
              .roles = {"USER", "ASSISTANT"},
              .style = ConversationStyle::two,
              .separators = {" ", "</s>"}};
    case ConversationFormat::koala:
      return {.system = "BEGINNING OF CONVERSATION:",
              .roles = {"USER", "GPT"},
              .style = ConversationStyle::two,
              .separators = {" ", "</s>"}};
    case ConversationFormat::dolly:
      return {.system =
                  "Below is an instruction that describes a task. Write a response that appropriately completes the "
                  "request.\n\n",
              .roles = {"### Instruction", "### Response"},
              .style = ConversationStyle::dolly,
              .separators = {"\n\n", "### End"}};
    case ConversationFormat::gar:
    case ConversationFormat::gar_test:
      return {.system = chat + "human and a question-answering system. The system" + polite + "human's questions.",
              .roles = {"Question", format == ConversationFormat::gar ? "Answer" : "Good Response (rank 1/100)"},
              .style = ConversationStyle::single,
              .separators = {"</s>", ""}};
  }
  return {
      .system = chat + "human and an artificial intelligence assistant. The assistant" + polite + "human's questions.",
      .roles = {"Human", "Assistant"},
      .style = ConversationStyle::single,
      .separators = {"###", ""},
      .turns = {"Why do leaves change colour in autumn?",
                "As days get shorter, trees stop making chlorophyll, the green pigment. Yellow and orange pigments "
                "that were there all along become visible, and some trees make red ones from leftover sugar."}};
}

inline ConversationFormat conversation_format(std::string_view model_id) {
  std::string name(model_id);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const auto has = [&](const char* word) { return name.find(word) != std::string::npos; };
  if (has("vicuna") || has("output")) return ConversationFormat::vicuna;
  if (has("koala")) return ConversationFormat::koala;
  if (has("dolly")) return ConversationFormat::dolly;
  return has("gar") ? ConversationFormat::gar : ConversationFormat::one_shot;
}

}  // namespace v0
}  // namespace activation_trace
