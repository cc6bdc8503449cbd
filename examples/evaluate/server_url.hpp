// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include "activation_trace/error.hpp"

namespace activation_trace::examples {

/// --url in its parts. What may be secret, the login and the query, is kept apart: only shown() may be written
/// anywhere.
struct ServerUrl {
  struct Login {
    std::string user;
    std::string password;
  };

  std::string origin;          ///< http://host:port
  std::string path;            ///< as given
  std::string query;           ///< with its '?', or empty
  std::optional<Login> login;  ///< of user:password@

  [[nodiscard]] std::string shown() const { return origin + path; }
  [[nodiscard]] bool encrypted() const { return origin.starts_with("https"); }
  [[nodiscard]] std::string_view host() const {
    const std::string_view rest = std::string_view(origin).substr(origin.find("://") + 3);
    return rest.starts_with('[') ? rest.substr(1, rest.find(']') - 1) : rest.substr(0, rest.find(':'));
  }
  /// Whether what is sent there stays on this machine.
  [[nodiscard]] bool loopback() const {
    const std::string name(host());
    in_addr v4{};
    in6_addr v6{};
    if (inet_pton(AF_INET, name.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
    if (inet_pton(AF_INET6, name.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6) != 0;
    return name == "localhost";
  }
};

namespace detail {

/// With %41 as 'A'.
[[nodiscard]] inline std::string percent_decoded(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned byte = 0;
    const char* digits = text.data() + i + 1;
    if (text[i] == '%' && text.size() - i > 2 && std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
      result += static_cast<char>(byte);
      i += 2;
    } else {
      result += text[i];
    }
  }
  return result;
}

[[nodiscard]] inline bool is_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port >= 1 && port <= 65535;
}

}  // namespace detail

/// Throws Error for what is no such URL; the message does not repeat it, because it may hold a password.
[[nodiscard]] inline ServerUrl parse_server_url(std::string_view url) {
  const auto fail = [](const std::string& why) {
    throw Error("--url: expected http://HOST:PORT or https://HOST:PORT, " + why);
  };
  if (std::any_of(url.begin(), url.end(), [](char c) { return c <= ' ' || c == 0x7f; }))
    fail("without spaces and what is not ASCII (write it as %20)");
  ServerUrl result;
  url = url.substr(0, url.find('#'));
  if (const std::size_t query = url.find('?'); query != std::string_view::npos) {
    result.query = url.substr(query);
    url = url.substr(0, query);
  }
  const std::size_t scheme = url.find("://");
  if (scheme == std::string_view::npos || (url.substr(0, scheme) != "http" && url.substr(0, scheme) != "https"))
    fail("got neither");
  std::string_view authority = url.substr(scheme + 3);
  if (const std::size_t path = authority.find('/'); path != std::string_view::npos) {
    result.path = authority.substr(path);
    authority = authority.substr(0, path);
  }
  if (result.path.find('@') != std::string::npos || result.query.find('@') != std::string::npos)
    fail("with '@', and with '/' and '?' in a password, written as %40, %2F and %3F");
  if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos) {
    const std::string_view login = authority.substr(0, at);
    const std::size_t colon = std::min(login.find(':'), login.size());
    result.login = {detail::percent_decoded(login.substr(0, colon)),
                    detail::percent_decoded(login.substr(std::min(colon + 1, login.size())))};
    authority.remove_prefix(at + 1);
  }
  const std::size_t host_end = authority.starts_with('[') ? authority.find(']') : authority.find(':');
  const std::string_view behind =
      host_end == std::string_view::npos ? "" : authority.substr(host_end + (authority.starts_with('[') ? 1 : 0));
  if (authority.empty() || host_end == 0 || (authority.starts_with('[') && host_end == std::string_view::npos))
    fail("there is no host");
  if (!behind.empty() && (behind[0] != ':' || !detail::is_port(behind.substr(1))))
    fail("the port is not a number of 1 to 65535");
  result.origin = std::string(url.substr(0, scheme)) + "://" + std::string(authority);
  return result;
}

}  // namespace activation_trace::examples
