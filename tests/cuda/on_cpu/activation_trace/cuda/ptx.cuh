// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/tensor/half.hpp"

// cuda/ptx.cuh for a CPU. A lane's share of the operands of mma and ldmatrix is that of the PTX ISA, "Matrix fragments
// for mma.m16n8k16" and "mma.m16n8k8", "ldmatrix"; products are summed in double and rounded once.
namespace activation_trace {
inline namespace v0 {
namespace cuda::ptx {

inline float exp2_approx(float x) { return x < -126.0f ? 0.0f : std::exp2(x); }
inline float widen(Half x) { return x; }
template <class T>
T narrow(float x) {
  return T(x);
}

template <class T>
std::uint32_t narrow_pair(float first, float second) {
  return T(first).bits | static_cast<std::uint32_t>(T(second).bits) << 16;
}

inline std::uint32_t and_or(std::uint32_t a, std::uint32_t mask, std::uint32_t b) { return (a & mask) | b; }
inline std::uint32_t fma_pair(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  std::uint32_t result = 0;
  for (int shift = 0; shift < 32; shift += 16) {
    const auto number = [shift](std::uint32_t word) {
      return static_cast<float>(Half::from_bits(static_cast<std::uint16_t>(word >> shift)));
    };
    // The product of two numbers of 11 bits is a float; tests have sums that are, too.
    result |= static_cast<std::uint32_t>(Half(number(a) * number(b) + number(c)).bits) << shift;
  }
  return result;
}

struct Fragments {
  std::uint32_t a[4], b[2];
};

/// `a(fragments, row, k)` and `b(fragments, k, column)` find an element of the operands in the warp's registers.
template <int depth, class A, class B>
void multiply(float* c, const std::uint32_t* a, const std::uint32_t* b, const A& a_at, const B& b_at) {
  const Fragments* const lanes = cuda_on_cpu::exchange(Fragments{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}});
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8;
    const int column = lane % 4 * 2 + i % 2;
    double sum = static_cast<double>(c[i]);
    for (int k = 0; k < depth; ++k)
      sum += static_cast<double>(a_at(lanes, row, k)) * static_cast<double>(b_at(lanes, k, column));
    c[i] = static_cast<float>(sum);
  }
}

template <class T>
void multiply(T, float* c, const std::uint32_t* a, const std::uint32_t* b) {
  const auto half = [](std::uint32_t word, int k) {
    return static_cast<float>(T::from_bits(static_cast<std::uint16_t>(word >> (k % 2 * 16))));
  };
  multiply<16>(
      c, a, b,
      [&](const Fragments* lanes, int row, int k) {
        return half(lanes[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2], k);
      },
      [&](const Fragments* lanes, int k, int column) { return half(lanes[column * 4 + k % 8 / 2].b[k / 8], k); });
}

inline void multiply_tf32(float* c, const std::uint32_t* a, const std::uint32_t* b) {
  const auto number = [](std::uint32_t word) { return std::bit_cast<float>(word & 0xffffe000u); };
  multiply<8>(
      c, a, b,
      [&](const Fragments* lanes, int row, int k) { return number(lanes[row % 8 * 4 + k % 4].a[row / 8 + k / 4 * 2]); },
      [&](const Fragments* lanes, int k, int column) { return number(lanes[column * 4 + k % 4].b[k / 4]); });
}

inline std::byte* dynamic_shared() { return cuda_on_cpu::dynamic_shared(); }
/// Of dynamic shared memory only.
inline std::uint32_t shared_address(const void* pointer) {
  return cuda_on_cpu::dynamic_begin +
         static_cast<std::uint32_t>(static_cast<const std::byte*>(pointer) - dynamic_shared());
}

inline void load_matrices(std::uint32_t (&r)[4], std::uint32_t address) {
  const std::uint32_t* const rows = cuda_on_cpu::exchange(address);
  const unsigned lane = threadIdx.x % 32;
  for (unsigned i = 0; i < 4; ++i)
    std::memcpy(&r[i], cuda_on_cpu::shared_at(rows[8 * i + lane / 4], 16) + lane % 4 * 4, 4);
}

/// From now on the bytes may be there; they are when the group is waited for.
inline void copy_async(std::uint32_t target, const void* source, int bytes) {
  std::byte* const place = cuda_on_cpu::shared_at(target, 16);
  std::memset(place, 0xff, 16);
  cuda_on_cpu::self().copies.add([=] {
    std::memset(place, 0, 16);
    std::memcpy(place, source, static_cast<std::size_t>(bytes));
  });
}
inline void commit_copies() { cuda_on_cpu::self().copies.commit(); }
template <int pending>
void wait_copies() {
  cuda_on_cpu::self().copies.wait(pending);
}
constexpr int first_that_waits = 90;
inline void launch_dependents() {}
inline void wait_for_previous() { cuda_on_cpu::wait_for_previous(); }

}  // namespace cuda::ptx
}  // namespace v0
}  // namespace activation_trace
