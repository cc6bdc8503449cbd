// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// examples/generate as its users run it, on a tiny random LLaMA.
#include <doctest/doctest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/generation/generate.hpp"
#include "activation_trace/model/llama.hpp"
#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "activation_trace/tokenizer/stream_decoder.hpp"
#include "activation_trace/version.hpp"
#include "cli_fixture.hpp"

using namespace activation_trace;
using activation_trace::test::Program;

namespace {

struct Fixture : test::CliFixture {
  /// The same by the library.
  [[nodiscard]] GenerationResult library(const std::string& prompt, GenerationOptions options) const {
    const Checkpoint checkpoint = load_llama(model);
    const Tokenizer tokenizer = load_tokenizer(model);
    Execution<Host> execution(1);
    Llama llama(checkpoint.config, checkpoint.weights, {.max_context = 200}, execution);
    options.eos = {2};
    return generate(llama, StreamDecoder(tokenizer), tokenizer.encode_prompt(prompt), options);
  }
};

void ends_line(std::string& text) {
  if (text.empty() || text.back() != '\n') text += '\n';
}

}  // namespace

TEST_CASE_FIXTURE(Fixture, "the text is the library's, in both modes, from both formats, for any threads and batch") {
  const std::string prompt = "Who was the first?";
  write_tiny_folder(tiny, folder / "folder");
  for (const std::string mode : {"baseline", "activation"}) {
    std::string expected =
        library(prompt, {.mode = mode == "baseline" ? Mode(Baseline{})
                                                    : Mode(Activation{.alpha = 2, .context = {.info_layer = 1}}),
                         .max_new_tokens = 24})
            .text;
    ends_line(expected);
    for (const std::string& source : {model, (folder / "folder").string()})
      for (const std::vector<std::string>& more :
           {std::vector<std::string>{}, {"-t", "2", "-b", "3"}, {"--no-mmap", "-c", "100", "--temp", "0"}}) {
        std::vector<std::string> arguments{"-m", source, "-p", prompt, "-n", "24", "--decoding_mode", mode};
        if (mode == "activation") arguments.insert(arguments.end(), {"--alpha", "2", "--info_layer", "1"});
        arguments.insert(arguments.end(), more.begin(), more.end());
        const Finished result = run(arguments);
        CHECK(result.code == 0);
        CHECK(result.out == expected);
        CHECK(result.err.find(mode + ": prompt ") != std::string::npos);
      }
  }
}

TEST_CASE_FIXTURE(Fixture, "prompts from a file and from -p with escapes, stop strings") {
  const std::string prompt = "a\tb\n\"c\"\\";
  test::write_file(folder / "prompt.txt", prompt);
  const Finished from_file = with_model({"-f", (folder / "prompt.txt").string(), "-n", "12", "-q"});
  const Finished escaped = with_model({"-p", R"(a\tb\n\"c\"\\)", "-n", "12", "-q"});
  CHECK(from_file.code == 0);
  CHECK(from_file.out == escaped.out);
  CHECK(from_file.err.empty());
  const Finished raw = with_model({"-p", R"(a\tb\n\"c\"\\)", "--no-escape", "-n", "12", "-q"});
  CHECK(raw.out != escaped.out);

  const std::string text = library("stop here", {.max_new_tokens = 20}).text;
  const std::string stop = text.substr(4, 3);
  const Finished stopped = with_model({"-p", "stop here", "-n", "20", "--stop", "never", "--stop_words", stop});
  std::string expected = library("stop here", {.max_new_tokens = 20, .stop = {stop}}).text;
  if (!expected.empty()) ends_line(expected);
  CHECK(stopped.out == expected);
  CHECK(stopped.err.find("ended by stop_string") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "every line of a trace is JSON with what the step saw, whatever the bytes") {
  const std::string trace = (folder / "trace.jsonl").string();
  for (const std::string mode : {"baseline", "activation"}) {
    // Raw bytes are tokens of this model: most pieces are no UTF-8.
    std::vector<std::string> arguments{
        "-p", "x", "-n", "60", "--ignore-eos", "--relative_top", "0.01", "--trace", trace, "--decoding_mode", mode};
    if (mode == "activation") arguments.insert(arguments.end(), {"--alpha", "1.5"});
    const Finished result = with_model(arguments);
    REQUIRE(result.code == 0);
    const std::vector<nlohmann::json> lines = test::json_lines(test::read_text(trace));
    REQUIRE(lines.size() == 60);
    std::string text;
    bool replaced = false;
    for (std::size_t step = 0; step < lines.size(); ++step) {
      const nlohmann::json& line = lines[step];
      CHECK(line["mode"] == mode);
      CHECK(line["step"] == step);
      text += line["text"].get<std::string>();
      replaced = replaced || line["piece"].get<std::string>().find("\xef\xbf\xbd") != std::string::npos;
      CHECK(line["changed"].get<bool>() == (line["id"] != line["without_entropy"]));
      bool found = false;
      for (const nlohmann::json& c : line["kept"]) {
        found = found || c["id"] == line["id"];
        if (mode == "activation")
          CHECK(c["score"].get<double>() ==
                doctest::Approx(c["log_prob"].get<double>() - 1.5 * c["entropy"].get<double>()).epsilon(1e-5));
        CHECK(c["score"].get<double>() <= line["score"].get<double>());
      }
      CHECK(found);
    }
    CHECK(replaced);
    ends_line(text);
    CHECK(result.out == text);
  }
}

TEST_CASE_FIXTURE(Fixture, "--compare shows both answers token by token") {
  const Finished result =
      with_model({"-p", "two answers", "-n", "9", "--alpha", "3", "--relative_top", "0.001", "--compare"});
  REQUIRE(result.code == 0);
  std::istringstream stream(result.out);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  REQUIRE(lines.size() >= 13);
  CHECK(lines[0].find("greedy") != std::string::npos);
  CHECK(lines[0].find("activation") != std::string::npos);
  CHECK(lines[2].starts_with("   1  "));
  const GenerationOptions greedy{.mode = Baseline{}, .max_new_tokens = 9};
  const GenerationOptions sharp{.mode = Activation{.alpha = 3, .filter = {.relative_top = 0.001f}},
                                .max_new_tokens = 9};
  CHECK(library("two answers", greedy).ids != library("two answers", sharp).ids);
  CHECK(result.out.find(" *\n") != std::string::npos);
  CHECK(result.out.ends_with("\ngreedy:     " + library("two answers", greedy).text +
                             "\nactivation: " + library("two answers", sharp).text + "\n"));
  CHECK(result.out.find("\x1b[") == std::string::npos);  // not a terminal
}

TEST_CASE_FIXTURE(Fixture, "--color shades on demand, and by default on terminals only") {
  const std::vector<std::string> arguments{"-m", model, "-p", "colours", "-n", "5", "-q"};
  const auto with = [&](std::vector<std::string> more, const std::vector<std::string>& environment = {}) {
    more.insert(more.begin(), arguments.begin(), arguments.end());
    return run(more, environment);
  };
  const std::string plain = with({}).out;
  CHECK(with({"--color"}).out == plain);  // a file
  CHECK(with({"--color=never"}).out == plain);
  const Finished forced = with({"--color=always"}, {"NO_COLOR=1"});
  CHECK(forced.out.find("\x1b[48;2;") != std::string::npos);
  CHECK(forced.err.find("flat, entropy ") != std::string::npos);
  std::string bare;
  for (std::size_t i = 0; i < forced.out.size(); ++i) {
    if (forced.out[i] == '\x1b')
      i = forced.out.find('m', i);
    else
      bare += forced.out[i];
  }
  CHECK(bare == plain);
}

TEST_CASE_FIXTURE(Fixture, "Ctrl-C ends with what was generated, a second one kills") {
  // The trace goes into a pipe that is not read: the program waits in the middle of its answer.
  const std::string pipe = (folder / "pipe").string();
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  const std::vector<std::string> arguments{"-m", model, "-p",  "long",    "-n", "-1",          "--relative_top",
                                           "0",  "-c",  "500", "--trace", pipe, "--ignore-eos"};
  const auto first_line = [&](std::ifstream& trace) {
    std::string line;
    REQUIRE(std::getline(trace, line));
    CHECK(nlohmann::json::parse(line)["step"] == 0);
  };
  {
    Program program(folder.path(), arguments);
    std::ifstream trace(pipe);
    first_line(trace);
    program.interrupt();
    const std::string rest{std::istreambuf_iterator<char>(trace), {}};
    program.wait();
    CHECK(program.code == 0);
    CHECK(program.err.find("ended by cancelled") != std::string::npos);
    std::string text;
    for (const nlohmann::json& line : test::json_lines(rest)) text += line["text"].get<std::string>();
    CHECK(test::json_lines(rest).size() < 490);
    CHECK(program.out.find(text) != std::string::npos);
  }
  {
    Program program(folder.path(), arguments);
    const int trace = open(pipe.c_str(), O_RDONLY);
    REQUIRE(trace >= 0);
    // The pipe is full and stays so: the program waits in a write, and looks at the first Ctrl-C no sooner than after.
    const auto waiting = [&] {
      int bytes = 0;
      REQUIRE(ioctl(trace, FIONREAD, &bytes) == 0);
      return bytes;
    };
    for (int before = -1, steady = 0; steady < 20; std::this_thread::sleep_for(std::chrono::milliseconds(10))) {
      const int now = waiting();
      steady = now == before && now > 60000 ? steady + 1 : 0;
      before = now;
    }
    while (!program.ended()) {
      program.interrupt();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    close(trace);
    CHECK(program.code == -SIGINT);
  }
}

TEST_CASE_FIXTURE(Fixture, "--help and --version") {
  const Finished help = run({"--help"});
  CHECK(help.code == 0);
  for (const char* option : {"--model", "--prompt", "--info_layer", "--relative_top", "--compare", "--trace"})
    CHECK(help.out.find(option) != std::string::npos);
  CHECK(run({"--version"}).out.starts_with(std::to_string(ACTIVATION_TRACE_VERSION_MAJOR) + "."));
}

TEST_CASE_FIXTURE(Fixture, "user errors are one line that names the thing, with the right exit code") {
  const auto file = [&](const std::string& name, const auto& content) {
    test::write_file(folder / name, content);
    return (folder / name).string();
  };
  const auto load = [&](const std::string& path) { return run({"-m", path, "-p", "x"}); };

  // The model.
  fails(load((folder / "missing.gguf").string()), 1, {"missing.gguf"});
  std::vector<std::byte> bytes = test::tiny_gguf(tiny).bytes();
  for (const double part : {0.001, 0.02, 0.5, 0.999}) {
    const auto size = static_cast<std::size_t>(part * static_cast<double>(bytes.size()));
    fails(load(file("truncated.gguf", std::span<const std::byte>(bytes).first(size))), 1, {"truncated.gguf"});
  }
  fails(load(file("empty.gguf", std::string_view())), 1, {"empty.gguf"});
  fails(load(file("text.gguf", std::string_view("this is not a model at all"))), 1, {"text.gguf"});
  fails(load(file("family.gguf", test::GgufBuilder().value("general.architecture", "mamba").bytes())), 1,
        {"family.gguf", "mamba"});
  fails(load(file("no_vocab.gguf", tiny.gguf().bytes())), 1, {"no_vocab.gguf", "no_vocab"});
  fails(load(folder.path().string()), 1, {"config.json"});
  std::filesystem::create_directory(folder / "untokenized");
  tiny.write_hugging_face(folder / "untokenized");
  fails(load((folder / "untokenized").string()), 1, {"untokenized"});

  // The prompt and the context.
  fails(with_model({"-p", ""}), 2, {"prompt", "empty"});
  fails(with_model({"-f", file("nothing.txt", std::string_view())}), 2, {"prompt", "empty"});
  fails(with_model({"-f", (folder / "missing.txt").string()}), 1, {"missing.txt"});
  fails(with_model({"-f", folder.path().string()}), 1, {folder.path().string()});
  fails(with_model({"-p", "far too long", "-c", "4"}), 1, {"prompt", "11 tokens", "context of 4"});
  fails(with_model({"-p", std::string(2000, 'x')}), 1, {"prompt", "2000 tokens", "context of 512"});
  fails(with_model({"-p", "x", "-c", "0"}), 2, {"--ctx-size", "0"});
  fails(with_model({"-p", "x", "-c", "513"}), 1, {"513", "512"});
  fails(with_model({}), 2, {"-p"});
  fails(with_model({"-p", "x", "-f", "y"}), 2, {"--file"});
  fails(run({"-p", "x"}), 2, {"--model"});

  fails(with_model({"-p", "x", "--info_layer", "3"}), 1, {"layer 3", "-3..2"});
  fails(with_model({"-p", "x", "--info-layer", "-4"}), 1, {"layer -4"});
  fails(with_model({"-p", "x", "--context-span", "7:"}), 1, {"context span"});
  fails(with_model({"-p", "x", "--trace", (folder / "no_folder/trace").string()}), 1, {"no_folder/trace"});
}
