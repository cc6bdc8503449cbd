// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/http_judge.hpp"

#include <httplib.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "activation_trace/error.hpp"
#include "activation_trace/formats/json.hpp"
#include "support/command_line.hpp"
#include "support/interrupt.hpp"

namespace activation_trace::examples {
namespace {

using Json = nlohmann::json;

/// The start of what a server said, on one line.
std::string excerpt(const std::string& text) {
  std::string line = text.substr(0, 200);
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, ' ');
  return line;
}

class HttpJudge {
 public:
  HttpJudge(const HttpJudgeOptions& options, std::string model) : options_(options), model_(std::move(model)) {
    const std::size_t host = options.url.find("://");
    const std::string scheme = host == std::string::npos ? "" : options.url.substr(0, host);
    if (scheme != "http" && scheme != "https")
      throw Error("--url: expected http://HOST:PORT or https://HOST:PORT, got " + options.url);
    const std::size_t path = options.url.find('/', host + 3);
    client_ = std::make_unique<httplib::Client>(options.url.substr(0, path));
    if (!client_->is_valid()) throw Error("--url: no server can be named " + options.url);
    if (path != std::string::npos) prefix_ = options.url.substr(path);
    while (prefix_.ends_with('/')) prefix_.pop_back();
    if (prefix_.ends_with("/v1")) prefix_.resize(prefix_.size() - 3);
    const auto timeout = std::chrono::microseconds(std::llround(options.timeout_seconds * 1e6));
    client_->set_connection_timeout(timeout);
    client_->set_read_timeout(timeout);
    client_->set_write_timeout(timeout);
    client_->set_keep_alive(true);
    if (!options.key.empty()) client_->set_bearer_token_auth(options.key);
  }

  double operator()(const std::string& prompt) const {
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
    const std::string answer = post(place, activation_trace::detail::json_text(request));
    try {
      const Json choice = Json::parse(answer).at("choices").at(0);
      return chat ? reply(choice.at("message").at("content").get<std::string>()) : probability(choice.at("logprobs"));
    } catch (const Json::exception& e) {
      throw Error(options_.url + place + ": the answer is not OpenAI's: " + excerpt(e.what()) + ": " + excerpt(answer));
    }
  }

 private:
  [[nodiscard]] std::string post(const std::string& place, const std::string& body) const {
    double wait = options_.wait_seconds;
    for (int tries = 1;; ++tries) {
      const httplib::Result result = client_->Post(place, body, "application/json");
      if (result && result->status == 200) return result->body;
      const bool again = !result || result->status == 408 || result->status == 429 || result->status >= 500;
      const std::string problem = result ? std::to_string(result->status) + ' ' + excerpt(result->body)
                                         : "no answer: " + httplib::to_string(result.error());
      if (!again || tries >= options_.tries || interrupted != 0)
        throw Error(options_.url + place + ": " + problem +
                    (again ? " (try " + std::to_string(tries) + " of " + std::to_string(options_.tries) + ")" : ""));
      const std::optional<double> asked =
          result ? parse_number<double>(result->get_header_value("Retry-After")) : std::nullopt;
      pause(asked && *asked >= 0 && *asked <= 600 ? *asked : wait);
      wait *= 2;
    }
  }

  static void pause(double seconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (std::chrono::steady_clock::now() < end && interrupted == 0)
      std::this_thread::sleep_for(std::min<std::chrono::duration<double>>(end - std::chrono::steady_clock::now(),
                                                                          std::chrono::milliseconds(50)));
  }

  // " yes", as servers write it: with the space, with SentencePiece's mark for it, or without.
  static bool is_yes(std::string_view token) {
    for (const std::string_view space : {" ", "\u2581", "\u0120"})
      if (token.starts_with(space)) token.remove_prefix(space.size());
    return token == "yes";
  }

  // Either {"top_logprobs": [{token: log-probability}]}, or {"content": [{"top_logprobs": [{"token", "logprob"}]}]}.
  [[nodiscard]] static double probability(const Json& log_probs) {
    double sum = 0;
    if (log_probs.contains("content")) {
      for (const Json& entry : log_probs["content"].at(0).at("top_logprobs"))
        if (is_yes(entry.at("token").get<std::string>())) sum += std::exp(entry.at("logprob").get<double>());
    } else {
      for (const auto& [token, log_prob] : log_probs.at("top_logprobs").at(0).items())
        if (is_yes(token)) sum += std::exp(log_prob.get<double>());
    }
    return std::min(sum, 1.0);
  }

  [[nodiscard]] double reply(const std::string& text) const {
    std::string word;
    for (const char c : text) {
      const bool letter = std::isalpha(static_cast<unsigned char>(c)) != 0;
      if (!letter && !word.empty()) break;
      if (letter) word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    if (word == "yes" || word == "true") return 1;
    if (word == "no" || word == "false") return 0;
    throw Error(options_.url + ": expected a reply of yes or no, got " + (text.empty() ? "nothing" : excerpt(text)));
  }

  HttpJudgeOptions options_;
  std::string model_;
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
