// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/evaluation/conversation.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace activation_trace;

// Expected texts are written by hand from evaluation/README.md 1.3.

TEST_CASE("conversations are written as published") {
  CHECK(conversation(ConversationFormat::vicuna).prompt("Hi?") ==
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions. USER: Hi? ASSISTANT:");
  CHECK(conversation(ConversationFormat::koala).prompt("Hi?") == "BEGINNING OF CONVERSATION: USER: Hi? GPT:");
  CHECK(conversation(ConversationFormat::dolly).prompt("Hi?") ==
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\nHi?\n\n### Response:\n");
  CHECK(conversation(ConversationFormat::gar).prompt("Hi?") ==
        "A chat between a curious human and a question-answering system. The system gives helpful, detailed, and "
        "polite answers to the human's questions.</s> Question: Hi?</s> Answer:");
  CHECK(conversation(ConversationFormat::gar_test).prompt("Hi?").ends_with("</s> Good Response (rank 1/100):"));
  const std::string one_shot = conversation(ConversationFormat::one_shot).prompt("Hi?");
  CHECK(one_shot.starts_with(
      "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
      "detailed, and polite answers to the human's questions.### Human: Why "));
  CHECK(one_shot.find("?### Assistant: As days") != std::string::npos);
  CHECK(one_shot.ends_with("leftover sugar.### Human: Hi?### Assistant:"));
}

TEST_CASE("turns of a conversation alternate roles and separators") {
  Conversation c = conversation(ConversationFormat::koala);
  c.turns = {"a", "b"};
  CHECK(c.prompt("c") == "BEGINNING OF CONVERSATION: USER: a GPT: b</s>USER: c GPT:");
  c = conversation(ConversationFormat::dolly);
  c.system = "S\n\n";
  c.turns = {"a", "b"};
  CHECK(c.prompt("c") ==
        "S\n\n### Instruction:\na\n\n### Response:\nb### End\n\n### Instruction:\nc\n\n### Response:\n");
}

TEST_CASE("a model's name picks its conversation") {
  CHECK(conversation_format("lmsys/Vicuna-7b") == ConversationFormat::vicuna);
  CHECK(conversation_format("my_output_dir") == ConversationFormat::vicuna);
  CHECK(conversation_format("koala-13b") == ConversationFormat::koala);
  CHECK(conversation_format("databricks/dolly-v2") == ConversationFormat::dolly);
  CHECK(conversation_format("gar-1") == ConversationFormat::gar);
  CHECK(conversation_format("huggyllama/llama-7b") == ConversationFormat::one_shot);
}
