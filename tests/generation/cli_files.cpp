// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// What the programs may write to and read from, and what they say of memory.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "cli_fixture.hpp"

using namespace activation_trace;
using activation_trace::test::Program;

namespace {

struct FilesFixture : test::CliFixture {
  using Words = std::vector<std::string>;
  struct Writer {
    std::string program;
    Words words;
  };

  [[nodiscard]] std::string path(const std::string& name) const { return (folder / name).string(); }

  [[nodiscard]] Finished start(const std::string& program, const Words& words) const {
    Program running(folder.path(), words, {}, program);
    running.wait();
    return {running.code, running.out, running.err};
  }

  /// Through a shell, `how` behind the command line.
  [[nodiscard]] Finished shell(const std::string& how, Words words) const {
    words.insert(words.begin(), {"-c", "exec \"$0\" \"$@\" " + how, executable});
    return start("/bin/sh", words);
  }

  /// Every command that writes a file, without its name: options behind which that comes.
  [[nodiscard]] std::vector<Writer> writers() const {
    return {{ACTIVATION_TRACE_GENERATE, {"-m", model, "-f", path("prompt"), "-n", "3", "-q", "--trace"}},
            {ACTIVATION_TRACE_SCORE, {"-m", model, "-f", path("prompt"), "-a", " x", "-q", "--trace"}},
            {ACTIVATION_TRACE_VISUALIZE, {"map", "-m", model, "-f", path("prompt"), "-a", " x", "-q", "-o"}},
            {ACTIVATION_TRACE_VISUALIZE, {"trace", path("t.jsonl"), "-o"}}};
  }
};

}  // namespace

TEST_CASE_FIXTURE(FilesFixture, "what a run reads is never written to, by whatever name") {
  test::write_file(folder / "prompt", std::string_view("the first"));
  REQUIRE(with_model({"-p", "x", "-n", "3", "-q", "--trace", path("t.jsonl")}).code == 0);
  std::filesystem::create_directory(folder / "hf");
  test::write_tiny_folder(tiny, folder / "hf");
  const std::string bytes = test::read_text(model);
  for (const Writer& writer : writers()) {
    const std::string& program = writer.program;
    Words words = writer.words;
    CAPTURE(words[0]);
    const bool draws = words.back() == "-o";
    const std::string input = words[0] == "trace" ? path("t.jsonl") : model;
    const std::string before = test::read_text(input);
    std::vector<std::string> names;
    if (draws) {  // whose names end in what they hold
      std::filesystem::create_symlink(input, folder / "link.json");
      std::filesystem::create_hard_link(input, folder / "hard.svg");
      names = {path("link.json"), path("hard.svg"), (folder / "." / "link.json").string()};
    } else {
      std::filesystem::create_symlink(input, folder / "link");
      std::filesystem::create_hard_link(input, folder / "hard");
      names = {input, path("link"), path("hard"), path("prompt"), (folder / "." / "prompt").string()};
    }
    for (const std::string& name : names)
      for (const bool overwrite : {false, true}) {
        CAPTURE(name);
        std::vector<std::string> command = words;
        command.push_back(name);
        if (overwrite) command.emplace_back("--overwrite");
        const Finished result = start(program, command);
        CHECK(result.code == 2);
        CHECK(result.err.find(name + " is read by this run, as ") != std::string::npos);
        CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
      }
    CHECK(test::read_text(input) == before);
    for (const char* name : {"link", "hard", "link.json", "hard.svg"}) std::filesystem::remove(folder / name);
  }
  CHECK(test::read_text(folder / "prompt") == "the first");
  // A folder's files, a student, standard input, and where standard output goes.
  const std::string config = (folder / "hf" / "config.json").string();
  fails(run({"-m", path("hf"), "-p", "x", "--trace", config}), 2, {"--trace", config});
  fails(run({"-m", path("hf"), "-p", "x", "--decoding_mode", "contrastive", "--student", model, "--trace", model}), 2,
        {"--trace", model});
  CHECK(test::read_text(model) == bytes);
  // The other parts of a split model; not what is only named like them.
  for (const char* name : {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "m-00002-of-00003.gguf"})
    std::filesystem::copy_file(model, folder / name);
  const std::string part = path("m-00002-of-00002.gguf");
  fails(run({"-m", path("m-00001-of-00002.gguf"), "-p", "x", "--trace", part, "--overwrite"}), 2,
        {"--trace", part + " is read by this run"});
  CHECK(test::read_text(part) == bytes);
  CHECK(run({"-m", path("m-00001-of-00002.gguf"), "-p", "x", "-n", "1", "-q", "--trace", path("m-00002-of-00003.gguf"),
             "--overwrite"})
            .code == 0);
  fails(shell("< " + path("prompt"), {"-m", model, "-p", "-", "--trace", path("prompt")}), 2, {"standard input"});
  fails(with_model({"-p", "x", "--trace", path("stdout"), "--overwrite"}), 2, {"standard output goes to"});
  fails(with_model({"-p", "x", "--trace", path("stderr"), "--overwrite"}), 2, {"standard error goes to"});
  CHECK(test::read_text(folder / "prompt") == "the first");
}

TEST_CASE_FIXTURE(FilesFixture, "a file that is there is replaced if it is of an earlier run, else with --overwrite") {
  test::write_file(folder / "prompt", std::string_view("the first"));
  REQUIRE(with_model({"-p", "x", "-n", "3", "-q", "--trace", path("t.jsonl")}).code == 0);
  for (const Writer& writer : writers())
    for (const char* extension : {".html", ".svg", ".json", ".csv"}) {
      const std::string& program = writer.program;
      Words words = writer.words;
      const std::string name = path(std::string("out") + extension);
      CAPTURE(words[0]);
      CAPTURE(name);
      words.push_back(name);
      for (const char* other : {"{\"mode\": 1}", "<svg/>", "<!doctype html>\n<html>", "x"}) {
        test::write_file(name, std::string_view(other));
        const Finished refused = start(program, words);
        CHECK(refused.code == 1);
        CHECK(refused.err.find(name + ": is there, and no earlier run of this kind wrote it") != std::string::npos);
        CHECK(refused.err.find("--overwrite") != std::string::npos);
        CHECK(test::read_text(name) == other);
      }
      words.emplace_back("--overwrite");
      CHECK(start(program, words).code == 0);
      words.pop_back();
      const std::string written = test::read_text(name);
      CHECK(written != "x");
      CHECK(start(program, words).code == 0);  // its own
      CHECK(test::read_text(name) == written);
      test::write_file(name, std::string_view());
      CHECK(start(program, words).code == 0);  // nothing is lost
      CHECK(test::read_text(name) == written);
      std::filesystem::remove(name);
    }
  for (const Writer& writer : writers()) {
    const std::string& program = writer.program;
    Words words = writer.words;
    words.push_back(path("no_folder/out.json"));
    CHECK(start(program, words).err.find("there is no folder " + path("no_folder")) != std::string::npos);
    words.back() = "";
    const Finished nameless = start(program, words);
    CHECK(nameless.code == 2);
    CHECK(nameless.err.find("expected a file's name, got none") != std::string::npos);
    std::filesystem::create_directory(folder / "folder.svg");
    words.back() = path("folder.svg");
    CHECK(start(program, words).err.find("is a folder") != std::string::npos);
  }
  fails(with_model({"-p", "x", "--overwrite"}), 2, {"--overwrite", "--trace"});
}

TEST_CASE_FIXTURE(FilesFixture, "a standard stream that is closed gets no file's content") {
  const std::vector<std::string> words{"-m", model, "-p", "the", "-n", "8", "--ignore-eos", "--trace", path("t.jsonl")};
  const Finished open = run(words);
  REQUIRE(open.code == 0);
  const std::string trace = test::read_text(folder / "t.jsonl");
  for (const char* how : {">&-", "2>&-", "<&-", ">&- 2>&-", "<&- 2>&-", "<&- >&-", "<&- >&- 2>&-"}) {
    CAPTURE(how);
    const bool prints = std::string(how).find(" >&-") == std::string::npos && how[0] != '>';
    const Finished result = shell(how, words);
    // What cannot be printed is an error, and says so where it can.
    CHECK(result.code == (prints ? 0 : 1));
    CHECK(result.out == (prints ? open.out : ""));
    if (!prints && std::string(how).find("2>&-") == std::string::npos)
      CHECK(result.err.find("standard output cannot be written") != std::string::npos);
    const std::string found = test::read_text(folder / "t.jsonl");
    if (prints) CHECK(found == trace);
    for (const nlohmann::json& line : test::json_lines(found)) CHECK(line["mode"] == "activation");
  }
  for (const Writer& writer : writers()) {
    Words more = writer.words;
    test::write_file(folder / "prompt", std::string_view("the first"));
    more.push_back(path("o.json"));
    more.insert(more.begin(), {"-c", "exec \"$0\" \"$@\" >&- 2>&-", writer.program});
    std::filesystem::remove(folder / "o.json");
    static_cast<void>(start("/bin/sh", more));
    const std::string found = test::read_text(folder / "o.json");
    CHECK((found.empty() || found[0] == '{'));
  }
  fails(shell("<&-", {"-m", model, "-p", "-"}), 1, {"standard input: the prompt cannot be read"});
}

TEST_CASE_FIXTURE(FilesFixture, "a prompt's file is a file, and no endless one") {
  const std::string pipe = path("pipe");
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  for (const std::string& program : {std::string(ACTIVATION_TRACE_GENERATE), std::string(ACTIVATION_TRACE_SCORE)})
    for (const std::string& name : {pipe, std::string("/dev/zero"), path("missing"), folder.path().string()}) {
      std::vector<std::string> words{"-m", model, "-f", name};
      if (program == ACTIVATION_TRACE_SCORE) words.insert(words.end(), {"-a", " x"});
      const Finished result = start(program, words);
      CAPTURE(result.err);
      CHECK(result.code == 1);
      CHECK(result.err.find(name + ": the prompt cannot be read: ") != std::string::npos);
    }
  fails(run({"-m", pipe, "-p", "x"}), 1, {pipe, "is not a regular file"});
  test::write_file(folder / "pointer.gguf",
                   std::string_view("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"));
  fails(run({"-m", path("pointer.gguf"), "-p", "x"}), 1, {"pointer.gguf", "Git LFS", "git lfs pull"});
  fails(run({"-m", "/dev/zero", "-p", "x"}), 1, {"/dev/zero", "is not a regular file"});
  fails(shell("< /dev/zero", {"-m", model, "-p", "-"}), 1, {"standard input", "more than 67108864 bytes"});
}

TEST_CASE_FIXTURE(FilesFixture, "more memory than there is is refused before it is taken, and -c is named") {
  const auto with_context = [&](std::uint64_t context) {
    test::GgufBuilder file = test::tiny_gguf(tiny);
    std::erase_if(file.values, [](const std::vector<std::byte>& entry) {
      const std::string_view text(reinterpret_cast<const char*>(entry.data()), entry.size());
      return text.substr(8).starts_with("llama.context_length");
    });
    file.value("llama.context_length", context);
    test::write_file(folder / "long.gguf", file.bytes());
    return path("long.gguf");
  };
  for (const std::uint64_t context : {std::uint64_t{1} << 62, std::uint64_t{1} << 40}) {
    const std::string number = std::to_string(context);
    const std::string file = with_context(context);
    fails(run({"-m", file, "-p", "x", "-n", "-1"}), 1, {file, number, "-c", "memory"});
    fails(run({"-m", file, "-p", "x", "-n", "4", "-c", number}), 1, {file, number, "-c"});
    CHECK(run({"-m", file, "-p", "x", "-n", "4", "-q"}).code == 0);
    CHECK(run({"-m", file, "-p", "x", "-n", "-1", "-c", "30", "-q"}).code == 0);
    CHECK(run({"-m", file, "-p", "x", "-n", std::to_string(std::numeric_limits<std::int64_t>::max()), "-c", "30", "-q"})
              .code == 0);
  }
  const std::string file = with_context(std::numeric_limits<std::uint64_t>::max() / 2);
  fails(run({"-m", file, "-p", "x", "-n", "4"}), 1, {file, "max_context", "9223372036854775807"});
}

TEST_CASE_FIXTURE(FilesFixture, "what the system refuses is said with what to change") {
  const auto with_less = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"-c", "ulimit -v 1000000 && exec \"$0\" \"$@\"", executable});
    return start("/bin/sh", words);
  };
  if (with_less({"--version"}).code != 0) return;  // a sanitizer needs more
  fails(with_less({"-m", model, "-p", "x", "-t", "1000"}), 1, {"of 1000 threads", "-t"});
  test::write_file(folder / "huge.gguf", test::tiny_gguf(tiny).bytes());
  std::filesystem::resize_file(folder / "huge.gguf", std::uintmax_t{1} << 33);  // of holes
  fails(with_less({"-m", path("huge.gguf"), "-p", "x"}), 1,
        {"huge.gguf", "too large to be read into memory", "8589934592"});
}

TEST_CASE_FIXTURE(FilesFixture, "--seed -1 is a new seed every time, and says which") {
  const std::vector<std::string> words{"-p",       "the",          "-n", "30",    "--temp", "1.5", "--decoding_mode",
                                       "baseline", "--ignore-eos", "-q", "--seed"};
  const auto with_seed = [&](const std::string& seed) {
    std::vector<std::string> command = words;
    command.push_back(seed);
    return with_model(command);
  };
  const Finished one = with_seed("-1");
  const Finished two = with_seed("-1");
  REQUIRE(one.code == 0);
  REQUIRE(one.err.starts_with("generate: --seed "));
  CHECK(one.err != two.err);
  CHECK(one.out != two.out);
  const std::string seed = one.err.substr(17, one.err.size() - 18);
  CHECK(with_seed(seed).out == one.out);
  CHECK(with_seed(seed).err.empty());
  for (const char* wrong : {"-2", "x", "", "1.5", "18446744073709551616"})
    fails(with_seed(wrong), 2, {"--seed", std::string("got ") + wrong});
}

TEST_CASE_FIXTURE(FilesFixture, "-l ID+inf leaves that token alone") {
  const Finished forced = with_model({"-p", "x", "-n", "4", "-l", "40+inf", "-q", "--decoding_mode", "baseline"});
  CHECK(forced.code == 0);
  CHECK(forced.out.substr(0, 4) == std::string(4, forced.out[0]));
  CHECK(with_model({"-p", "x", "-n", "4", "-l", "40+inf", "-q"}).out == forced.out);  // past every filter
}

TEST_CASE_FIXTURE(FilesFixture, "near temperature zero the best token is drawn") {
  const std::vector<std::string> words{"-p", "the first", "-n", "20", "--decoding_mode", "baseline", "-q", "--temp"};
  const auto at = [&](const char* temperature) {
    std::vector<std::string> command = words;
    command.emplace_back(temperature);
    const Finished result = with_model(command);
    CAPTURE(result.err);
    CHECK(result.code == 0);
    return result.out;
  };
  const std::string greedy = at("0");
  for (const char* temperature : {"1e-45", "1e-38", "1e-30", "1e-6"}) CHECK(at(temperature) == greedy);
  CHECK_FALSE(at("3e38").empty());
}
