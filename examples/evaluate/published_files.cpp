// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/published_files.hpp"

#include <nlohmann/json.hpp>

namespace activation_trace::examples {
namespace {

using Json = nlohmann::ordered_json;

/// --early_exit_layers as it was.
Json early_exit_layers(const FinishedRun& run) {
  Json layers = option_of(run, "early_exit_layers");
  return layers.is_array() ? layers : Json::array({-1});
}

std::string published_mode(const FinishedRun& run) {
  const Json mode = option_of(run, "decoding_mode");
  if (mode == "activation_dola") return "with_dola";
  if (mode == "dola_static") return "early_exit_contrastive";
  return mode.is_string() ? mode.get<std::string>() : std::string();
}

/// vars(args) of a script: its flags in their order, as they are here or by default.
Json parameters(const FinishedRun& run, bool truthfulqa) {
  std::string layers;
  for (const Json& layer : early_exit_layers(run)) layers += (layers.empty() ? "" : ",") + layer.dump();
  const auto penalty = option_of(run, "repetition_penalty");
  Json p{{"model_name", model_name(run)}, {"num_gpus", "1"}};
  if (truthfulqa) p["val_test_mode"] = "";
  p.update({{"max_gpu_memory", 27},
            {"device", run.device()},
            {"output_path", run.path.string()},
            {"early_exit_layers", layers},
            {"parallel", false},
            {"total_shard", 8},
            {"shard_id", nullptr},
            {"do_rating", true},
            {"gpt3_config", nullptr},
            {"max_new_tokens", option_of(run, "max_new_tokens")},
            {"top_p", 0.95},
            {"top_k", 0},
            {"temperature", 0.9},
            {"repetition_penalty", truthfulqa && penalty == 1 ? Json() : penalty},
            {"relative_top", option_of(run, "relative_top")},
            {"dataset_name", std::string(truthfulqa ? "triviaqa" : known_task(run.task()).dataset_name)},
            {"data_path", run.manifest["data"].value("path", Json())},
            {"decoding_mode", option_of(run, "decoding_mode")}});
  if (truthfulqa) p.update({{"activation", false}, {"with_dola", false}});
  p.update({{"alpha", option_of(run, "alpha")},
            {"info_layer", option_of(run, "info_layer")},
            {"decoding_strategy", option_of(run, "decoding_strategy")}});
  if (!truthfulqa) p["prompt_style"] = option_of(run, "prompt_style");
  p["return_adjust_scores"] = true;
  if (truthfulqa) p["mj_threshold"] = nullptr;
  p["debug"] = false;
  return p;
}

}  // namespace

void add_published_run(Json& rating, const FinishedRun& run, PublishedScript script, const std::string& prompt) {
  const bool truthfulqa = script == PublishedScript::truthfulqa;
  rating.update({{"model_name", model_name(run)},
                 {"dataset", truthfulqa ? "truthfulqa" : "triviaqa"},
                 {"early_exit_layers", early_exit_layers(run)},
                 {"mode", published_mode(run)},
                 {"parameters", parameters(run, truthfulqa)},
                 {"sample_prompt", prompt}});
}

std::vector<NamedContent> published_files(const FinishedRun& run) {
  const Task* task = find_task(run.task());
  if (task == nullptr || task->published_files == nullptr)
    throw ArgumentError("--format reference: the published code has no such files for " + run.task() + ", only for " +
                        names_of_tasks([](const Task& t) { return t.published_files != nullptr; }));
  try {
    return task->published_files(run);
  } catch (const Json::exception& e) {
    throw FormatError(run.path.string(), std::string("a record lacks what the reference writes: ") + e.what());
  }
}

}  // namespace activation_trace::examples
