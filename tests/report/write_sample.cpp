// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Writes the sample report in every form into a folder, for tests in other languages.
#include <cstdio>
#include <fstream>
#include <string>

#include "activation_trace/report/html.hpp"
#include "activation_trace/report/svg.hpp"
#include "activation_trace/report/tables.hpp"
#include "report/sample_report.hpp"

int main(int argc, char** argv) {
  if (argc != 2) return std::fputs("usage: write_sample FOLDER\n", stderr), 2;
  const activation_trace::Report report = activation_trace::test::sample_report();
  const auto write = [&](const char* name, const std::string& content) {
    std::ofstream file(std::string(argv[1]) + "/" + name, std::ios::binary);
    file << content << std::flush;
    return file.good();
  };
  const bool good = write("sample.html", to_html(report)) && write("sample.svg", to_svg(report, 1)) &&
                    write("sample.json", to_json(report).dump(1)) && write("sample.csv", to_csv(report));
  return good ? 0 : 1;
}
