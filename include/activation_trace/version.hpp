// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The single source of the version: CMake reads these three lines.
#define ACTIVATION_TRACE_VERSION_MAJOR 0
#define ACTIVATION_TRACE_VERSION_MINOR 2
#define ACTIVATION_TRACE_VERSION_PATCH 0
