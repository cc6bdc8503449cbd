// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/activation_trace.hpp"

activation_trace::Index other_rows(const activation_trace::StoredMatrix<>& matrix) { return matrix.rows(); }
