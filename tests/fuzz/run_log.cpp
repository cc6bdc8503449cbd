// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/evaluation/run_log.hpp"

#include <cstdint>
#include <cstdlib>

#include "evaluate/finished_run.hpp"
#include "evaluate/summary.hpp"
#include "fuzz/inputs.hpp"

using namespace activation_trace;

// Between lines of "----" a manifest, finished records, the part of a run that goes on, and judgements are a run, or a
// typed error; and a run that is resumed and finished keeps what it had.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr const char* names[] = {"run.manifest.json", "run", "run.part", "run.judgements.jsonl"};
  const std::filesystem::path run = test::input_folder() / "run";
  for (const auto& old : std::filesystem::directory_iterator(test::input_folder())) std::filesystem::remove(old);
  const auto parts = test::input_parts(test::text_of_input(data, size));
  for (std::size_t i = 0; i < std::min(parts.size(), std::size(names)); ++i)
    if (!parts[i].empty()) static_cast<void>(test::input_file(names[i], parts[i]));
  try {
    const examples::FinishedRun finished = examples::read_run(run);
    static_cast<void>(detail::json_text(examples::summarize(finished.manifest, finished.records, {.resamples = 10})));
  } catch (const Error&) {
  }
  try {
    const auto manifest = nlohmann::ordered_json::parse(parts.front(), nullptr, false);
    if (!manifest.is_object()) return 0;
    RunLog log(run, manifest, RunStart::resume);
    const Index before = log.size();
    if (!log.has(7)) log.append(7, {{"text", "\xff"}});
    const Index after = log.size();
    if (after < before) std::abort();
    log.finish();
    if (static_cast<Index>(read_run_records(run).size()) != after) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
