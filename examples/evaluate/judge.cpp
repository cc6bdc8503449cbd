// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/judge.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/prompts.hpp"
#include "activation_trace/evaluation/run_log.hpp"
#include "activation_trace/text/json.hpp"
#include "activation_trace/text/mapped_file.hpp"
#include "evaluate/finished_run.hpp"
#include "evaluate/http_judge.hpp"
#include "evaluate/record_schema.hpp"
#include "evaluate/run.hpp"
#include "evaluate/server_url.hpp"
#include "evaluate/sha256.hpp"
#include "support/command_line.hpp"
#include "support/engine.hpp"
#include "support/interrupt.hpp"
#include "support/run_progress.hpp"

namespace activation_trace::examples {
namespace {

using Json = nlohmann::ordered_json;

struct JudgeSettings {
  std::string run;
  std::array<std::string, 2> models;  ///< of truth and info: files, or names that the server knows
  std::string judgements;
  HttpJudgeOptions http;
  std::string key_variable = "OPENAI_API_KEY";
  ModelSettings model;  ///< how local ones are run
  Index parallel = 4;
};

/// What is rated: truth by one judge, info by another. Either may be missing.
struct Aspect {
  const char* name;
  std::string (*prompt)(std::string_view question, std::string_view answer);
};
constexpr std::array<Aspect, 2> kAspects{{{"truth", truth_judge_prompt}, {"info", info_judge_prompt}}};

struct Question {
  Index sample;
  std::string prompt;
};

/// The judgements of some questions.
using Rate = std::function<std::vector<Judgement>(std::span<const Question>)>;

/// A fine-tuned judge that is run here.
class LocalJudge {
 public:
  LocalJudge(const ModelSettings& settings, std::span<const Question> questions, Index parallel) : engine_(settings) {
    Index longest = 1;
    for (const Question& q : questions)
      longest = std::max(longest, static_cast<Index>(engine_.encode(q.prompt).size()) + 1);
    engine_.reserve(longest, parallel);
    const std::string& prompt = questions.front().prompt;
    const std::vector<TokenId> with = engine_.encode(prompt + " yes");
    const std::size_t place = engine_.encode(prompt).size();
    if (with.size() <= place) throw Error(settings.path + ": its tokenizer has no token for ' yes'");
    yes_ = with[place];
  }

  [[nodiscard]] const Engine& engine() const { return engine_; }

  std::vector<Judgement> operator()(std::span<const Question> questions) {
    std::vector<std::vector<TokenId>> prompts;
    for (const Question& q : questions) prompts.push_back(engine_.encode(q.prompt));
    std::vector<Judgement> result(questions.size());
    const GenerationCallbacks callbacks{.on_token = [&](const GeneratedToken& token) {
      result[static_cast<std::size_t>(token.sequence)].yes = probability(token.record->kept);
      return Continue::yes;
    }};
    static_cast<void>(engine_.generate(
        prompts,
        {.mode = Baseline{}, .max_new_tokens = 1, .record = RecordOptions{.filter = {.min_tokens_to_keep = 2}}},
        callbacks));
    return result;
  }

 private:
  // Of `kept`, which has the two most probable tokens.
  [[nodiscard]] double probability(std::span<const SharpnessCandidate> kept) const {
    const auto yes = std::find_if(kept.begin(), kept.end(), [&](const auto& c) { return c.id == yes_; });
    if (yes == kept.end()) return 0;
    const auto above =
        std::count_if(kept.begin(), kept.end(), [&](const auto& c) { return c.log_prob > yes->log_prob; });
    return above < 2 ? std::exp(static_cast<double>(yes->log_prob)) : 0;
  }

  Engine engine_;
  TokenId yes_ = 0;
};

Rate rate_by_file(const std::string& name, Records judgements, const char* aspect) {
  return [judgements = std::move(judgements), name, aspect](std::span<const Question> questions) {
    std::vector<Judgement> result;
    for (const Question& q : questions) {
      const auto found = judgements.find(q.sample);
      const std::string place = name + ": sample " + std::to_string(q.sample);
      if (found == judgements.end()) throw Error(place + " is missing");
      const auto member = found->second.find(aspect);
      if (member == found->second.end()) throw Error(place + ": there is no '" + aspect + "'");
      const Json& value = *member;
      if (value.is_null()) {  // as this program writes it
        result.push_back({std::nullopt, {}});
        continue;
      }
      const double p = value.is_boolean()  ? (value.get<bool>() ? 1.0 : 0.0)
                       : value.is_number() ? value.get<double>()
                                           : -1;
      if (!(p >= 0 && p <= 1))
        throw Error(place + ": expected '" + aspect + "' to be a probability, found " +
                    activation_trace::detail::printable(activation_trace::detail::json_text(value)));
      result.push_back({p});
    }
    return result;
  };
}

/// The judge of an aspect, or nothing if none is named. `identity` says which it is.
Rate make_judge(const JudgeSettings& settings, std::size_t aspect, std::span<const Question> questions,
                Json& identity) {
  const std::string& model = settings.models[aspect];
  if (!settings.judgements.empty()) {
    const char* name = kAspects[aspect].name;
    identity = {{"judgements", sha256_of_file(settings.judgements)}};
    Records records = read_run_records(settings.judgements);
    const bool rated =
        std::any_of(records.begin(), records.end(), [&](const auto& r) { return r.second.contains(name); });
    return rated ? rate_by_file(settings.judgements, std::move(records), name) : Rate();
  }
  if (model.empty()) return nullptr;
  if (!settings.http.url.empty()) {
    const bool chat = settings.http.api == HttpJudgeOptions::Api::chat;
    identity = {
        {"url", parse_server_url(settings.http.url).shown()}, {"api", chat ? "chat" : "completions"}, {"model", model}};
    return [judge = http_judge(settings.http, model)](std::span<const Question> group) {
      std::vector<Judgement> result;
      for (const Question& q : group) result.push_back(judge(q.prompt));
      return result;
    };
  }
  ModelSettings local = settings.model;
  local.path = model;
  const auto judge = std::make_shared<LocalJudge>(local, questions, settings.parallel);
  const Json known = identity_of_model(model);
  identity = {{"model", known["path"]}, {"sha256", known["sha256"]}};
  identity.update(judge->engine().program());
  return [judge](std::span<const Question> group) { return (*judge)(group); };
}

/// The judgements that are missing, group by group. Returns whether all are there.
bool judge_all(const JudgeSettings& settings, const FinishedRun& run) {
  std::array<std::vector<Question>, 2> questions;
  for (const auto& [sample, record] : run.records)
    for (std::size_t a = 0; a < 2; ++a)
      questions[a].push_back({sample, kAspects[a].prompt(question_of(record), answer_of(record))});

  Json manifest{{"task", "judge"}, {"run", sha256_of_file(run.path)}};
  std::array<Rate, 2> judges;
  for (std::size_t a = 0; a < 2; ++a) {
    Json identity;
    judges[a] = make_judge(settings, a, questions[a], identity);
    if (judges[a]) manifest[kAspects[a].name] = identity;
  }
  if (!judges[0] && !judges[1]) throw FormatError(settings.judgements, "has neither 'truth' nor 'info'");
  const RecordCheck check = [&](Index sample, const Json& judgement) {
    if (!run.records.contains(sample)) throw Error("is no sample of this run");
    check_record("judge", judgement, Missing::refused);
  };
  RunLog log(judgements_path(run.path), manifest, RunStart::resume, check, name_own_engine<nlohmann::json>);
  std::array<std::vector<Question>, 2> waiting;
  for (std::size_t a = 0; a < 2; ++a)
    for (const Question& q : questions[a])
      if (!log.has(q.sample)) waiting[a].push_back(q);
  const std::size_t count = waiting[0].size();

  catch_interrupt();
  RunProgress progress("judge", log.size(), std::ssize(run.records), !settings.model.quiet);
  // Local judges take turns after a group: two models of which only one fits into memory are not read for each answer.
  const bool local = settings.judgements.empty() && settings.http.url.empty();
  const std::size_t group = local ? static_cast<std::size_t>(8 * settings.parallel) : 1;
  for (std::size_t first = 0; first < count && interrupted == 0; first += group) {
    const std::size_t size = std::min(group, count - first);
    std::vector<Json> judgements(size, Json::object());
    for (std::size_t a = 0; a < 2; ++a) {
      if (!judges[a]) continue;
      const std::vector<Judgement> said = judges[a](std::span(waiting[a]).subspan(first, size));
      for (std::size_t i = 0; i < size; ++i) {
        const char* aspect = kAspects[a].name;
        judgements[i][aspect] = said[i].yes ? Json(*said[i].yes) : Json();
        if (said[i].yes) continue;
        if (!said[i].reply.empty()) judgements[i][std::string(aspect) + "_reply"] = said[i].reply;
        progress.clear();
        std::fprintf(
            stderr,
            "evaluate: warning: sample %td: the judge of '%s' said neither yes nor no but '%s': null in %s, which "
            "counts as no\n",
            waiting[a][first + i].sample, aspect, said[i].reply.c_str(), judgements_path(run.path).c_str());
      }
    }
    for (std::size_t i = 0; i < size; ++i) {
      log.append(waiting[0][first + i].sample, std::move(judgements[i]));
      progress.advance();
    }
  }
  progress.clear();
  if (log.size() != std::ssize(run.records)) return false;
  log.finish();
  return true;
}

int judge(JudgeSettings settings) {
  if (const char* key = std::getenv(settings.key_variable.c_str())) settings.http.key = key;
  settings.http.key_name = settings.key_variable;
  const FinishedRun run = read_run(settings.run);
  const Task* task = find_task(run.task());
  if (task == nullptr || !task->judged)
    throw ArgumentError(settings.run + ": is of the task " + run.task() + ", expected " +
                        names_of_tasks([](const Task& t) { return t.judged; }) + ": only its answers are judged");
  if (run.records.empty()) throw ArgumentError(settings.run + ": there are no answers to judge");
  if (!judge_all(settings, run)) {
    std::fprintf(stderr, "evaluate: interrupted; the same command goes on from there\n");
    return 1;
  }
  const FinishedRun judged = read_run(settings.run);
  write_summary(settings.run, judged.manifest, judged.records);
  return 0;
}

}  // namespace

void add_judge_command(CLI::App& app, Command& command) {
  const auto s = std::make_shared<JudgeSettings>();
  CLI::App* sub = app.add_subcommand("judge", "whether the answers of truthfulqa-gen are true and informative");
  sub->add_option("OUT", s->run, "--output-path of a finished truthfulqa-gen")->required();
  CLI::Option* truth = sub->add_option("--truth-model,--truth_model", s->models[0],
                                       "the judge of truth: a model file, or with --url a name the server knows");
  CLI::Option* info = sub->add_option("--info-model,--info_model", s->models[1], "the judge of information, the same");
  CLI::Option* file = sub->add_option("--judgements", s->judgements,
                                      "a file of ratings instead: lines {\"sample\", \"truth\": p, \"info\": p}");
  CLI::Option* url = sub->add_option(
      "--url", s->http.url,
      "an OpenAI-compatible server, http://HOST:PORT; its answers may have 1 MiB. user:password@ and what "
      "follows '?' are sent, and written nowhere");
  file->excludes(truth)->excludes(info)->excludes(url);
  add_choice(*sub, "--api", s->http.api,
             {{"completions", HttpJudgeOptions::Api::completions}, {"chat", HttpJudgeOptions::Api::chat}},
             "how the server is asked: the probability of \" yes\" (default: completions), or a reply of yes or no");
  sub->add_option("--api-key-env,--api_key_env", s->key_variable, "the environment variable with the server's key")
      ->capture_default_str();
  sub->add_flag("--send-key-unencrypted,--send_key_unencrypted", s->http.send_key_unencrypted,
                "send a key or password by http:// to another machine, where all on the way can read it");
  sub->add_option("--timeout", s->http.timeout_seconds, "seconds in which the server's whole answer must be there")
      ->capture_default_str()
      ->check(positive_number());
  sub->add_option("--tries", s->http.tries, "of a question, before giving up")
      ->capture_default_str()
      ->check(whole_number<int>(1, 100));
  sub->add_option("--wait", s->http.wait_seconds, "seconds before the second try, twice as long each time")
      ->capture_default_str()
      ->check(number(0));
  add_threads_option(*sub, s->model, "threads of a local judge");
  add_engine_options(*sub, s->model);
  sub->add_option("-j,--parallel", s->parallel, "answers that a local judge reads at once")
      ->capture_default_str()
      ->check(whole_number<Index>(1, 1024));
  sub->add_flag("-q,--quiet", s->model.quiet, "no progress");
  sub->callback([s, sub, &command] {
    if (s->judgements.empty() && s->models[0].empty() && s->models[1].empty())
      throw UsageError("judge: name a judge: --truth-model and --info-model, or --judgements");
    for (const char* option : {"--api", "--api-key-env", "--send-key-unencrypted", "--timeout", "--tries", "--wait"})
      if (s->http.url.empty() && sub->count(option) != 0) throw UsageError(std::string(option) + ": needs --url");
    for (const char* option : {"--engine", "--device"})
      if (sub->count(option) != 0 && (!s->http.url.empty() || !s->judgements.empty()))
        throw UsageError(std::string(option) + ": is for local judges, and there are none");
    command = [s] { return judge(*s); };
  });
}

}  // namespace activation_trace::examples
