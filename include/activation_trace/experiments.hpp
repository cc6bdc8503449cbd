// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What experiments need beside the library: data sets, prompts and metrics, runs, and pictures.
#include "activation_trace/evaluation/answer_metrics.hpp"
#include "activation_trace/evaluation/conversation.hpp"
#include "activation_trace/evaluation/data_sets.hpp"
#include "activation_trace/evaluation/detection.hpp"
#include "activation_trace/evaluation/grouped_auroc.hpp"
#include "activation_trace/evaluation/histogram.hpp"
#include "activation_trace/evaluation/multiple_choice.hpp"
#include "activation_trace/evaluation/prompts.hpp"
#include "activation_trace/evaluation/resampling.hpp"
#include "activation_trace/evaluation/run_log.hpp"
#include "activation_trace/report/activation_map.hpp"
#include "activation_trace/report/color_scale.hpp"
#include "activation_trace/report/html.hpp"
#include "activation_trace/report/picture.hpp"
#include "activation_trace/report/svg.hpp"
#include "activation_trace/report/tables.hpp"
#include "activation_trace/report/terminal.hpp"
#include "activation_trace/report/text.hpp"
#include "activation_trace/text/csv.hpp"
#include "activation_trace/text/lower_case.hpp"
