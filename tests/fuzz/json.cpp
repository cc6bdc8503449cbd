// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/text/json.hpp"

#include <cstdint>
#include <cstdlib>
#include <set>
#include <vector>

#include "fuzz/inputs.hpp"

using namespace activation_trace;

namespace {

/// What parse_json() refuses of what is JSON: keys that appear twice in one object, and deep nesting.
class Limits : public nlohmann::json_sax<nlohmann::json> {
 public:
  [[nodiscard]] bool broken() const { return broken_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return open(); }
  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second) broken_ = true;
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  bool open() {
    keys_.emplace_back();
    if (keys_.size() > 64) broken_ = true;
    return true;
  }
  bool close() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::set<std::string>> keys_;
  bool broken_ = false;
};

template <class Json>
void compare(std::string_view text, bool accepted) {
  bool taken = true;
  try {
    const Json value = detail::parse_json<Json>(text, "input");
    if (value != Json::parse(text, nullptr, false)) std::abort();
    if (value != detail::parse_json<Json>(text, "input", {.like_python = true})) std::abort();
  } catch (const FormatError&) {
    taken = false;
  }
  if (taken != accepted) std::abort();
}

}  // namespace

// The library's parser takes what nlohmann's plain one takes, as the same value, but for its own two rules; read as
// Python does, JSON means the same, and errors name a byte of the text.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = test::text_of_input(data, size);
  Limits limits;
  const bool is_json = nlohmann::json::sax_parse(text, &limits);
  compare<nlohmann::json>(text, is_json && !limits.broken());
  compare<nlohmann::ordered_json>(text, is_json && !limits.broken());
  try {
    static_cast<void>(detail::parse_json(text, "input", {.origin = 1, .like_python = true}));
  } catch (const FormatError& error) {
    if (error.offset() < 1 || error.offset() > 1 + size) std::abort();
  }
  return 0;
}
