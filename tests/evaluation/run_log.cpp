// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/evaluation/run_log.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <iterator>
#include <string>

#include "support/complaint.hpp"
#include "support/file_builders.hpp"

using namespace activation_trace;
using Json = nlohmann::ordered_json;

namespace {

const Json manifest{{"model", "m"}, {"alpha", 0.5}};

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Json record(Index sample) {
  return {{"answer", "a\n\u00e9" + std::to_string(sample)}, {"score", static_cast<double>(sample) / 3}};
}

// The order in which samples finish is not theirs.
void run(const std::filesystem::path& path, RunStart start) {
  RunLog log(path, manifest, start);
  for (const Index sample : {2, 0, 1, 3})
    if (!log.has(sample)) log.append(sample, record(sample));
  log.finish();
}

/// While it lives, no file of this process can grow beyond `bytes`.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, SIG_DFL);
  }

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("a run that was killed after any byte ends as an undisturbed one") {
  const test::TemporaryFolder folder;
  run(folder / "whole", RunStart::fresh);
  const std::string expected = read(folder / "whole");
  CHECK(std::count(expected.begin(), expected.end(), '\n') == 4);
  CHECK(expected.starts_with("{\"sample\":0,\"answer\":\"a\\n\u00e90\",\"score\":0.0}\n"));
  CHECK_FALSE(std::filesystem::exists(folder / "whole.part"));

  std::string part;
  {
    RunLog log(folder / "other", manifest);
    for (const Index sample : {2, 0, 1, 3}) log.append(sample, record(sample));
    part = read(folder / "other.part");  // every line is in the file before append returns
  }
  for (std::size_t length = 0; length <= part.size(); ++length) {
    const test::TemporaryFolder killed;
    test::write_file(killed / "whole.manifest.json", manifest.dump());
    test::write_file(killed / "whole.part", part.substr(0, length));
    run(killed / "whole", RunStart::resume);
    CHECK(read(killed / "whole") == expected);
  }
  // Killed between the two steps of finish(), and when all is done.
  test::write_file(folder / "whole.part", part);
  run(folder / "whole", RunStart::resume);
  run(folder / "whole", RunStart::resume);
  CHECK(read(folder / "whole") == expected);
  CHECK_FALSE(std::filesystem::exists(folder / "whole.part"));
}

TEST_CASE("resuming finds what there is") {
  const test::TemporaryFolder folder;
  run(folder / "run", RunStart::resume);  // nothing there: begins
  const RunLog log(folder / "run", manifest, RunStart::resume);
  CHECK(log.size() == 4);
  CHECK(log.record(1) == record(1));
}

TEST_CASE("what cannot be resumed says why") {
  const test::TemporaryFolder folder;
  const std::string path = folder / "run";
  run(path, RunStart::fresh);
  CHECK(test::complaint([&] { run(path, RunStart::fresh); }) ==
        path + ": an earlier run is there; resume it, or name another output path");
  CHECK(test::complaint([&] {
          RunLog(path, {{"model", "m"}, {"alpha", 1}}, RunStart::resume);
        }) == path + ": cannot be resumed, 'alpha' was 0.5 and is now 1");
  CHECK(test::complaint([&] {
          RunLog(path, {{"model", "m"}}, RunStart::resume);
        }) == path + ": cannot be resumed, 'alpha' was 0.5 and is now nothing");
  CHECK(test::complaint([&] {
          RunLog(path, {{"model", "m"}, {"alpha", 0.5}, {"options", {{"limit", 3}}}}, RunStart::resume);
        }) == path + ": cannot be resumed, 'options' was nothing and is now {\"limit\":3}");
  CHECK(test::complaint([&] {
          RunLog(path, {{"model", "n"}, {"another", 1}}, RunStart::resume);
        }) == path + ": cannot be resumed, 'model' was \"m\" and is now \"n\"");
  const Json later{{"model", "m"}, {"alpha", 0.5}, {"engine", "own"}};
  CHECK(RunLog(path, later, RunStart::resume, {}, [](nlohmann::json& before) { before["engine"] = "own"; }).size() ==
        4);
  const Json grid{{"options", {{"alphas", {0, 1}}, {"layer", 3}}}};
  RunLog(folder / "grid", grid);
  CHECK(test::complaint([&] {
          RunLog(folder / "grid", {{"options", {{"alphas", {0, 1, 2}}, {"layer", 4}}}}, RunStart::resume);
        }) == (folder / "grid").string() + ": cannot be resumed, 'options/alphas' was [0,1] and is now [0,1,2]");
  CHECK(test::complaint([&] {
          RunLog(folder / "grid", {{"options", {{"alphas", {0, 1}}}}}, RunStart::resume);
        }) == (folder / "grid").string() + ": cannot be resumed, 'options/layer' was 3 and is now nothing");
  std::filesystem::remove(path + ".manifest.json");
  CHECK(test::complaint([&] { run(path, RunStart::resume); }) ==
        path + ".manifest.json: is missing, so it is not known what the samples beside it are of");
  test::write_file(path + ".manifest.json", manifest.dump());
  test::write_file(path, std::string_view("{\"sample\":0}\n{\"sample\":\n{\"sample\":1}\n"));
  CHECK(test::complaint([&] { run(path, RunStart::resume); }).starts_with(path + ": line 2: at byte "));
  for (const char* sample : {"-1", "18446744073709551615", "9223372036854775808", "1e39", "0.5", "\"0\"", "null"}) {
    test::write_file(path, "{\"sample\":" + std::string(sample) + "}\n");
    CHECK(test::complaint([&] { run(path, RunStart::resume); }) ==
          path + ": line 1: expected an object with the number of its 'sample'");
  }
}

TEST_CASE("what cannot be written says why, and the rest is kept") {
  const test::TemporaryFolder folder;
  const std::string nowhere = folder / "no/such/folder/run";
  CHECK(test::complaint([&] { run(nowhere, RunStart::fresh); }) ==
        nowhere + ".manifest.json: cannot be written: No such file or directory");
  RunLog log(folder / "run", manifest);
  log.append(3, Json::object());
  CHECK_THROWS_AS(log.append(3, Json::object()), ArgumentError);
  CHECK_THROWS_AS(log.append(-1, Json::object()), ArgumentError);
  CHECK_THROWS_AS(log.append(4, 5), ArgumentError);
  CHECK(read(folder / "run.part") == "{\"sample\":3}\n");

  // As on a full disk: part of a line is written.
  const FileSizeLimit limit(20);
  const std::string problem = test::complaint([&] { log.append(4, {{"answer", "longer than that"}}); });
  CHECK(problem == (folder / "run.part").string() + ": cannot be written: File too large; the samples before are kept");
  CHECK(read(folder / "run.part").starts_with("{\"sample\":3}\n"));
  CHECK(RunLog(folder / "run", manifest, RunStart::resume).size() == 1);
}

TEST_CASE("records have to pass the run's check, from files and from append") {
  const test::TemporaryFolder folder;
  const std::string path = (folder / "run").string();
  const RecordCheck check = [](Index sample, const Json& record) {
    if (!record.contains("score") || record["score"] != sample) throw Error("field 'score' is wrong");
  };
  {
    RunLog log(path, manifest, RunStart::fresh, check);
    log.append(0, {{"score", 0}});
    CHECK_THROWS_WITH_AS(log.append(1, {{"score", 7}}), "field 'score' is wrong", Error);
    CHECK_THROWS_AS(log.append({{2, Json{{"score", 2}}}, {3, Json{{"score", 7}}}}), Error);
    CHECK(log.size() == 1);  // of several none
    log.append({{2, Json{{"score", 2}}}, {1, Json{{"score", 1}}}});
    CHECK(log.size() == 3);
    CHECK(read(path + ".part") ==
          "{\"sample\":0,\"score\":0}\n{\"sample\":1,\"score\":1}\n{\"sample\":2,\"score\":2}\n");
  }
  CHECK(RunLog(path, manifest, RunStart::resume, check).size() == 3);
  test::write_file(path + ".part", std::string_view("{\"sample\":0,\"score\":0}\n{\"sample\":1,\"score\":2}\n"));
  const std::string problem = path + ".part: line 2: sample 1: field 'score' is wrong";
  CHECK(test::complaint([&] { RunLog(path, manifest, RunStart::resume, check); }) == problem);
  CHECK(test::complaint([&] { static_cast<void>(read_run_records(path + ".part", check)); }) == problem);
}

TEST_CASE("files that were planted as links are not written to") {
  const test::TemporaryFolder folder;
  test::write_file(folder / "victim", std::string_view("not ours"));
  const std::string path = (folder / "run").string();
  for (const char* suffix : {"", ".part", ".manifest.json"}) {
    for (const char* target : {"victim", "nothing"}) {
      std::filesystem::create_symlink(folder / target, path + suffix);
      CHECK(test::complaint([&] { run(path, RunStart::fresh); }) ==
            path + ": an earlier run is there; resume it, or name another output path");
      CHECK(test::complaint([&] { run(path, RunStart::resume); }) != "accepted");
      std::filesystem::remove(path + suffix);
    }
  }
  test::write_file(path + ".manifest.json", manifest.dump());
  std::filesystem::create_symlink(folder / "nothing", path + ".part");
  CHECK(test::complaint([&] { run(path, RunStart::resume); }) != "accepted");
  CHECK_FALSE(std::filesystem::exists(folder / "nothing"));
  std::filesystem::remove(path + ".part");
  std::filesystem::create_symlink(folder / "victim", path + ".manifest.json.new");
  run(path, RunStart::resume);
  CHECK(read(folder / "victim") == "not ours");
}

TEST_CASE("names that are no UTF-8, and records of many fields") {
  const test::TemporaryFolder folder;
  Json named = manifest;
  named["path"] = "caf\xe9.csv";
  // Where a field is added to an ordered_json by looking for it, this takes minutes.
  constexpr int count = 200000;
  std::string text;
  for (int i = 0; i < count; ++i) text += (i == 0 ? "{\"" : ",\"") + std::to_string(i) + "\":0";
  {
    RunLog log(folder / "run", named);
    log.append(0, detail::parse_json<Json>(text + '}', "many"));
    log.append(1, Json::object());
  }
  RunLog log(folder / "run", named, RunStart::resume);
  CHECK(log.record(0).size() == count);
  CHECK(log.record(1) == Json::object());
  named["path"] = "other";
  CHECK(test::complaint([&] {
          RunLog(folder / "run", named, RunStart::resume);
        }).ends_with("cannot be resumed, 'path' was \"caf\xef\xbf\xbd.csv\" and is now \"other\""));
}
