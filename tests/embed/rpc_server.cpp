// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// llama.cpp's RPC server of this machine's processor, for tests: rpc_server HOST:PORT. Runs until it is killed.
#include <ggml-backend.h>

#include <cstddef>
#include <cstdio>

int main(int argc, char** argv) {
  ggml_backend_load_all();
  ggml_backend_reg_t rpc = ggml_backend_reg_by_name("RPC");
  ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  using Start = void(const char*, const char*, std::size_t, std::size_t, ggml_backend_dev_t*);
  auto* start = rpc == nullptr
                    ? nullptr
                    : reinterpret_cast<Start*>(ggml_backend_reg_get_proc_address(rpc, "ggml_backend_rpc_start_server"));
  if (argc != 2 || start == nullptr)
    return std::fputs("usage: rpc_server HOST:PORT, of a llama.cpp with RPC\n", stderr), 2;
  start(argv[1], nullptr, 1, 1, &device);
  return 1;
}
