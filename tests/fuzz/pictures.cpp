// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdlib>

#include "fuzz/inputs.hpp"
#include "visualize/grid.hpp"
#include "visualize/trace.hpp"

using namespace activation_trace;

namespace {

void draw(const Report& report) {
  const TerminalOptions colors{.colors = TerminalColors::full, .width = 60};
  const std::string texts[] = {to_html(report), to_svg(report, 0), to_csv(report), detail::json_text(to_json(report)),
                               to_terminal(report, colors)};
  for (const std::string& text : texts)
    if (!is_valid_utf8(text)) std::abort();
  // The only escapes are its own colours.
  const std::string plain = to_terminal(report, {.width = 60});
  if (plain.find('\x1b') != std::string::npos) std::abort();
  if (!nlohmann::json::accept(texts[3])) std::abort();
}

}  // namespace

// Any bytes are a trace or a grid that can be drawn in every form, or a typed error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string path = test::input_file("data", test::text_of_input(data, size)).string();
  for (Report (*read)(const std::string&) : {examples::trace_report, examples::grid_report}) try {
      draw(read(path));
    } catch (const Error&) {
    }
  return 0;
}
