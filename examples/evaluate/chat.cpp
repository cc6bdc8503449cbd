// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/chat.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/conversation.hpp"
#include "activation_trace/evaluation/data_sets.hpp"
#include "activation_trace/evaluation/run_log.hpp"
#include "evaluate/finished_run.hpp"
#include "evaluate/mode_manifest.hpp"
#include "evaluate/record_schema.hpp"
#include "evaluate/sha256.hpp"
#include "support/command_line.hpp"
#include "support/engine.hpp"
#include "support/interrupt.hpp"
#include "support/mode_options.hpp"
#include "support/output_files.hpp"
#include "support/run_progress.hpp"

namespace activation_trace::examples {
namespace {

using Json = nlohmann::ordered_json;

struct ChatSettings {
  ModelSettings model;
  StudentSettings student;
  ModeOptions modes{Baseline::name, DolaBucket::low};
  ChosenMode mode;
  std::string model_id;
  std::string question_file;
  std::string answer_file = "answer.jsonl";
  float repetition_penalty = 1;
  Index max_new_tokens = 1024;
  SamplingOptions sampling{.temperature = 0.7f};
  Index parallel = 8;
};

struct ChatQuestion {
  Json id;
  std::string text;
};

std::vector<ChatQuestion> read_questions(const std::string& path) {
  std::vector<ChatQuestion> questions;
  activation_trace::detail::DataFile(path).for_each_record([&](const activation_trace::detail::DataRecord& record) {
    const Json& id = record.member("question_id");
    if (!fields::is_id(id)) record.fail("expected 'question_id' to be " + std::string(fields::kId));
    questions.push_back({id, record.filled_text("text")});
  });
  return questions;
}

/// What a record of the log has to be: of the question that has its number.
RecordCheck check_of(const std::vector<ChatQuestion>& questions) {
  return [&questions](Index sample, const Json& record) {
    check_record("chat", record, Missing::refused);
    if (sample >= std::ssize(questions)) throw Error("is no question of this chat");
    const Json& id = questions[static_cast<std::size_t>(sample)].id;
    if (record["question_id"] != id)
      throw Error("field 'question_id': the questions have " +
                  activation_trace::detail::printable(activation_trace::detail::json_text(id)) + " there");
  };
}

GenerationOptions chat_options(const ChatSettings& s, const Engine& engine) {
  GenerationOptions generation{.mode = s.mode.complete(engine.config().layers, engine.embeddings())};
  generation.prefill_piece = s.model.batch;
  generation.repetition_penalty = s.repetition_penalty;
  generation.max_new_tokens = s.max_new_tokens;
  generation.eos = engine.tokenizer().end_tokens();
  generation.stop = {"### Human:"};
  if (s.sampling.temperature > 0) generation.sampling = s.sampling;
  return generation;
}

Json manifest_of(const ChatSettings& s, const GenerationOptions& g, const Engine& engine, Index context) {
  const auto number = [](float x) { return static_cast<double>(x); };
  Json of_modes = options_of_modes(g.mode, {}, number);
  if (of_modes["activation_dola_base"].is_null()) of_modes["activation_dola_base"] = name(DolaBase::logits);
  Json options{{"model_id", s.model_id}};
  for (const char* key : {"decoding_mode", "alpha", "info_layer", "final_norm", "context_span", "candidate_layers",
                          "mature_layer", "divergence", "activation_dola_base", "relative_top", "min_tokens_to_keep"})
    options[key] = of_modes[key];
  options.update({{"repetition_penalty", g.repetition_penalty},
                  {"max_new_tokens", g.max_new_tokens},
                  {"temperature", s.sampling.temperature},
                  {"top_k", s.sampling.top_k},
                  {"top_p", s.sampling.top_p},
                  {"seed", s.sampling.seed},
                  {"batch_size", g.prefill_piece},
                  {"context", context}});
  add_new_options(options, g.mode, s.student, {"premature_layer"}, number);
  Json manifest{{"task", "chat"},
                {"model", identity_of_model(s.model.path)},
                {"data", {{"sha256", sha256_of_file(s.question_file)}}},
                {"options", std::move(options)}};
  manifest.update(engine.program());
  return manifest;
}

/// Answers the questions that the log lacks, until Ctrl-C.
void answer(const ChatSettings& s, Engine& engine, GenerationOptions options,
            const std::vector<ChatQuestion>& questions, const std::vector<std::vector<TokenId>>& prompts, RunLog& log) {
  catch_interrupt();
  RunProgress progress("chat", log.size(), std::ssize(prompts), !s.model.quiet);
  std::stop_source stop;
  for (Index first = 0; first < std::ssize(prompts) && interrupted == 0;) {
    if (log.has(first)) {
      ++first;
      continue;
    }
    // Question i draws from the random stream i, whatever is asked beside it.
    Index last = first;
    while (last < std::min(first + s.parallel, std::ssize(prompts)) && !log.has(last)) ++last;
    if (options.sampling) options.sampling->stream = static_cast<std::uint64_t>(first);
    const GenerationCallbacks callbacks{
        .on_token =
            [&](const GeneratedToken&) {
              if (interrupted != 0) stop.request_stop();
              return Continue::yes;
            },
        .on_finish =
            [&](Index i, const GenerationResult& result) {
              if (result.reason == FinishReason::cancelled) return;
              log.append(first + i, {{"question_id", questions[static_cast<std::size_t>(first + i)].id},
                                     {"text", activation_trace::detail::strip(result.text)}});
              progress.advance();
            },
        .stop = stop.get_token()};
    engine.generate(std::span(prompts).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(last - first)),
                    options, callbacks);
    first = last;
  }
  progress.clear();
}

/// The answer file.
std::string answer_lines(const ChatSettings& s, const std::vector<ChatQuestion>& questions, const RunLog& log) {
  std::string lines;
  for (Index i = 0; i < log.size(); ++i) {
    const ChatQuestion& q = questions[static_cast<std::size_t>(i)];
    const auto text = log.record(i).at("text").get<std::string>();
    const Json line{{"question_id", q.id},
                    {"text", text},
                    {"answer_id", sha256(s.model_id + '\n' + q.id.dump() + '\n' + text).substr(0, 22)},
                    {"model_id", s.model_id},
                    {"metadata", Json::object()}};
    lines += activation_trace::detail::json_text(line) + '\n';
  }
  return lines;
}

/// The format is parsed for special tokens, the question is not: what is asked is no mark of a turn.
std::vector<TokenId> encode_question(const Conversation& format, const std::string& question,
                                     const Tokenizer& tokenizer) {
  const std::string a = format.prompt("a");
  const std::string b = format.prompt("b");
  const auto begin = static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin()).first - a.begin());
  const TextRange said[] = {{begin, begin + question.size()}};
  return tokenizer.encode_prompt(format.prompt(question), said);
}

int chat(const ChatSettings& s) {
  const std::string log_path = s.answer_file + ".log";
  const InputFiles inputs{s.model.path, s.student.name, s.question_file};
  check_not_read("--answer-file", s.answer_file, inputs);
  prepare_run_output("--answer-file", log_path, RunStart::resume, inputs);
  if (activation_trace::detail::is_taken(s.answer_file) && !activation_trace::detail::has_run(log_path))
    throw Error(s.answer_file + ": is there, without the log of a chat that wrote it; name another --answer-file");
  const std::vector<ChatQuestion> questions = read_questions(s.question_file);
  Progress loading(!s.model.quiet);
  loading.note("loading " + s.model.path);
  Engine engine(s.model, s.student);
  const GenerationOptions options = chat_options(s, engine);
  const Conversation format = conversation(conversation_format(s.model_id));

  std::vector<std::vector<TokenId>> prompts;
  Index longest = 0;
  for (const ChatQuestion& q : questions) {
    prompts.push_back(encode_question(format, q.text, engine.tokenizer()));
    longest = std::max(longest, std::ssize(prompts.back()));
  }
  const Index context = engine.context(longest + std::min(s.max_new_tokens, engine.config().max_context));
  for (std::size_t i = 0; i < prompts.size(); ++i)
    if (std::ssize(prompts[i]) > context)
      throw Error(s.question_file + ": record " + std::to_string(i) + ": its prompt of " +
                  std::to_string(prompts[i].size()) + " tokens does not fit into a context of " +
                  std::to_string(context));
  RunLog log(log_path, manifest_of(s, options, engine, context), RunStart::resume, check_of(questions),
             name_own_engine<nlohmann::json>);
  engine.reserve(context, s.parallel);
  loading.clear();

  answer(s, engine, options, questions, prompts, log);
  if (log.size() != std::ssize(questions)) {
    std::fprintf(stderr, "evaluate: interrupted; the same command goes on from there\n");
    return 1;
  }
  const std::string answers = answer_lines(s, questions, log);
  log.finish();
  write_whole_file(s.answer_file, answers);
  return 0;
}

}  // namespace

void add_chat_command(CLI::App& app, Command& command) {
  const auto s = std::make_shared<ChatSettings>();
  CLI::App* sub = app.add_subcommand("chat", "sampled answers to open questions, for another model to compare");
  add_model_options(*sub, s->model);
  sub->add_option("--model-id,--model_id", s->model_id,
                  "of the answers; what it contains picks the conversation format")
      ->required();
  sub->add_option("--question-file,--question_file", s->question_file, "lines {\"question_id\", \"text\"}")->required();
  sub->add_option("--answer-file,--answer_file", s->answer_file,
                  "lines {\"question_id\", \"text\", \"answer_id\", \"model_id\", \"metadata\"}")
      ->capture_default_str()
      ->check(file_name());
  s->modes.add_mode(*sub);
  s->modes.add_options(*sub);
  add_student_options(*sub, s->student);
  sub->add_option("--temp,--temperature", s->sampling.temperature, "0: the best token")
      ->capture_default_str()
      ->check(number(0));
  sub->add_option("--top-k,--top_k", s->sampling.top_k, "0: off")->capture_default_str()->check(whole_number<Index>(0));
  sub->add_option("--top-p,--top_p", s->sampling.top_p, "1: off")->capture_default_str()->check(number(0, 1));
  sub->add_option("-s,--seed", s->sampling.seed, "of the random numbers")->capture_default_str();
  sub->add_option("-n,--max-new-tokens,--max_new_tokens", s->max_new_tokens, "tokens to generate")
      ->capture_default_str()
      ->check(whole_number<Index>(1));
  sub->add_option("--repetition_penalty,--repetition-penalty", s->repetition_penalty, "1: none")
      ->capture_default_str()
      ->check(positive_number());
  sub->add_option("-j,--parallel", s->parallel, "texts at once")
      ->capture_default_str()
      ->check(whole_number<Index>(1, 1024));
  sub->callback([s, sub, &command] {
    command = [s, sub] {
      s->modes.read();
      s->mode = s->modes.choose();
      s->modes.check_layers(s->mode);
      s->modes.refuse_useless(std::span(&s->mode.mode, 1),
                              [&](std::string_view key) { return has_use(s->mode.mode, key); });
      refuse_senseless_student(*sub, s->student, needs_amateur(s->mode.mode));
      check_usage(s->mode.mode);
      return chat(*s);
    };
  });
}

}  // namespace activation_trace::examples
