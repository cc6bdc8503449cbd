// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/http_judge.hpp"

#include <doctest/doctest.h>
#include <httplib.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stdexcept>
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
std::string failure(const std::function<void()>& f) {
  try {
    f();
    return "no error";
  } catch (const Error& e) {
    return e.what();
  }
}

/// The probability that a judge answers with.
double ask(const HttpJudgeOptions& options) { return http_judge(options, "m")("?").yes.value(); }

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A server without any manners: `answer` writes to the socket what it likes, until that fails.
class RawServer {
 public:
  explicit RawServer(std::function<void(const std::function<bool(const std::string&)>& send)> answer)
      : answer_(std::move(answer)), socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    const auto* name = reinterpret_cast<const sockaddr*>(&address);
    if (bind(socket_, name, size) != 0 || listen(socket_, 8) != 0) throw std::runtime_error("no socket");
    getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  RawServer(const RawServer&) = delete;
  RawServer& operator=(const RawServer&) = delete;
  ~RawServer() {
    ended_ = true;
    shutdown(socket_, SHUT_RDWR);
    thread_.join();
    close(socket_);
  }

  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] int requests() const { return requests_; }

 private:
  void run() {
    for (;;) {
      const int client = accept(socket_, nullptr, nullptr);
      if (client < 0) return;
      ++requests_;
      char request[4096];
      static_cast<void>(recv(client, request, sizeof request, 0));
      answer_([&](const std::string& bytes) {
        return !ended_ && send(client, bytes.data(), bytes.size(), MSG_NOSIGNAL) == std::ssize(bytes);
      });
      close(client);
    }
  }

  std::function<void(const std::function<bool(const std::string&)>&)> answer_;
  int socket_;
  int port_ = 0;
  std::atomic<bool> ended_ = false;
  std::atomic<int> requests_ = 0;
  std::thread thread_;
};

}  // namespace

TEST_CASE("completions: the probability of yes among the two most probable tokens") {
  Server server(says(completion({{" yes", -0.25}, {" no", -1.5}})));
  HttpJudgeOptions options = at(server.url() + "/base/v1/");
  options.key = "secret";
  CHECK(http_judge(options, "truth-judge")("Q: a\nA: \"b\"\nTrue:").yes.value() == doctest::Approx(std::exp(-0.25)));
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
    return ask(at(other.url()));
  };
  CHECK(p(completion({{"\u2581yes", -0.5}})) == doctest::Approx(std::exp(-0.5)));
  CHECK(p(completion({{"yes", -0.5}, {" no", -3}})) == doctest::Approx(std::exp(-0.5)));
  CHECK(p(completion({{" no", -0.1}, {" nope", -3}})) == 0);
  const json entry = {{"token", " yes"}, {"logprob", -2}};
  CHECK(p({{"choices", {{{"logprobs", {{"content", {{{"token", " no"}, {"top_logprobs", {entry}}}}}}}}}}}) ==
        doctest::Approx(std::exp(-2.0)));
}

TEST_CASE("chat: a reply of yes or no") {
  const auto reply = [](const json& text) {
    Server server(says({{"choices", {{{"message", {{"role", "assistant"}, {"content", text}}}}}}}));
    HttpJudgeOptions options = at(server.url());
    options.api = HttpJudgeOptions::Api::chat;
    const Judgement said = http_judge(options, "m")("prompt");
    CHECK(server.last().path == "/v1/chat/completions");
    CHECK(json::parse(server.last().body)["messages"][0]["content"].get<std::string>().ends_with("prompt"));
    return said;
  };
  CHECK(reply("Yes.").yes == 1);
  CHECK(reply("**no**, because").yes == 0);
  for (const std::string neither : {"Maybe yes", "", "42"}) {
    CHECK(!reply(neither).yes);
    CHECK(reply(neither).reply == neither);
  }
  CHECK(reply("\x1b]0;x\x07 \xc2\x9b\nI").reply == "\\x1b]0;x\\x07 \\u{9b} I");
  CHECK(!reply(nullptr).yes);  // as servers say that a model has only thought so far
}

TEST_CASE("completions: an answer without candidates has the chosen token's probability, or is an error") {
  const auto said = [](const std::string& choice) {
    Server server([&](const httplib::Request&, int, httplib::Response& response) {
      response.set_content(R"({"choices": [)" + choice + "]}", "application/json");
    });
    double p = -1;
    const std::string problem = failure([&] { p = ask(at(server.url())); });
    return p >= 0 ? std::to_string(p) : problem;
  };
  const std::string likely = std::to_string(std::exp(-0.1));
  // The chosen token and its log-probability, in the places where servers have them.
  for (const std::string choice :
       {R"({"text": " yes", "logprobs": {"content": [{"token": " yes", "logprob": -0.1, "top_logprobs": []}]}})",
        R"({"text": " yes", "logprobs": {"content": [{"logprob": -0.1, "top_logprobs": []}]}})",
        R"({"text": " yes", "logprobs": {"content": [{"token": " yes", "logprob": -0.1}]}})",
        R"({"text": " yes", "logprobs": {"tokens": [" yes"], "token_logprobs": [-0.1], "top_logprobs": []}})",
        R"({"text": " yes", "logprobs": {"tokens": [" yes"], "token_logprobs": [-0.1], "top_logprobs": null}})",
        R"({"text": " yes", "logprobs": {"token_logprobs": [-0.1], "top_logprobs": [{}]}})"})
    CHECK(said(choice) == likely);
  // Unknown: no candidate, or one that leaves room for a likely yes.
  for (const std::string choice :
       {R"({"text": " yes", "logprobs": {"content": [{"top_logprobs": []}]}})",
        R"({"text": " yes", "logprobs": {"top_logprobs": []}})", R"({"text": " yes", "logprobs": {}})",
        R"({"text": " yes", "logprobs": {"top_logprobs": [null]}})",
        R"({"text": " no", "logprobs": {"content": [{"token": " no", "logprob": -1, "top_logprobs": []}]}})",
        R"({"text": " no", "logprobs": {"top_logprobs": [{" no": -1}]}})"}) {
    CAPTURE(choice);
    CHECK(has(said(choice), "/v1/completions: the answer is not OpenAI's: choices[0].logprobs names "));
    CHECK(has(said(choice), "ask a server that gives the two best"));
  }
  CHECK(said(R"({"text": " no", "logprobs": {"top_logprobs": [{" no": -0.1}]}})") == "0.000000");  // at most 0.095
  // No logarithms of probabilities.
  const auto top = [](const std::string& entries) {
    return R"({"text": " yes", "logprobs": {"top_logprobs": [{)" + entries + "}]}}";
  };
  CHECK(has(said(top("\" yes\": 1e308")), "choices[0].logprobs.top_logprobs[0]. yes is above 0"));
  CHECK(has(said(top("\" no\": 0.5, \" yes\": -1")), "top_logprobs[0]. no is above 0"));
  CHECK(has(said(top("\" yes\": 1e999")), "is not JSON"));
  CHECK(has(said(top("\" yes\": NaN")), "is not JSON"));
  CHECK(has(said(top("\" yes\": null")), "top_logprobs[0]. yes is missing"));
  CHECK(said(top("\" yes\": -0.1, \"yes\": -0.1")) == "1.000000");
  CHECK(said(top("\" yes\": -1e308, \" no\": 0")) == "0.000000");
  CHECK(said(top("\" yes\": 1e-9")) == "1.000000");
  CHECK(has(said(R"({"text": " yes", "logprobs": {"content": {}}})"), "choices[0].logprobs.content is not an array"));
}

TEST_CASE("an answer has a limited length, packed and unpacked, and a limited time") {
  const std::string head = "HTTP/1.1 200 OK\r\n";
  const auto answers = [](const auto& answer, double timeout = 5) {
    RawServer server(answer);
    HttpJudgeOptions options = at(server.url());
    options.timeout_seconds = timeout;
    options.tries = 2;
    const auto begin = std::chrono::steady_clock::now();
    const std::string problem = failure([&] { static_cast<void>(ask(options)); });
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
    return problem + " " + std::to_string(server.requests());
  };
  using Send = std::function<bool(const std::string&)>;
  const std::string block(65536, ' ');
  const std::string too_long = "the answer is longer than 1048576 bytes: is this a judge? 1";
  CHECK(has(answers([&](const Send& send) {
              send(head + "Transfer-Encoding: chunked\r\n\r\n");
              while (send("10000\r\n" + block + "\r\n")) {
              }
            }),
            too_long));
  for (const std::string length : {"Content-Length: 4611686018427387904\r\n", "Content-Length: 1048577\r\n", ""})
    CHECK(has(answers([&](const Send& send) {
                send(head + length + "\r\n");
                while (send(block)) {
                }
              }),
              too_long));
#ifdef __linux__
  CHECK(has(answers([&](const Send& send) {
              send(head);
              while (send("X: y\r\n")) {
              }
            }),
            too_long));
#endif
  // A byte now and then, in the head and in the body: within each time limit of a read.
  for (const std::string& begin : {head + "X: ", head + "Content-Length: 100000\r\n\r\n"})
    CHECK(has(answers(
                  [&](const Send& send) {
                    send(begin);
                    while (send(" ")) std::this_thread::sleep_for(std::chrono::milliseconds(20));
                  },
                  0.3),
              "no answer within 0.3 seconds (--timeout) (try 2 of 2) 2"));

  Server packed([](const httplib::Request& request, int, httplib::Response& response) {
    CHECK(request.get_header_value("Accept-Encoding") == "identity");
    response.set_header("Content-Encoding", "gzip");
    response.set_content("\x1f\x8b", "application/json");
  });
  CHECK(
      has(failure([&] { static_cast<void>(ask(at(packed.url()))); }), "the answer is packed (Content-Encoding: gzip)"));
  Server deep([](const httplib::Request&, int, httplib::Response& response) {
    response.set_content("{\"choices\":" + std::string(400000, '[') + std::string(400000, ']') + "}", "text/plain");
  });
  CHECK(has(failure([&] { static_cast<void>(ask(at(deep.url()))); }), "nested more than 64 levels deep"));
  Server fails([](const httplib::Request&, int, httplib::Response& response) {
    response.status = 404;
    response.set_content(std::string(3000000, 'x'), "text/plain");
  });
  CHECK(has(failure([&] { static_cast<void>(ask(at(fails.url()))); }), "/v1/completions: 404 xxx"));
  Server moves([](const httplib::Request&, int, httplib::Response& response) {
    response.status = 307;
    response.set_header("Location", "http://127.0.0.1:1/steal");
  });
  CHECK(has(failure([&] { static_cast<void>(ask(at(moves.url()))); }), "307"));
}

TEST_CASE("keys and passwords: where they go, and what says them") {
  Server server(says(completion({{" yes", -0.25}, {" no", -1.5}})));
  const std::string address = server.url().substr(7);
  CHECK(ask(at("http://user:p%40ss%2Fword@" + address + "/base?api_key=hidden")) == doctest::Approx(std::exp(-0.25)));
  const httplib::Request request = server.last();
  CHECK(request.get_header_value("Authorization") == "Basic dXNlcjpwQHNzL3dvcmQ=");  // base64 of user:p@ss/word
  CHECK(request.path == "/base/v1/completions");
  CHECK(request.get_param_value("api_key") == "hidden");

  Server down([](const httplib::Request&, int, httplib::Response& response) { response.status = 403; });
  const std::string secret = "http://user:pw@" + down.url().substr(7) + "/?api_key=pw#pw";
  CHECK(failure([&] { static_cast<void>(ask(at(secret))); }).starts_with(down.url() + "/v1/completions: 403"));
  for (const std::string url : {"user:pw@host:80", "ftp://user:pw@host", "http://user:pw@", "http://user:pw@host:0",
                                "http://user:pw@host:70000", "http://user:pw@host:pw", "http://user:p/pw@host",
                                "http://user:p?pw@host", "http://user: pw@host", "http://pw@[::1"}) {
    const std::string problem = failure([&] { static_cast<void>(ask(at(url))); });
    CAPTURE(url);
    CHECK(problem.starts_with("--url: "));
    CHECK(!has(problem, "pw"));
  }

  // To another machine in the clear only when told.
  const auto refusal = [](const std::string& url, const std::string& key, bool told) {
    HttpJudgeOptions options = at(url);
    options.key = key;
    options.key_name = "OPENAI_API_KEY";
    options.send_key_unencrypted = told;
    return failure([&] { static_cast<void>(http_judge(options, "m")); });
  };
  for (const std::string host : {"127.0.0.1:8000", "127.9.9.9", "localhost", "localhost:80/v1", "[::1]:8000", "[::1]"})
    CHECK(refusal("http://" + host, "sk-pw", false) == "no error");
  CHECK(refusal("https://judge.example", "sk-pw", false) == "no error");
  for (const std::string host : {"judge.example", "192.168.1.2:8000", "127.0.0.1.judge.example", "localhost.example",
                                 "[::2]:80", "127.1", "1.2.3.127"}) {
    CAPTURE(host);
    const std::string problem = refusal("http://" + host, "sk-pw", false);
    CHECK(problem.starts_with("--url: OPENAI_API_KEY would be readable"));
    CHECK(has(problem, "--send-key-unencrypted"));
    CHECK(!has(problem, "pw"));
    CHECK(refusal("http://" + host, "sk-pw", true) == "no error");
    CHECK(refusal("http://" + host, "", false) == "no error");
    CHECK(has(refusal("http://user:pw@" + host, "", false), "the password in --url would be readable"));
    CHECK(has(refusal("http://" + host + "?api_key=pw", "", false), "what follows '?' in --url would be readable"));
  }
  CHECK(refusal(server.url(), "sk-pw\n", false).starts_with("OPENAI_API_KEY: holds a space, a line break"));
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
  CHECK(ask(at(busy.url())) == 1);
  CHECK(busy.requests() == 4);
  CHECK(std::chrono::steady_clock::now() - begin > std::chrono::milliseconds(200));

  Server down([](const httplib::Request&, int, httplib::Response& response) {
    response.status = 500;
    response.set_content("out of\nmemory", "text/plain");
  });
  HttpJudgeOptions options = at(down.url());
  options.tries = 3;
  CHECK(failure([&] { static_cast<void>(ask(options)); }) ==
        down.url() + "/v1/completions: 500 out of memory (try 3 of 3)");
  CHECK(down.requests() == 3);
}

TEST_CASE("what cannot pass is not tried again") {
  Server refuses([](const httplib::Request&, int, httplib::Response& response) {
    response.status = 401;
    response.set_content(R"({"error": "no such key"})", "application/json");
  });
  const std::string problem = failure([&] { static_cast<void>(ask(at(refuses.url()))); });
  CHECK(problem.find("401") != std::string::npos);
  CHECK(problem.find("no such key") != std::string::npos);
  CHECK(refuses.requests() == 1);
  for (const std::string body : {"", "{", "[]", "null", R"({"choices": []})", R"({"choices": [{"logprobs": null}]})",
                                 R"({"choices": [{"logprobs": {"top_logprobs": [{" yes": "x"}]}}]})"}) {
    CAPTURE(body);
    Server server([&](const httplib::Request&, int, httplib::Response& response) {
      response.set_content(body, "application/json");
    });
    const std::string text = failure([&] { static_cast<void>(ask(at(server.url()))); });
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
  CHECK(ask(options) == 1);
  options.timeout_seconds = 0.05;
  options.tries = 2;
  const auto begin = std::chrono::steady_clock::now();
  CHECK(failure([&] { static_cast<void>(ask(options)); }).find("no answer") != std::string::npos);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(1400));

  std::string gone;
  {
    const Server server(says({}));
    gone = server.url();
  }
  options = at(gone);
  options.tries = 2;
  CHECK(failure([&] { static_cast<void>(ask(options)); }).find("(try 2 of 2)") != std::string::npos);
  for (const std::string url : {"", "localhost:80", "ftp://host"})
    CHECK(failure([&] { static_cast<void>(ask(at(url))); }).starts_with("--url: expected http://HOST:PORT"));
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

TEST_CASE("a reply that is neither yes nor no does not end the run, and secrets of the URL are in no file") {
  const test::TemporaryFolder folder;
  const std::string out = (folder / "gen.jsonl").string();
  std::string lines;
  for (int i = 0; i < 4; ++i)
    lines += json{{"sample", i}, {"question", "q" + std::to_string(i)}, {"answer", "a"}, {"rejected", 0}}.dump() + '\n';
  test::write_file(out, lines);
  test::write_file(out + ".manifest.json",
                   R"({"task": "truthfulqa-gen", "model": {}, "data": {}, "options": {}, "format": 1})");
  Server server([](const httplib::Request& request, int, httplib::Response& response) {
    const std::string prompt = json::parse(request.body)["messages"][0]["content"];
    const std::string reply = has(prompt, "q2") ? "I cannot say" : has(prompt, "q3") ? "no" : "yes";
    response.set_content(json{{"choices", {{{"message", {{"content", reply}}}}}}}.dump(), "application/json");
  });
  const std::string url = "http://user:pw@" + server.url().substr(7) + "/v1?api_key=pw";
  test::Program program(folder.path(), {"judge", out, "--url", url, "--api", "chat", "--truth-model", "t"}, {},
                        ACTIVATION_TRACE_EVALUATE);
  program.wait();
  CAPTURE(program.err);
  CHECK(program.code == 0);
  CHECK(has(program.err, "warning: sample 2: the judge of 'truth' said neither yes nor no but 'I cannot say'"));
  const auto judgements = test::json_lines(test::read_text(out + ".judgements.jsonl"));
  REQUIRE(judgements.size() == 4);
  CHECK(judgements[2]["truth"].is_null());
  CHECK(judgements[2]["truth_reply"] == "I cannot say");
  // It counts as no: two of four.
  const json summary = json::parse(test::read_text(out + ".summary.json"));
  CHECK(summary["metrics"]["truth"]["value"] == 50.0);
  CHECK(summary["unjudged"] == json{{"truth", 1}});
  const json manifest = json::parse(test::read_text(out + ".judgements.jsonl.manifest.json"));
  CHECK(manifest["truth"]["url"] == server.url() + "/v1");
  CHECK(!has(program.out + program.err, "pw"));
  for (const auto& file : std::filesystem::directory_iterator(folder.path()))
    CHECK(!has(test::read_text(file.path().string()), "pw"));
  // The judgements are judgements for another run of the same answers.
  test::Program again(folder.path(), {"judge", out, "--judgements", out + ".judgements.jsonl"}, {},
                      ACTIVATION_TRACE_EVALUATE);
  CHECK(again.wait().code == 1);  // of another judge
  std::filesystem::rename(out + ".judgements.jsonl", out + ".saved");
  std::filesystem::remove(out + ".judgements.jsonl.manifest.json");
  test::Program other(folder.path(), {"judge", out, "--judgements", out + ".saved"}, {}, ACTIVATION_TRACE_EVALUATE);
  CHECK(other.wait().code == 0);
  CHECK(json::parse(test::read_text(out + ".summary.json")) == summary);
}
