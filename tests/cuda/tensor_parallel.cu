// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// A model whose blocks are shared out over devices, against the one on the host. Linked with the tests of llama.cu.
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#ifdef TEST_NCCL
#include "activation_trace/cuda/nccl_communicator.cuh"
#endif
#include "activation_trace/cuda/on_host.cuh"
#include "activation_trace/cuda/ops/sharded_softmax_entropy.cuh"
#include "activation_trace/cuda/sharded_weights.cuh"
#include "activation_trace/generation/generate.hpp"
#include "model/family_facts.hpp"
#include "model/history.hpp"
#include "support.cuh"
#include "support/no_text.hpp"

extern template class activation_trace::Llama<activation_trace::Cuda>;  // llama_cuda.cu

using namespace activation_trace;
using namespace activation_trace::test;

namespace {

/// As many ranks as are wanted and as there are devices.
std::vector<std::size_t> rank_counts(std::vector<std::size_t> wanted) {
  int devices = 0;
  cuda::check(cudaGetDeviceCount(&devices), "cudaGetDeviceCount");
  std::erase_if(wanted, [&](std::size_t count) { return static_cast<int>(count) > devices; });
  return wanted;
}

/// A stream of each of the first devices.
class RankStreams {
 public:
  explicit RankStreams(std::size_t count) {
    for (std::size_t device = 0; device < count; ++device) {
      const cuda::DeviceGuard guard(static_cast<int>(device));
      executions.emplace_back(streams_.emplace_back());
    }
  }

 private:
  std::vector<cuda::Stream> streams_;

 public:
  std::vector<Execution<Cuda>> executions;
};

/// A tiny model on the host, and on so many devices.
template <class Communicator = cuda::PeerCommunicator>
class Ranked {
 public:
  Ranked(const TinyLlama& tiny, const LlamaOptions& memory, std::size_t ranks)
      : weights_(tiny.weights()),
        streams_(ranks),
        shares_(streams_.executions, tiny.config(), weights_),
        on_devices(tiny.config(), weights_,
                   shares_.ranks(cuda::all_reduce_of(std::make_shared<Communicator>(streams_.executions))), memory,
                   execution_),
        on_host(tiny.config(), weights_, memory, execution_) {}

  [[nodiscard]] const cuda::ShardedWeights& shares() const { return shares_; }
  [[nodiscard]] Execution<Cuda>& first() { return streams_.executions.front(); }

 private:
  LlamaWeights<> weights_;
  Execution<Host> execution_{1};
  RankStreams streams_;
  cuda::ShardedWeights shares_;

 public:
  OnHost<Llama<Cuda>> on_devices;
  Llama<> on_host;
};

constexpr LlamaOptions two_sequences{.max_context = 40, .max_batch = 16, .sequences = 2};

/// `tolerance` of the largest element, for all that both tell.
void check_histories(Ranked<>& both, std::size_t prompt, double tolerance = 1e-5) {
  const std::vector<std::vector<float>> expected = history(both.on_host, prompt);
  const std::vector<std::vector<float>> found = history(both.on_devices, prompt);
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    CHECK(relative_error(found[i], expected[i]) <= tolerance);
  }
}

/// Five kv heads, so that two ranks and four have different numbers of them.
TinyLlamaOptions uneven_options() {
  TinyLlamaOptions options = small_family_options();
  options.config.layers = 2;
  options.config.heads = 10;
  options.config.kv_heads = 5;
  options.config.head_dim = 8;
  return options;
}

/// Sums of what each rank's stream makes in its own time are those in the order of the ranks, on every device.
template <class Communicator>
void check_sums(std::size_t ranks) {
  RankStreams streams(ranks);
  Communicator communicator(streams.executions);
  CHECK(communicator.ranks().size() == ranks);
  std::vector<Buffer<float, Cuda>> buffers(ranks);
  for (std::size_t r = 0; r < ranks; ++r) {
    const cuda::DeviceGuard guard(static_cast<int>(r));
    buffers[r] = Buffer<float, Cuda>(3000);
  }
  std::vector<VectorView<float, Cuda>> x(ranks);
  std::vector<std::vector<float>> given(ranks), found;
  for (const Index size : {1, 257, 3000, 64}) {
    for (std::size_t r = 0; r < ranks; ++r) {
      given[r] = normal_vector<float>(size, 1, 10 * r + static_cast<std::size_t>(size));
      x[r] = buffers[r].view().slice(0, 0, size);
      cuda::copy(streams.executions[r], VectorView<const float>(given[r]), x[r]);
    }
    std::vector<float> sum = given[0];
    for (int round = 0; round < 2; ++round) {  // the second adds what the first one made: ranks times each
      if (round == 1) given.assign(ranks, sum);
      for (std::size_t i = 0; i < sum.size(); ++i) {
        sum[i] = given[0][i];
        for (std::size_t r = 1; r < ranks; ++r) sum[i] += given[r][i];
      }
      communicator.all_reduce(x);
    }
    for (std::size_t r = 0; r < ranks; ++r) {
      std::vector<float> y(static_cast<std::size_t>(size));
      cuda::copy(streams.executions[r], VectorView<const float, Cuda>(x[r]), VectorView<float>(y));
      streams.executions[r].synchronize();
      CHECK(y == sum);
    }
  }
  CHECK_THROWS_AS(communicator.all_reduce(std::span(x).first(ranks - 1)), ArgumentError);
  if (ranks > 1) {
    x.back() = x.back().slice(0, 0, 63);
    CHECK_THROWS_AS(communicator.all_reduce(x), ShapeError);
  }
}

}  // namespace

TEST_CASE("tensor parallel: sums over ranks are those in their order, on every device") {
#ifndef __CUDACC__  // a device that reaches no other, and one that has as many peers as it can: by the host's memory
  cuda_on_cpu::devices[2].reaches_peers = false;
  cuda_on_cpu::devices[3].most_peers = 0;
  check_sums<cuda::PeerCommunicator>(4);
  cuda_on_cpu::devices[2].reaches_peers = true;
  cuda_on_cpu::devices[3].most_peers = 8;
#endif
  for (const std::size_t ranks : rank_counts({1, 2, 3, 4})) check_sums<cuda::PeerCommunicator>(ranks);
#ifdef TEST_NCCL  // in whatever order: of two it makes no difference
  for (const std::size_t ranks : rank_counts({1, 2})) check_sums<cuda::NcclCommunicator>(ranks);
#endif
  CHECK_THROWS_AS(cuda::PeerCommunicator({}), ArgumentError);
  RankStreams streams(1);
  CHECK_THROWS_WITH_AS(cuda::PeerCommunicator({streams.executions[0], streams.executions[0]}),
                       "Communicator: expected ranks on devices of their own, got 0 and 1 on CUDA device 0",
                       ArgumentError);
}

TEST_CASE(
    "tensor parallel: weight types in whole blocks, layers, sequences, rewind, copy, early exits as on the host") {
  for (const DType dtype : {DType::f16, DType::q8_0, DType::q4_k, DType::q6_k}) {
    const std::string type(name(dtype));
    CAPTURE(type);
    TinyLlamaOptions options;
    options.dtype = dtype;
    options.config.heads = 8;  // 256 columns of o to a kv head
    options.config.ffn = 768;  // three blocks of 256
    options.config.layers = 1;
    options.config.vocab = 70;
    const TinyLlama tiny(options);
    for (const std::size_t ranks : rank_counts({2})) {
      Ranked<> both(tiny, two_sequences, ranks);
      check_histories(both, 6);
    }
  }
}

TEST_CASE("tensor parallel: other families, uneven shares, tied heads, caches of halves") {
  TinyLlamaOptions all = uneven_options();
  all.config.layers = 3;
  for (const auto& [fact, change] : family_facts())
    if (fact != "rotation of a part of each head" && fact != "divisors of long contexts") change(all);
  TinyLlamaOptions tied = uneven_options();
  tied.embeddings = Embeddings::tied;
  const TinyLlama all_facts(all), tied_heads(tied);
  for (const std::size_t ranks : rank_counts({2, 4})) {
    CAPTURE(ranks);
    Ranked<> every(all_facts, two_sequences, ranks);
    check_histories(every, 21);
    LlamaOptions memory = two_sequences;
    memory.cache = DType::f16;
    Ranked<> halves(tied_heads, memory, ranks);
    // Keys and values at the border of two halves become the one or the other, as in llama.cu: seen 1.2e-4.
    check_histories(halves, 21, 3e-4);
    CHECK(halves.shares().lm_head().size() == ranks);
    // The head's rows are those of the embedding, which lies there once.
    const StoredMatrix<Cuda> embedding = halves.shares().embedding(0);
    CHECK(halves.shares().lm_head()[0].rows.data() == embedding.data());
  }
}

TEST_CASE("tensor parallel: fast arithmetic is near the exact one of the host") {
  TinyLlamaOptions options = uneven_options();
  options.dtype = DType::f16;
  LlamaOptions memory = two_sequences;
  memory.arithmetic = Arithmetic::fast;
  const TinyLlama tiny(options);
  const std::vector<TokenId> ids = some_ids(20, options.config.vocab);
  for (const std::size_t ranks : rank_counts({2})) {
    Ranked<> fast(tiny, memory, ranks);
    memory.arithmetic = Arithmetic::exact;
    Ranked<> exact(tiny, memory, ranks);
    const std::vector<SequencePiece<>> piece{{0, ids}};
    CHECK(relative_error(numbers(fast.on_devices.forward(piece)), numbers(exact.on_host.forward(piece))) <= 2e-2);
  }
}

TEST_CASE(
    "tensor parallel: sequences at once are what each is alone, bit for bit, and so are a second run and NCCL's") {
  TinyLlamaOptions options = uneven_options();
  options.dtype = DType::f16;
  const TinyLlama tiny(options);
  const LlamaOptions memory{.max_context = 64, .max_batch = 64, .sequences = 3};
  const std::vector<TokenId> ids = some_ids(64, options.config.vocab);
  const auto part = [&](std::size_t begin, std::size_t count) { return std::span(ids).subspan(begin, count); };
  for (const std::size_t ranks : rank_counts({2, 4})) {
    CAPTURE(ranks);
    const auto run = [&](OnHost<Llama<Cuda>>& model, bool together) {
      for (Index s = 0; s < 3; ++s) model.rewind(0, s);
      std::vector<float> rows;
      const auto forward = [&](const std::vector<SequencePiece<>>& pieces) {
        for (std::size_t p = 0; p < pieces.size(); p += together ? pieces.size() : 1) {
          const std::vector<float> made =
              numbers(model.forward(std::span(pieces).subspan(p, together ? pieces.size() : 1)));
          rows.insert(rows.end(), made.begin(), made.end());
        }
      };
      forward({{0, part(0, 20)}, {1, part(5, 1)}, {2, part(9, 7)}});
      forward({{0, part(30, 1)}, {1, part(30, 1)}, {2, part(31, 1)}});
      return rows;
    };
    Ranked<> both(tiny, memory, ranks);
    const std::vector<float> expected = run(both.on_devices, false);
    CHECK(run(both.on_devices, false) == expected);
    CHECK(run(both.on_devices, true) == expected);
#ifndef __CUDACC__  // the one on the CPU, which adds in the same order
    const int before = nccl_on_cpu::groups;
    {
      Ranked<cuda::NcclCommunicator> nccl(tiny, memory, ranks);
      CHECK(nccl_on_cpu::communicators == static_cast<int>(ranks));
      CHECK(run(nccl.on_devices, true) == expected);
    }
    CHECK(nccl_on_cpu::communicators == 0);
    CHECK(nccl_on_cpu::groups - before == 2 * 2 * options.config.layers);  // of two calls, two to a block
#endif
  }
}

TEST_CASE("tensor parallel: texts are the host's in modes that read layers, and the host chooses their tokens") {
  TinyLlamaOptions options = uneven_options();
  const TinyLlama tiny(options);
  for (const std::size_t ranks : rank_counts({2})) {
    Ranked<> both(tiny, {.max_context = 32, .max_batch = 16, .sequences = 2}, ranks);
    const std::vector<TokenId> prompt = some_ids(6, options.config.vocab);
#ifndef __CUDACC__
    const int before = cuda_on_cpu::devices[0].graph_launches;
#endif
    for (const Mode& mode : {Mode(Baseline{}), Mode(Dola{.candidate_layers = {0, 1}}),
                             Mode(Activation{.alpha = 2, .context = {.info_layer = 1}})}) {
      const GenerationOptions how{.mode = mode, .max_new_tokens = 5};
      CHECK(generate(both.on_devices, NoText(), prompt, how).ids == generate(both.on_host, NoText(), prompt, how).ids);
    }
#ifndef __CUDACC__
    CHECK(cuda_on_cpu::devices[0].graph_launches == before);  // nothing is recorded
#endif
  }
}

TEST_CASE("tensor parallel: a short text of two sequences, for the race detector") {
  TinyLlamaOptions options = uneven_options();
  options.dtype = DType::q8_0;
  options.config.hidden = 32;
  options.config.ffn = 96;
  options.config.heads = options.config.kv_heads = 4;
  options.config.head_dim = 16;  // a block of o's columns to two heads
  options.config.vocab = 40;
  const TinyLlama tiny(options);
  const std::vector<TokenId> ids = some_ids(8, options.config.vocab);
  for (const std::size_t ranks : rank_counts({2})) {
    Ranked<> both(tiny, {.max_context = 12, .max_batch = 8, .sequences = 2}, ranks);
    const auto run = [&](auto& model) {
      std::vector<float> rows = numbers(model.forward(std::vector<SequencePiece<>>{{0, std::span(ids).first(5)}}));
      std::vector<float> exits(static_cast<std::size_t>(2 * 2 * options.config.vocab));
      model.early_exit(std::vector<SequencePiece<>>{{0, std::span(ids).subspan(5, 1)}, {1, std::span(ids).first(2)}},
                       std::vector<Index>{1, 2}, {exits.data(), {2, 2, options.config.vocab}});
      rows.insert(rows.end(), exits.begin(), exits.end());
      return rows;
    };
    CHECK(relative_error(run(both.on_devices), run(both.on_host)) <= 1e-5);
  }
}

TEST_CASE("tensor parallel: entropies by the rows of the LM head that each rank has") {
  const TinyLlama tiny(uneven_options());
  const Index d = tiny.config().hidden, vocab = tiny.config().vocab, t = 12;
  const std::vector<float> hidden = normal_vector<float>(t * d, 1, 5);
  for (const std::size_t ranks : rank_counts({2, 4})) {
    Ranked<> both(tiny, two_sequences, ranks);
    const Buffer<float, Cuda> states = to_device(hidden);
    const auto entropies = [&](std::vector<cuda::LmHeadShard<StoredMatrix<Cuda>>> shards) {
      cuda::ShardedSoftmaxEntropy<float, StoredMatrix<Cuda>> entropy(both.first(), std::move(shards), t);
      Buffer<float, Cuda> result(vocab);
      entropy(states.matrix(t, d), result.view());
      both.first().synchronize();
      return to_host(result);
    };
    const LlamaWeights<> weights = tiny.weights();
    const cuda::DeviceWeights whole(both.first(), weights);
    CHECK(entropies(both.shares().lm_head()) == entropies({{both.first(), whole.view().lm_head}}));
  }
}

TEST_CASE("tensor parallel: what cannot be is named") {
  const TinyLlama tiny(small_family_options());  // two kv heads
  const LlamaWeights<> weights = tiny.weights();
  CHECK_THROWS_WITH_AS((void)shard_weights(tiny.config(), weights, 3),
                       "shard_weights: expected 1 to 2 ranks, got 3: the model's 2 kv heads are shared out over them",
                       ArgumentError);
  TinyLlamaOptions blocks;
  blocks.dtype = DType::q4_k;  // two kv heads of two queries of 64 to a block of 256 columns
  const TinyLlama in_blocks(blocks);
  CHECK_THROWS_WITH_AS(
      (void)shard_weights(in_blocks.config(), in_blocks.weights(), 2),
      "shard_weights: expected 1 to 1 ranks, got 2: the model's 2 kv heads, cut in multiples of 2, are "
      "shared out over them",
      ArgumentError);
  blocks.config.heads = 8;
  blocks.config.ffn = 256;
  const TinyLlama one_block(blocks);
  CHECK_THROWS_WITH_AS((void)shard_weights(one_block.config(), one_block.weights(), 2),
                       "shard_weights: expected 1 to 1 ranks, got 2: the model's 256 rows of gate and up, cut in "
                       "multiples of 256, are shared out over them",
                       ArgumentError);
  for (const std::size_t ranks : rank_counts({2})) {
    RankStreams streams(ranks);
    cuda::ShardedWeights shares(streams.executions, tiny.config(), weights);
    const auto sums = cuda::all_reduce_of(std::make_shared<cuda::PeerCommunicator>(streams.executions));
    const auto refused = [&](const LlamaRanks<Cuda>& all, const char* problem) {
      CHECK_THROWS_WITH_AS(Llama<Cuda>(tiny.config(), all, two_sequences), problem, ArgumentError);
    };
    refused(shares.ranks({}), "LlamaRanks: expected an all_reduce over the 2 ranks, got none");
    LlamaRanks<Cuda> all = shares.ranks(sums);
    all.ranks.pop_back();
    refused(all, "LlamaRanks: expected 6 heads in all ranks together, got 3");
    all.ranks.clear();
    refused(all, "LlamaRanks: expected a rank or more, got none");
  }
#ifndef __CUDACC__
  RankStreams streams(2);
  nccl_on_cpu::next_communicator = ncclUnhandledCudaError;
  try {
    const cuda::NcclCommunicator communicator(streams.executions);
    FAIL("accepted");
  } catch (const CudaError& error) {
    CHECK(error.code() == cudaErrorUnknown);
    CHECK(std::string(error.what()).ends_with("ncclCommInitAll: unhandled cuda error (on the CPU)"));
  }
  check_sums<cuda::NcclCommunicator>(3);
  CHECK(nccl_on_cpu::communicators == 0);
  auto& memory = cuda_on_cpu::devices[1];
  const std::size_t before = memory.total;
  memory.total = memory.bytes + 1000;
  CHECK_THROWS_AS(cuda::ShardedWeights(streams.executions, tiny.config(), weights), Error);
  memory.total = before;
#endif
}

TEST_CASE("tensor parallel: weights that are not finite are found, whichever rank has them, and no token is appended") {
  TinyLlamaOptions options = uneven_options();
  options.family.qkv_biases = true;
  const TinyLlama tiny(options);
  Execution<Host> execution(1);
  const std::vector<TokenId> ids = some_ids(6, options.config.vocab);
  for (const std::size_t ranks : rank_counts({2})) {
    LlamaWeights<> weights = tiny.weights();
    weights.layers[0].v_bias.back() = std::numeric_limits<float>::quiet_NaN();  // the last rank's
    RankStreams streams(ranks);
    cuda::ShardedWeights shares(streams.executions, tiny.config(), weights);
    OnHost<Llama<Cuda>> model(
        tiny.config(), weights,
        shares.ranks(cuda::all_reduce_of(std::make_shared<cuda::PeerCommunicator>(streams.executions))), two_sequences,
        execution);
    for (int round = 0; round < 2; ++round) {
      std::string text;
      try {
        model.forward(std::vector<SequencePiece<>>{{0, ids}});
      } catch (const Error& error) {
        text = error.what();
      }
      CHECK(text.starts_with("Llama: h_1 at position 5 is "));
      CHECK(model.position() == 0);
    }
  }
}
