// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Readers of public data sets. All throw FormatError that names the file and the line (or the record of a JSON list)
// for a missing file, an empty one, a record without a field that is needed, a field of another type, a question or
// prompt that is blank, one without an answer, and ill-formed UTF-8. Records are JSON objects one after the other, a
// line each or more, or one JSON list. A byte order mark is skipped, NaN is read as null, as Python reads it, half a
// surrogate pair as U+FFFD. Which of its forms a data set has is what its content says (evaluation/README.md 1.5).
#include "activation_trace/evaluation/data_sets/factor.hpp"
#include "activation_trace/evaluation/data_sets/known_facts.hpp"
#include "activation_trace/evaluation/data_sets/questions.hpp"
#include "activation_trace/evaluation/data_sets/truthfulqa.hpp"
