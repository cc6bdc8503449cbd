// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/tiny_llama.hpp"

extern char** environ;

namespace activation_trace::test {

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// One run of a program, its output in files of `folder`.
class Program {
 public:
  /// Standard output goes to the file `output`, which may be a device, or to one of `folder`.
  Program(const std::filesystem::path& folder, const std::vector<std::string>& arguments,
          const std::vector<std::string>& environment = {}, const std::string& program = ACTIVATION_TRACE_GENERATE,
          const std::string& output = {})
      : out_(output.empty() ? folder / "stdout" : std::filesystem::path(output)), err_(folder / "stderr") {
    std::vector<std::string> words{program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<std::string> variables = environment;
    for (char** v = environ; *v != nullptr; ++v)
      if (!std::string(*v).starts_with("NO_COLOR=") && !std::string(*v).starts_with("TERM="))
        variables.emplace_back(*v);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int failed =
        posix_spawn(&pid_, program.c_str(), &actions, nullptr, pointers(words).data(), pointers(variables).data());
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) throw std::runtime_error("cannot start " + program);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  void interrupt() const { kill(pid_, SIGINT); }

  /// Whether it has ended; then status and output are there.
  bool ended() { return collect(WNOHANG); }

  Program& wait() {
    collect(0);
    return *this;
  }

  /// The exit code, or minus the signal that killed it.
  int code = -1000;
  std::string out;
  std::string err;

 private:
  static std::vector<char*> pointers(std::vector<std::string>& words) {
    std::vector<char*> result;
    for (std::string& word : words) result.push_back(word.data());
    result.push_back(nullptr);
    return result;
  }

  bool collect(int options) {
    int status = 0;
    if (pid_ > 0 && waitpid(pid_, &status, options) == pid_) {
      pid_ = 0;
      code = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
      if (std::filesystem::is_regular_file(out_)) out = read_text(out_);
      err = read_text(err_);
    }
    return pid_ == 0;
  }

  std::filesystem::path out_;
  std::filesystem::path err_;
  pid_t pid_ = 0;
};

/// GPT-2's alphabet: how a byte is written in a byte-level vocabulary.
inline std::string byte_letter(unsigned byte) {
  unsigned code = 0x100;
  const auto printable = [](unsigned b) { return (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad); };
  for (unsigned b = 0; b < byte; ++b) code += !printable(b);
  if (printable(byte)) code = byte;
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3f))};
}

/// 320 tokens: three control tokens, the 256 bytes, " the" by merges, and fillers.
struct TinyVocabulary {
  std::vector<std::string> tokens{"<unk>", "<s>", "</s>"};
  std::vector<std::int32_t> types{2, 3, 3};
  std::vector<std::string> merges;

  TinyVocabulary() {
    const auto add = [&](const std::string& token) {
      tokens.push_back(token);
      types.push_back(1);
    };
    for (unsigned byte = 0; byte < 256; ++byte) add(byte_letter(byte));
    const std::string space = byte_letter(' ');
    merges = {"h e", space + " t", space + "t he"};
    add("he");
    add(space + "t");
    add(space + "the");
    while (tokens.size() < 320) add("filler" + std::to_string(tokens.size()));
  }
};

/// The tiny LLaMA with this vocabulary as GGUF.
inline GgufBuilder tiny_gguf(const TinyLlama& model) {
  GgufBuilder file = model.gguf();
  std::erase_if(file.values, [](const std::vector<std::byte>& entry) {
    const std::string_view text(reinterpret_cast<const char*>(entry.data()), entry.size());
    return text.substr(8).starts_with("tokenizer.ggml.model");
  });
  const TinyVocabulary vocabulary;
  file.value("tokenizer.ggml.model", "gpt2").value("tokenizer.ggml.pre", "gpt-2");
  file.array("tokenizer.ggml.tokens", vocabulary.tokens);
  file.array("tokenizer.ggml.token_type", vocabulary.types);
  file.array("tokenizer.ggml.merges", vocabulary.merges);
  return file;
}

/// The same as a Hugging Face folder.
inline void write_tiny_folder(const TinyLlama& model, const std::filesystem::path& folder) {
  std::filesystem::create_directory(folder);
  model.write_hugging_face(folder);
  const TinyVocabulary vocabulary;
  nlohmann::ordered_json vocab;
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) vocab[vocabulary.tokens[i]] = i;
  nlohmann::ordered_json added = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < 3; ++i)
    added.push_back({{"id", i},
                     {"content", vocabulary.tokens[i]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  const nlohmann::ordered_json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const nlohmann::ordered_json tokenizer = {{"version", "1.0"},
                                            {"truncation", nullptr},
                                            {"padding", nullptr},
                                            {"added_tokens", added},
                                            {"normalizer", nullptr},
                                            {"pre_tokenizer", byte_level},
                                            {"post_processor", nullptr},
                                            {"decoder", byte_level},
                                            {"model",
                                             {{"type", "BPE"},
                                              {"dropout", nullptr},
                                              {"unk_token", nullptr},
                                              {"continuing_subword_prefix", nullptr},
                                              {"end_of_word_suffix", nullptr},
                                              {"fuse_unk", false},
                                              {"vocab", vocab},
                                              {"merges", vocabulary.merges}}}};
  write_file(folder / "tokenizer.json", tokenizer.dump());
}

/// The tiny LLaMA in a file, and the programs run on it.
struct CliFixture {
  TemporaryFolder folder;
  TinyLlama tiny;
  std::string model = (folder / "tiny.gguf").string();
  std::string executable = ACTIVATION_TRACE_GENERATE;

  CliFixture() { write_file(model, tiny_gguf(tiny).bytes()); }

  struct Finished {
    int code;
    std::string out;
    std::string err;
  };
  [[nodiscard]] Finished run(const std::vector<std::string>& arguments,
                             const std::vector<std::string>& environment = {}) const {
    Program running(folder.path(), arguments, environment, executable);
    running.wait();
    return {running.code, running.out, running.err};
  }
  [[nodiscard]] Finished with_model(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"-m", model});
    return run(arguments);
  }

  /// One line that names the program and everything in `names`, and the exit code.
  void fails(const Finished& result, int code, const std::vector<std::string>& names) const {
    CAPTURE(result.err);
    CHECK(result.code == code);
    CHECK(result.out.empty());
    CHECK(result.err.starts_with(std::filesystem::path(executable).filename().string() + ": "));
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
    CHECK(result.err.back() == '\n');
    for (const std::string& name : names) {
      CAPTURE(name);
      CHECK(result.err.find(name) != std::string::npos);
    }
  }
};

inline std::vector<nlohmann::json> json_lines(const std::string& text) {
  std::istringstream stream(text);
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

}  // namespace activation_trace::test
