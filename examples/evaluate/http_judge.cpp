// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/http_judge.hpp"

#include <httplib.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "activation_trace/error.hpp"
#include "activation_trace/text/json.hpp"
#include "evaluate/connection_watch.hpp"
#include "evaluate/judge_answer.hpp"
#include "evaluate/server_url.hpp"
#include "support/command_line.hpp"
#include "support/interrupt.hpp"

namespace activation_trace::examples {
namespace {

using Json = nlohmann::json;

class HttpJudge {
 public:
  HttpJudge(const HttpJudgeOptions& options, std::string model)
      : options_(options), model_(std::move(model)), url_(parse_server_url(options.url)) {
    check_secrets();
    try {
      client_ = std::make_unique<httplib::Client>(url_.origin);
    } catch (const std::exception& e) {
      throw Error("--url: " + url_.origin + " cannot be asked: " + e.what());
    }
    if (!client_->is_valid()) throw Error("--url: no server can be named " + url_.origin);
    prefix_ = url_.path;
    while (prefix_.ends_with('/')) prefix_.pop_back();
    if (prefix_.ends_with("/v1")) prefix_.resize(prefix_.size() - 3);
    constexpr double longest = 1e6;
    options_.timeout_seconds = std::min(options.timeout_seconds, longest);
    const auto timeout = std::chrono::microseconds(std::llround(options_.timeout_seconds * 1e6));
    client_->set_connection_timeout(timeout);
    client_->set_read_timeout(timeout);
    client_->set_write_timeout(timeout);
    client_->set_keep_alive(true);
    client_->set_decompress(false);
    client_->set_socket_options([connection = connection_.get()](auto socket) { connection->use(socket); });
  }

  Judgement operator()(const std::string& prompt) const {
    const bool chat = options_.api == HttpJudgeOptions::Api::chat;
    Json request{{"model", model_}, {"temperature", 0}};
    if (chat) {
      request["max_tokens"] = 8;
      request["messages"] = {{{"role", "user"}, {"content", "Reply with yes or no only.\n\n" + prompt}}};
    } else {
      request["max_tokens"] = 1;
      request["logprobs"] = 2;
      request["prompt"] = prompt;
    }
    const std::string place = prefix_ + (chat ? "/v1/chat/completions" : "/v1/completions");
    return read_judge_answer(post(place, activation_trace::detail::json_text(request)), options_.api,
                             url_.origin + place);
  }

 private:
  struct Answer {
    int status = 0;
    std::string body;
    std::string retry_after;
    std::string encoding;
  };

  // What is secret goes to another machine in the clear only when told.
  void check_secrets() const {
    if (std::any_of(options_.key.begin(), options_.key.end(), [](char c) { return c <= ' ' || c == 0x7f; }))
      throw Error(options_.key_name + ": holds a space, a line break or what is not ASCII: no header can have it");
    if (options_.key.empty() && !url_.login && url_.query.empty()) return;
    if (url_.encrypted() || url_.loopback() || options_.send_key_unencrypted) return;
    const std::string what = url_.login            ? "the password in --url"
                             : !url_.query.empty() ? "what follows '?' in --url"
                                                   : options_.key_name;
    throw Error(
        "--url: " + what + " would be readable by everyone on the way to " + url_.origin +
        ": use https://, name another variable by --api-key-env (one that is not set sends no key), or allow it "
        "by --send-key-unencrypted");
  }

  [[nodiscard]] httplib::Headers headers() const {
    httplib::Headers headers{{"Content-Type", "application/json"}, {"Accept-Encoding", "identity"}};
    if (url_.login)
      headers.insert(httplib::make_basic_authentication_header(url_.login->user, url_.login->password));
    else if (!options_.key.empty())
      headers.emplace("Authorization", "Bearer " + options_.key);
    return headers;
  }

  [[nodiscard]] std::string post(const std::string& place, const std::string& body) const {
    double wait = options_.wait_seconds;
    for (int tries = 1;; ++tries) {
      Answer answer;
      const std::string failure = ask(place, body, answer);
      if (failure.empty() && answer.status == 200) return std::move(answer.body);
      const bool again = !failure.empty() || answer.status == 408 || answer.status == 429 || answer.status >= 500;
      std::string problem = failure.empty() ? std::to_string(answer.status) + ' ' + excerpt(answer.body) : failure;
      if (answer.status >= 300 && answer.status < 400) problem += "(another address; name it by --url)";
      if (!again || tries >= options_.tries || interrupted != 0)
        throw Error(url_.origin + place + ": " + problem +
                    (again ? " (try " + std::to_string(tries) + " of " + std::to_string(options_.tries) + ")" : ""));
      const std::optional<double> asked = parse_number<double>(answer.retry_after);
      pause(asked && *asked >= 0 && *asked <= 600 ? *asked : wait);
      wait *= 2;
    }
  }

  // Once. Returns why there is no answer. Throws Error for one that must not be asked for again.
  [[nodiscard]] std::string ask(const std::string& place, const std::string& body, Answer& answer) const {
    httplib::Request request;
    request.method = "POST";
    request.path = place + url_.query;
    request.headers = headers();
    request.body = body;
    request.response_handler = [&](const httplib::Response& response) {
      answer.status = response.status;
      answer.retry_after = response.get_header_value("Retry-After");
      answer.encoding = response.get_header_value("Content-Encoding");
      return true;
    };
    bool too_long = false;
    request.content_receiver = [&](const char* data, std::size_t size, std::uint64_t, std::uint64_t) {
      too_long = size > longest_judge_answer - answer.body.size();
      if (!too_long) answer.body.append(data, size);
      return !too_long;
    };
    const ConnectionWatch watch(*connection_, options_.timeout_seconds, 2 * longest_judge_answer);
    const auto begin = std::chrono::steady_clock::now();
    const httplib::Result result = client_->send(request);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    const auto refuse = [&](const std::string& problem) { throw Error(url_.origin + place + ": " + problem); };
    using Reason = ConnectionWatch::Reason;
    if (watch.reason() == Reason::interrupt) refuse("interrupted");
    if (answer.status != 200 && answer.status != 0 && too_long) return "";  // the status says enough
    if (too_long || watch.reason() == Reason::bytes)
      refuse("the answer is longer than " + std::to_string(longest_judge_answer) + " bytes: is this a judge?");
    if (!result)
      return watch.reason() == Reason::seconds || took.count() >= options_.timeout_seconds
                 ? "no answer within " + activation_trace::detail::json_text(Json(options_.timeout_seconds)) +
                       " seconds (--timeout)"
                 : "no answer: " + httplib::to_string(result.error());
    if (answer.status == 200 && !answer.encoding.empty() && answer.encoding != "identity")
      refuse("the answer is packed (Content-Encoding: " + excerpt(answer.encoding) + "), which was not asked for");
    return "";
  }

  static void pause(double seconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (std::chrono::steady_clock::now() < end && interrupted == 0)
      std::this_thread::sleep_for(std::min<std::chrono::duration<double>>(end - std::chrono::steady_clock::now(),
                                                                          std::chrono::milliseconds(50)));
  }

  HttpJudgeOptions options_;
  std::string model_;
  ServerUrl url_;
  std::unique_ptr<WatchedConnection> connection_ = std::make_unique<WatchedConnection>();
  std::unique_ptr<httplib::Client> client_;
  std::string prefix_;
};

}  // namespace

JudgeProbability http_judge(const HttpJudgeOptions& options, const std::string& model) {
  return [judge = std::make_shared<const HttpJudge>(options, model)](const std::string& prompt) {
    return (*judge)(prompt);
  };
}

}  // namespace activation_trace::examples
