// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "activation_trace/ops/arithmetic.hpp"
#include "activation_trace/processors/mode_text.hpp"
#include "support/command_line.hpp"
#include "support/model_settings.hpp"

// The part of a command line that says which model is run, and how.
namespace activation_trace::examples {

/// Throws UsageError unless this program was built with the engine. Defined where engines are loaded.
void check_engine_is_there(EngineName engine);
/// Whether our own engine was built for CUDA devices, too.
[[nodiscard]] bool cuda_engine_is_there();

/// The amateur of contrastive decoding.
struct StudentSettings {
  std::string name;                  ///< "ngram", a model, or empty: none
  bool ignore_prefix = false;        ///< it is shown the prompt's last token only
  std::optional<EngineName> engine;  ///< that runs it; none: the model's

  [[nodiscard]] bool is_model() const { return !name.empty() && name != "ngram"; }
};

inline void add_threads_option(CLI::App& app, ModelSettings& s, const std::string& help = "threads") {
  app.add_option("-t,--threads", s.threads, help)->capture_default_str()->check(whole_number<int>(1, 1024));
}

/// Whether the published scripts' options for GPUs are taken where they mean nothing, as elsewhere in `evaluate`.
enum class PublishedGpuOptions { refused, told };
inline constexpr const char* kPublishedGpuOptions[] = {"--num-gpus", "--max_gpu_memory"};

namespace engine_options {

/// One of an enumeration's values, by name.
template <NamedEnum E, class Value>
CLI::Option* add_name(CLI::App& app, const std::string& names, Value& value, const std::string& help) {
  const std::string expected = OptionText<E>::expected();
  return app
      .add_option_function<std::string>(
          names,
          [&value, names, expected](const std::string& text) {
            const std::optional<E> read = OptionText<E>::read(text);
            if (!read)
              throw CLI::ValidationError(names.substr(0, names.find(',')), "expected " + expected + ", got " + text);
            value = *read;
          },
          help)
      ->type_name(expected);
}

/// A number, or none for `word`.
inline CLI::Option* add_number_or(CLI::App& app, const std::string& names, std::optional<Index>& value, Index low,
                                  const std::string& word, const std::string& help) {
  return app
      .add_option_function<std::string>(
          names,
          [&value, names, low, word](const std::string& text) {
            value = parse_number<Index>(text);
            if (text == word ? value.has_value() : !value || *value < low)
              throw CLI::ValidationError(
                  names.substr(0, names.find(',')),
                  "expected " + word + ", or a whole number from " + std::to_string(low) + " on, got " + text);
          },
          help)
      ->type_name("N|" + word);
}

inline void add_device_option(CLI::App& app, std::optional<int>& device) {
  app.add_option_function<std::string>(
         "--device",
         [&device](const std::string& text) {
           const auto number = text.starts_with("cuda:") ? parse_number<int>(text.substr(5)) : std::optional<int>(0);
           if ((text != "cpu" && text != "cuda" && !text.starts_with("cuda:")) || !number || *number < 0)
             throw CLI::ValidationError("--device", "expected cpu, cuda or cuda:NUMBER, got " + text);
           device = text == "cpu" ? std::nullopt : number;
         },
         "where our own engine runs (default: cpu)")
      ->type_name("cpu|cuda[:i]");
}

inline void add_llama_cpp_options(CLI::App& app, LlamaCppSettings& s) {
  add_number_or(app, "--n-gpu-layers,--n_gpu_layers,--gpu-layers", s.gpu_layers, 0, "all",
                "-ngl: layers on GPUs, the last ones (default: all)");
  add_number_or(app, "--num-gpus,--num_gpus", s.gpus, 1, "auto",
                "GPUs to use, the first that there are (default: all; of --device cuda:i 1, from i on)");
  app.add_option("--max_gpu_memory,--max-gpu-memory", s.gpu_memory,
                 "GiB of weights that a GPU takes, the rest stays on the host, but not of --device cuda "
                 "(default: all of its memory)")
      ->check(positive_number());
  app.add_option_function<std::string>(
         "--tensor-split,--tensor_split",
         [&s](const std::string& text) {
           const auto shares = OptionText<std::vector<double>>::read(text);
           const auto is_share = [](double x) { return x >= 0 && x < 1e9; };
           if (!shares || !std::ranges::all_of(*shares, is_share) ||
               std::ranges::count(*shares, 0.0) == std::ssize(*shares))
             throw CLI::ValidationError("--tensor-split", "expected shares of the GPUs like 3,1, got " + text);
           s.tensor_split = *shares;
         },
         "-ts: how much each GPU takes, 3,1 (default: by free memory)")
      ->type_name("SHARE,...");
  app.add_option("--rpc", s.rpc, "llama.cpp's RPC servers, whose devices come first; trust them and the network")
      ->delimiter(',')
      ->type_name("HOST:PORT,...");
  const std::vector<std::string> types{"f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"};
  app.add_option(
         "--cache-type-k,--cache_type_k", s.cache_type_k,
         "-ctk: of keys, of our own engine f32 or f16; f32 is exact (default: f16 of llama.cpp, f32 of our own)")
      ->check(CLI::IsMember(types));
  app.add_option("--cache-type-v,--cache_type_v", s.cache_type_v, "-ctv: of values, the same; of our own as of keys")
      ->check(CLI::IsMember(types));
  app.add_option_function<std::string>(
         "--flash-attn,--flash_attn",
         [&s](const std::string& text) {
           if (text != "on" && text != "off")
             throw CLI::ValidationError("--flash-attn", "expected on|off, got " + text);
           s.flash_attention = text == "on";
         },
         "-fa: faster, and less exact (default: off)")
      ->type_name("on|off");
}

/// Throws UsageError for arithmetic that what runs the model does not have.
inline void refuse_senseless_arithmetic(const CLI::App& app, const ModelSettings& s) {
  if (app.count("--arithmetic") == 0) return;
  const std::string option = "--arithmetic " + std::string(name(s.arithmetic));
  if (s.engine != EngineName::own) throw UsageError(option + ": is for our own engine; llama.cpp has its own");
}

/// Throws UsageError for a model shared out over devices that are not there.
inline void refuse_senseless_split(const CLI::App& app, const ModelSettings& s) {
  if (app.count("--split-mode") == 0) return;
  const std::string option = "--split-mode " + std::string(name(s.split));
  if (s.engine != EngineName::own || !s.cuda_device)
    throw UsageError(option + ": is for our own engine with --device cuda");
  if (s.split != SplitMode::layer && s.llama_cpp.gpus.value_or(1) < 2)
    throw UsageError(option + ": needs --num-gpus of 2 or more, which share every block");
}

/// Throws UsageError for a device that cannot be. The published scripts' --device cuda is told, and forgotten.
inline void refuse_senseless_device(const CLI::App& app, ModelSettings& s, PublishedGpuOptions published) {
  if (app.count("--device") == 0) return;
  const auto text = app.get_option("--device")->as<std::string>();
  const bool own = s.engine == EngineName::own;
  if (own && (!s.cuda_device || cuda_engine_is_there())) return;
  if (published == PublishedGpuOptions::refused || text != "cuda")
    throw UsageError(
        "--device " + text +
        (own ? ": this program was built without CUDA; a build with -DACTIVATION_TRACE_ENABLE_CUDA=ON has it"
             : ": is for our own engine; llama.cpp is told by -ngl, and by --num-gpus and --tensor-split"));
  s.cuda_device.reset();
}

/// The cache of our own engine, by llama.cpp's flags. Throws UsageError for one that it does not have.
inline void choose_own_cache(const CLI::App& app, ModelSettings& s) {
  const auto of = [&](const char* option, const std::string& given) { return app.count(option) == 0 ? "f32" : given; };
  const std::string keys = of("--cache-type-k", s.llama_cpp.cache_type_k);
  const std::string values = of("--cache-type-v", s.llama_cpp.cache_type_v);
  for (const auto& [option, type] : {std::pair{"--cache-type-k ", keys}, {"--cache-type-v ", values}})
    if (type != "f32" && type != "f16") throw UsageError(option + type + ": our own engine has f32 and f16");
  if (keys != values)
    throw UsageError("--cache-type-k " + keys + ", --cache-type-v " + values +
                     ": our own engine keeps keys and values alike, f32 unless both are told");
  s.cache = keys == "f16" ? DType::f16 : DType::f32;
}

/// Throws UsageError for options of an engine that is not to run.
inline void refuse_senseless_engine(const CLI::App& app, ModelSettings& s, PublishedGpuOptions published) {
  refuse_senseless_device(app, s, published);
  refuse_senseless_split(app, s);
  refuse_senseless_arithmetic(app, s);
  check_engine_is_there(s.engine);
  if (s.engine == EngineName::llama_cpp) return;
  if (s.cuda_device && app.count("--num-gpus") != 0 && !s.llama_cpp.gpus)
    throw UsageError("--num-gpus auto: is llama.cpp's; --device cuda takes a number");
  for (const char* option :
       {"--n-gpu-layers", "--num-gpus", "--max_gpu_memory", "--tensor-split", "--rpc", "--flash-attn"})
    if (const bool known = std::ranges::count(kPublishedGpuOptions, std::string(option)) != 0;
        app.count(option) != 0 && !(known && (s.cuda_device || published == PublishedGpuOptions::told)))
      throw UsageError(std::string(option) + ": needs --engine llama.cpp; our own engine takes --device");
  choose_own_cache(app, s);
}

}  // namespace engine_options

/// The engine and its options.
inline void add_engine_options(CLI::App& app, ModelSettings& s,
                               PublishedGpuOptions published = PublishedGpuOptions::refused) {
  const std::string group = app.option_defaults()->get_group();
  app.option_defaults()->group("Engine");
  engine_options::add_name<EngineName>(
      app, "--engine", s.engine,
      "what runs the model (default: own); the rest, but --device, -sm, --arithmetic and -ctk, is llama.cpp's");
  engine_options::add_device_option(app, s.cuda_device);
  engine_options::add_name<SplitMode>(app, "--split-mode,--split_mode", s.split,
                                      "-sm: what each GPU of --device cuda and --num-gpus has: some layers, or a part "
                                      "of each, summed by us or by NCCL: "
                                      "another order of sums (default: layer)");
  engine_options::add_name<Arithmetic>(app, "--arithmetic", s.arithmetic,
                                       "of our own engine: fast rounds what weights are multiplied by, to 8 bits where "
                                       "those are quantised, and to BF16 where they are that and the processor has its "
                                       "products; with --device cuda, in prompts, to 16 bits, and quantised weights to "
                                       "F16 (default: exact)");
  engine_options::add_llama_cpp_options(app, s.llama_cpp);
  app.option_defaults()->group(group);
  app.parse_complete_callback([&app, &s, published] { engine_options::refuse_senseless_engine(app, s, published); });
}

/// The options of a model.
inline void add_model_options(CLI::App& app, ModelSettings& s,
                              PublishedGpuOptions published = PublishedGpuOptions::refused) {
  app.add_option("-m,--model,--model-name,--model_name", s.path, "a .gguf file or a Hugging Face directory")
      ->required();
  app.add_option("-c,--ctx-size", s.context, "positions of the context (default: what prompt and answer need)")
      ->check(whole_number<Index>(1));
  app.add_option("-b,--batch-size", s.batch, "prompt positions computed at once")
      ->capture_default_str()
      ->check(whole_number<Index>(1));
  add_threads_option(app, s);
  app.add_flag_callback(
      "--no-mmap", [&s] { s.access = FileAccess::read; }, "read the model, into huge pages, instead of mapping it");
  app.add_flag("-q,--quiet", s.quiet, "no progress and no timings");
  add_engine_options(app, s, published);
}

inline void add_student_options(CLI::App& app, StudentSettings& s) {
  app.add_option("--student,--student_model,--student-model", s.name, "the amateur: a model, or ngram (the prompt's)");
  app.add_flag("--ignore_prefix,--ignore-prefix", s.ignore_prefix, "it sees the prompt's last token only");
  engine_options::add_name<EngineName>(app, "--student_engine,--student-engine", s.engine,
                                       "what runs it (default: as --engine)");
}

/// `wanted`: whether a mode subtracts an amateur's likings. Throws UsageError for a student without a use, or for none.
inline void refuse_senseless_student(const CLI::App& app, const StudentSettings& s, bool wanted) {
  for (const char* option : {"--student", "--ignore_prefix", "--student_engine"})
    if (app.count(option) != 0 && !wanted)
      throw UsageError(std::string(option) + ": needs --decoding_mode " + std::string(Contrastive::name));
  if (wanted && s.name.empty())
    throw UsageError("--decoding_mode " + std::string(Contrastive::name) + ": needs --student, a model or ngram");
  if (s.ignore_prefix && s.name == "ngram")
    throw UsageError("--ignore_prefix: --student ngram has nothing but the prompt");
  if (s.engine && s.name == "ngram") throw UsageError("--student_engine: no engine runs --student ngram");
  if (s.engine) check_engine_is_there(*s.engine);
}

}  // namespace activation_trace::examples
