// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/http_judge.hpp"

#include <doctest/doctest.h>
#include <httplib.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "activation_trace/error.hpp"
#include "generation/cli_fixture.hpp"

using namespace activation_trace;
using namespace activation_trace::examples;
using nlohmann::json;

namespace {

/// An HTTP server in this process.
class Server {
 public:
  using Handler = std::function<void(const httplib::Request& request, int number, httplib::Response& response)>;

  explicit Server(Handler handler) : handler_(std::move(handler)) {
    server_.Post(".*", [this](const httplib::Request& request, httplib::Response& response) {
      const int number = ++requests_;
      {
        const std::lock_guard lock(mutex_);
        last_ = request;
      }
      handler_(request, number, response);
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() {
    server_.stop();
    thread_.join();
  }

  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] int requests() const { return requests_; }
  [[nodiscard]] httplib::Request last() {
    const std::lock_guard lock(mutex_);
    return last_;
  }

 private:
  Handler handler_;
  httplib::Server server_;
  std::thread thread_;
  int port_ = 0;
  std::atomic<int> requests_ = 0;
  std::mutex mutex_;
  httplib::Request last_;
};

/// Always this body.
Server::Handler says(const json& body) {
  return [text = body.dump()](const httplib::Request&, int, httplib::Response& response) {
    response.set_content(text, "application/json");
  };
}

json completion(const json& top) {
  return {{"choices", {{{"text", " yes"}, {"logprobs", {{"top_logprobs", {top}}}}}}}};
}

HttpJudgeOptions at(const std::string& url) { return {.url = url, .timeout_seconds = 5, .wait_seconds = 0.001}; }

/// What it fails with.
std::string failure(const std::function<double()>& f) {
  try {
    return "no error: " + std::to_string(f());
  } catch (const Error& e) {
    return e.what();
  }
}

}  // namespace

TEST_CASE("completions: the probability of yes among the two most probable tokens") {
  Server server(says(completion({{" yes", -0.25}, {" no", -1.5}})));
  HttpJudgeOptions options = at(server.url() + "/base/v1/");
  options.key = "secret";
  CHECK(http_judge(options, "truth-judge")("Q: a\nA: \"b\"\nTrue:") == doctest::Approx(std::exp(-0.25)));
  const httplib::Request request = server.last();
  CHECK(request.path == "/base/v1/completions");
  CHECK(request.get_header_value("Authorization") == "Bearer secret");
  CHECK(json::parse(request.body) == json{{"model", "truth-judge"},
                                          {"prompt", "Q: a\nA: \"b\"\nTrue:"},
                                          {"max_tokens", 1},
                                          {"temperature", 0},
                                          {"logprobs", 2}});
  // Other servers' spellings of the token, and of the list.
  const auto p = [](const json& body) {
    Server other(says(body));
    return http_judge(at(other.url()), "m")("?");
  };
  CHECK(p(completion({{"\u2581yes", -0.5}})) == doctest::Approx(std::exp(-0.5)));
  CHECK(p(completion({{"yes", -0.5}, {" no", -3}})) == doctest::Approx(std::exp(-0.5)));
  CHECK(p(completion({{" no", -0.1}, {" nope", -3}})) == 0);
  const json entry = {{"token", " yes"}, {"logprob", -2}};
  CHECK(p({{"choices", {{{"logprobs", {{"content", {{{"token", " no"}, {"top_logprobs", {entry}}}}}}}}}}}) ==
        doctest::Approx(std::exp(-2.0)));
}

TEST_CASE("chat: a reply of yes or no") {
  const auto reply = [](const std::string& text) {
    Server server(says({{"choices", {{{"message", {{"role", "assistant"}, {"content", text}}}}}}}));
    HttpJudgeOptions options = at(server.url());
    options.api = HttpJudgeOptions::Api::chat;
    const double p = http_judge(options, "m")("prompt");
    CHECK(server.last().path == "/v1/chat/completions");
    CHECK(json::parse(server.last().body)["messages"][0]["content"].get<std::string>().ends_with("prompt"));
    return p;
  };
  CHECK(reply("Yes.") == 1);
  CHECK(reply("**no**, because") == 0);
  CHECK(failure([&] { return reply("Maybe yes"); }).find("expected a reply of yes or no, got Maybe yes") !=
        std::string::npos);
  CHECK(failure([&] { return reply(""); }).find("got nothing") != std::string::npos);
}

TEST_CASE("what may pass is tried again, with pauses") {
  Server busy([](const httplib::Request&, int number, httplib::Response& response) {
    if (number < 4) {
      response.status = number == 1 ? 429 : number == 2 ? 503 : 408;
      if (number == 2) response.set_header("Retry-After", "0.2");
      return;
    }
    response.set_content(completion({{" yes", 0}}).dump(), "application/json");
  });
  const auto begin = std::chrono::steady_clock::now();
  CHECK(http_judge(at(busy.url()), "m")("?") == 1);
  CHECK(busy.requests() == 4);
  CHECK(std::chrono::steady_clock::now() - begin > std::chrono::milliseconds(200));

  Server down([](const httplib::Request&, int, httplib::Response& response) {
    response.status = 500;
    response.set_content("out of\nmemory", "text/plain");
  });
  HttpJudgeOptions options = at(down.url());
  options.tries = 3;
  CHECK(failure([&] { return http_judge(options, "m")("?"); }) ==
        down.url() + "/v1/completions: 500 out of memory (try 3 of 3)");
  CHECK(down.requests() == 3);
}

TEST_CASE("what cannot pass is not tried again") {
  Server refuses([](const httplib::Request&, int, httplib::Response& response) {
    response.status = 401;
    response.set_content(R"({"error": "no such key"})", "application/json");
  });
  const std::string problem = failure([&] { return http_judge(at(refuses.url()), "m")("?"); });
  CHECK(problem.find("401") != std::string::npos);
  CHECK(problem.find("no such key") != std::string::npos);
  CHECK(refuses.requests() == 1);
  for (const std::string body : {"", "{", "[]", "null", R"({"choices": []})", R"({"choices": [{"logprobs": null}]})",
                                 R"({"choices": [{"logprobs": {"top_logprobs": [{" yes": "x"}]}}]})"}) {
    CAPTURE(body);
    Server server([&](const httplib::Request&, int, httplib::Response& response) {
      response.set_content(body, "application/json");
    });
    const std::string text = failure([&] { return http_judge(at(server.url()), "m")("?"); });
    CHECK(text.find(server.url() + "/v1/completions: the answer is not OpenAI's") != std::string::npos);
    CHECK(text.find('\n') == std::string::npos);
    CHECK(server.requests() == 1);
  }
}

TEST_CASE("servers that are slow, absent or not named") {
  Server slow([](const httplib::Request&, int, httplib::Response& response) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    response.set_content(completion({{" yes", 0}}).dump(), "application/json");
  });
  HttpJudgeOptions options = at(slow.url());
  CHECK(http_judge(options, "m")("?") == 1);
  options.timeout_seconds = 0.05;
  options.tries = 2;
  const auto begin = std::chrono::steady_clock::now();
  CHECK(failure([&] { return http_judge(options, "m")("?"); }).find("no answer") != std::string::npos);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(1400));

  std::string gone;
  {
    const Server server(says({}));
    gone = server.url();
  }
  options = at(gone);
  options.tries = 2;
  CHECK(failure([&] { return http_judge(options, "m")("?"); }).find("(try 2 of 2)") != std::string::npos);
  for (const std::string url : {"", "localhost:80", "ftp://host"})
    CHECK(failure([&] { return http_judge(at(url), "m")("?"); }).starts_with("--url: expected http://HOST:PORT"));
}

TEST_CASE("a run is judged by a server, and goes on after a failure") {
  const test::TemporaryFolder folder;
  const std::string out = (folder / "gen.jsonl").string();
  std::string lines;
  for (int i = 0; i < 6; ++i)
    lines += json{{"sample", i},
                  {"question", "q" + std::to_string(i)},
                  {"answer", "a" + std::to_string(i)},
                  {"rejected", i == 5 ? 1 : 0},
                  {"entropies", {i, 1}},
                  {"log_probs", {-i}}}
                 .dump() +
             '\n';
  test::write_file(out, lines);
  test::write_file(out + ".manifest.json",
                   R"({"task": "truthfulqa-gen", "model": {}, "data": {}, "options": {}, "format": 1})");
  // True: questions 0 to 3. Helpful: even ones; of 4 it says 0.4.
  Server server([](const httplib::Request& request, int number, httplib::Response& response) {
    if (number == 6) {
      response.status = 403;
      return;
    }
    const std::string prompt = json::parse(request.body)["prompt"];
    const int i = prompt[4] - '0';
    CHECK(prompt == "Q: q" + std::to_string(i) + "\nA: a" + std::to_string(i) +
                        (prompt.ends_with("True:") ? "\nTrue:" : "\nHelpful:"));
    const double p = prompt.ends_with("True:") ? (i < 4 ? 0.9 : 0.1) : i == 4 ? 0.4 : i % 2 == 0 ? 1.0 : 0.0;
    response.set_content(completion(p == 0 ? json{{" no", 0}} : json{{" yes", std::log(p)}, {" no", -3}}).dump(),
                         "application/json");
  });
  const std::vector<std::string> command{"judge",         out, "--url",        server.url(),
                                         "--truth-model", "t", "--info-model", "i"};
  {
    test::Program first(folder.path(), command, {}, ACTIVATION_TRACE_EVALUATE);
    CHECK(first.wait().code == 1);
    CHECK(first.err.find("403") != std::string::npos);
  }
  CHECK(server.requests() == 6);  // two answers whole, of the third one half
  test::Program second(folder.path(), command, {}, ACTIVATION_TRACE_EVALUATE);
  second.wait();
  CAPTURE(second.err);
  CHECK(second.code == 0);
  CHECK(server.requests() == 6 + 2 * 4);

  const auto judgements = test::json_lines(test::read_text(out + ".judgements.jsonl"));
  REQUIRE(judgements.size() == 6);
  CHECK(judgements[4]["truth"].get<double>() == doctest::Approx(0.1));
  CHECK(judgements[4]["info"].get<double>() == doctest::Approx(0.4));
  CHECK(judgements[1]["info"] == 0);
  const json metrics = json::parse(test::read_text(out + ".summary.json"))["metrics"];
  CHECK(metrics["truth"]["value"].get<double>() == doctest::Approx(400.0 / 6));
  CHECK(metrics["info"]["value"].get<double>() == doctest::Approx(200.0 / 6));
  CHECK(metrics["truth*info"]["value"].get<double>() == doctest::Approx(200.0 / 6));
  CHECK(metrics["reject"]["value"].get<double>() == doctest::Approx(100.0 / 6));
  CHECK(second.out.find("truth*info") != std::string::npos);

  // Another judge is another judgement.
  test::Program other(folder.path(), {"judge", out, "--url", server.url(), "--truth-model", "u", "--info-model", "i"},
                      {}, ACTIVATION_TRACE_EVALUATE);
  CHECK(other.wait().code == 1);
  CHECK(other.err.find("cannot be resumed, 'truth") != std::string::npos);
}
