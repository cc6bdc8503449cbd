#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the tests on the CPU notice what goes wrong in kernels: barriers, waits and fences removed, indices off by one.

    mutations.py SOURCE FOLDER [NUMBER...]

Makes a copy of the repository in FOLDER whose kernels hold all mutations, one of which the environment's MUTATION
chooses, builds the tests under ThreadSanitizer that should notice, and runs them once as they are and once for each.
Minutes; not part of CI.
"""

import os
import pathlib
import resource
import shutil
import subprocess
import sys

PAIR = ("kernels", "wgmma*")
TURNS = ("kernels", "resident*")
MMA = ("kernels", "mma")
SIMPLE = ("kernels", "simt")
FEW = ("kernels", "candidates*")
ROW = ("kernels", "statistics*")
PRODUCTS = ("kernels", "products*")
STEP = ("entropy_sharpness", "the penalty*,a bad row*,a list that names*")
DOLA = ("contrast", "DoLa from hidden states*")
ROWS_OF_STATES = ("forward_ops", "rows *")
HEADS = ("forward_ops", "attention in place*")
WINDOWS = ("forward_ops", "attention's scale*")
CHOICE = ("choose_token", "*")
RECORDED = ("llama", "steps that are recorded*")
SCORED = ("llama", "answers that*")
LOOKED_UP = ("entropy_sharpness", "a token that did not survive*")
SUMS = ("llama", "tensor parallel: sums*")
RANKS = ("llama", "tensor parallel: a short text*")

(WGMMA, SIMT, MATRIX, CANDIDATES, ROWS, FEW_ROWS, DIRECT, TILES, OCTETS, ATTENTION, NORM, ELEMENTS, ROPE, STEPS, CHOOSE,
 SHARPNESS, DOLA_FILE, STORED, TERMS, RESIDENT) = (
    f"include/activation_trace/cuda/{name}.cuh"
    for name in ("ops/softmax_wgmma", "ops/softmax_simt", "ops/softmax_mma", "ops/softmax_candidates",
                 "ops/row_statistics", "ops/multiply_rows", "ops/multiply_direct", "ops/multiply_tiles",
                 "ops/stored_octets", "ops/attention_kernel", "ops/rms_norm", "ops/elements", "ops/rope", "llama_steps", "ops/choose_token",
                 "processors/sharpness_kernels", "processors/dola", "ops/softmax_stored",
                 "ops/state_terms", "ops/softmax_resident"))

HEAD_TILES = "include/activation_trace/cuda/ops/attention_tiles.cuh"
PENALTIES = "include/activation_trace/cuda/processors/score_penalties.cuh"
FEW_BLOCKS = "include/activation_trace/cuda/ops/multiply_blocks.cuh"
ARRANGE = "include/activation_trace/cuda/ops/arrange_rows.cuh"
HALVES = "include/activation_trace/cuda/ops/multiply_halves.cuh"
STEP_ROWS = "include/activation_trace/cuda/ops/step_rows.cuh"
TYPICAL = "include/activation_trace/cuda/ops/choose_typical.cuh"
ANSWERS = "include/activation_trace/cuda/answer_scores.cuh"
STEP_RECORD = "include/activation_trace/cuda/processors/step_record.cuh"
COMMUNICATOR = "include/activation_trace/cuda/communicator.cuh"
CROSSING = "include/activation_trace/cuda/crossing.cuh"
SHARD = "include/activation_trace/model/shard_weights.hpp"
HEAD = "include/activation_trace/model/llama_head.hpp"
BLOCKS = "include/activation_trace/model/llama_blocks.hpp"

# What, the file, its code with the part that is mutated in angles, what that becomes, and where it should be noticed.
MUTATIONS = [
    ("wait for an empty stage removed", WGMMA, "«wait(block.empty[cursor.stage], cursor.parity);»", "", PAIR),
    ("wait for a full stage removed", WGMMA, "«wait(block.full[cursor.stage], cursor.parity);»", "", PAIR),
    ("fence before wgmma removed", WGMMA, "«wgmma_fence();»", "", PAIR),
    ("wait for the previous products removed", WGMMA, "«wgmma_wait<1>();»", "", PAIR),
    ("wait for all products removed", WGMMA, "«wgmma_wait<0>();»", "", PAIR),
    ("stage released while it is read", WGMMA, "if (k > 0) release(«cursor.previous()»);", "cursor.stage", PAIR),
    ("last release of a unit removed", WGMMA, "«release(cursor.previous());»\n    if constexpr (sums > 1)", "", PAIR),
    ("producer's first parity flipped", WGMMA, "cursor(Tuning::stages, «1»);  // the first round", "0", PAIR),
    ("consumer's first parity flipped", WGMMA, "cursor(Tuning::stages, «0»);\n  for", "1", PAIR),
    ("parity never changes", WGMMA, "«parity ^= 1;»", "", PAIR),
    ("descriptor of H advances half as far", WGMMA, "tile_t * 128) + static_cast<unsigned>(«2 * step_k»)", "step_k",
     PAIR),
    ("descriptor of W eight rows too far", WGMMA, "w_tile + «consumer * Tuning::row_blocks * 64 * 128»",
     "consumer * Tuning::row_blocks * 64 * 128 + 1024", PAIR),
    ("empty stages count the arrivals of one block", WGMMA, "init(empty[s], «8 * cluster»);", "8", PAIR),
    ("barriers used before all can see them", WGMMA,
     "«__syncthreads();\n  if constexpr (cluster > 1) {\n    cluster_arrive();\n    cluster_wait();\n  }»", "", PAIR),
    ("a block leaves its cluster early", WGMMA, "__syncwarp();\n    «cluster_arrive();\n    cluster_wait();»", "", PAIR),
    ("bytes of a stage are short by a row", WGMMA,
     "arrive_expect_bytes(block.full[cursor.stage], «Tuning::stage_bytes»);", "Tuning::stage_bytes - 128", PAIR),
    ("multicast to the first block only", WGMMA, "block.full[cursor.stage], «(1 << cluster) - 1»);", "1", PAIR),
    ("last tile of positions one too early", WGMMA, "«work.positions - tile_t»", "work.positions - tile_t - 1", PAIR),
    ("what two tiles share counts twice", WGMMA, "if («begin > 0 || end < Tuning::tile_t»)", "end < Tuning::tile_t",
     PAIR),
    ("second terms lie where the first ones do", WGMMA, "tile = h_tile + «term * Tuning::tile_t * 128»;", "0", PAIR),
    ("second terms are the first ones", WGMMA, "row = «term * work.positions + t_row»;", "t_row", PAIR),
    ("corrections are left out", WGMMA, "acc[0][m][i] += «acc[1][m][i]»;", "0.0f", PAIR),
    ("wait for an empty stage removed", RESIDENT, "«wait(block.empty[cursor.stage], cursor.parity);»", "", TURNS),
    ("wait for a full stage removed", RESIDENT, "«wait(block.full[cursor.stage], cursor.parity);»", "", TURNS),
    ("a consumer does not wait for its turn", RESIDENT, "«wait(block.turn[consumer], turn);»", "", TURNS),
    ("both consumers have the first turn", RESIDENT, "turn = «static_cast<std::uint32_t>(1 - consumer)»;", "1u", TURNS),
    ("a turn's parity never changes", RESIDENT, "«turn ^= 1;»", "", TURNS),
    ("a turn is not handed on", RESIDENT, "«if (lane == 0) arrive(block.turn[1 - consumer]);»", "", TURNS),
    ("a turn is handed on by one warp less", RESIDENT, "init(one, «4»);", "3", TURNS),
    ("the other consumer's stages are not skipped", RESIDENT,
     "«for (int k = 0; k < work.k_tiles; ++k) cursor.advance();»", "", TURNS),
    ("positions are replaced while they are read", RESIDENT, "/ panel_bytes, «k_tiles», most_stages", "most_stages", TURNS),
    ("positions are those of the block before", RESIDENT, "* work.cluster + «block.rank»,", "0", TURNS),
    ("positions are not waited for", RESIDENT, "(panel == first ? «Tuning::hidden_bytes» : 0)", "0", TURNS),
    ("positions stay", RESIDENT, "if («panel == first»)\n          load_box", "panel == 0 && t_tile < 2", TURNS),
    ("stage released while it is read", RESIDENT, "if (k > 0) release(«cursor.previous()»);", "cursor.stage", TURNS),
    ("wait for all products removed", RESIDENT, "«wgmma_wait<0>();»", "", TURNS),
    ("last release of a panel removed", RESIDENT, "«release(cursor.previous());»\n      fold", "", TURNS),
    ("a range leaves its last panel out", RESIDENT, "«(range + 1) * work.v_groups / work.ranges»",
     "(range + 1) * work.v_groups / work.ranges - 1", TURNS),
    ("a block leaves its cluster early", RESIDENT, "__syncwarp();\n  «cluster_arrive();\n  cluster_wait();»", "", TURNS),
    ("warps' exponents are read before they are there", TERMS, "«__syncthreads();»\n  for (int w = 0;", "", PAIR),
    ("second terms are the first ones", MATRIX, "hidden, «k_tile % terms * positions + t0»", "t0", MMA),
    ("barrier before the products removed", MATRIX, "«__syncthreads();»  // tile k is there", "", MMA),
    ("wait for copies one group late", MATRIX, "«ptx::wait_copies<Tuning::stages - 2>();»",
     "ptx::wait_copies<Tuning::stages - 1>();", MMA),
    ("barrier before the join of warps removed", MATRIX, "«__syncthreads();»\n  const Index item", "", MMA),
    ("barrier after the products removed", SIMT, "«__syncthreads();»\n    }\n#pragma unroll", "", SIMPLE),
    ("barrier between rounds of candidates removed", CANDIDATES, "«__syncwarp();»", "", FEW),
    ("barrier after the sum of warps removed", CANDIDATES, "[i % tile_t] = sum;\n  }\n  «__syncthreads();»", "", FEW),
    ("join of candidates does not wait for them", CANDIDATES,
     "«ptx::wait_for_previous();»\n  ptx::launch_dependents();\n  batch.select", "", FEW),
    ("join of candidates leaves one out", CANDIDATES, "s < «min((lane + 1) * run, splits)»",
     "min((lane + 1) * run, splits - 1)", FEW),
    ("warps leave octets out", STORED, "first += «4 * warps»)", "8 * warps", FEW),
    ("rows past the first panel are those of the first", STORED, "w.slice(«first», first + rows)", "0", FEW),
    ("fence before the ticket removed", ROWS, "«__threadfence();»\n    last =", "", ROW),
    ("fence after the ticket removed", ROWS, "«__threadfence();»  // by the thread", "", ROW),
    ("barrier of the last block removed", ROWS, "«__syncthreads();»\n  return last;", "", ROW),
    ("barrier before the join of warps removed", ROWS, "«__syncthreads();»\n  partials += row * gridDim.x;", "", ROW),
    ("what lies beyond a row counts", ROWS, "x[i] = «first + i < n» && counts", "true", ROW),
    ("counters keep what they had", ROWS,
     "«if (static_cast<int>(threadIdx.x) < zeroed) counters[row * zeroed + threadIdx.x] = 0;»", "", ROW),
    ("barrier before the products removed", TILES, "«__syncthreads();»  // tile k is there", "", PRODUCTS),
    ("copies of x are not waited for", TILES, "«ptx::wait_copies<0>();»", "", PRODUCTS),
    ("the next tile goes where this one is read", TILES, "fill(«k + 1»);", "k", PRODUCTS),
    ("barrier before the products removed", HALVES, "«__syncthreads();»  // tile k is there", "", PRODUCTS),
    ("copies of w are not waited for", HALVES, "«ptx::wait_copies<0>();»", "", PRODUCTS),
    ("the next tile goes where this one is read", HALVES, "fill(«k + 1»);", "k", PRODUCTS),
    ("a chunk is scaled as its neighbour", HALVES, "backs + «chunk / 4 * Tuning::tile_t»", "0", PRODUCTS),
    ("tiles do not wait for the terms of x", HALVES, "using Factor = HalfFactor<T>;\n  «ptx::wait_for_previous();»", "", PRODUCTS),
    ("a panel is split where the one before is read", FEW_BLOCKS, "«if (!split) __syncthreads();»  // the panel is done", "", PRODUCTS),
    ("a panel is read before it is there", FEW_BLOCKS, "«__syncthreads();»  // the panel is there", "", PRODUCTS),
    ("warps are summed before they are there", FEW_BLOCKS, "«__syncthreads();»  // all warps", "", PRODUCTS),
    ("sums are written over those that are read", FEW_BLOCKS, "«__syncthreads();»  // sums are done with", "", PRODUCTS),
    ("every other tile of a warp is left out", FEW_BLOCKS, "if («after < count»)\n        multiply_tile", "false", PRODUCTS),
    ("small terms of x are left out", FEW_BLOCKS, "(part[2 * i] + «part[2 * i + 1]») * back", "0.0f", PRODUCTS),
    ("a chunk is scaled as the one before", FEW_BLOCKS, "const float back = panel.backs[«chunk + c»]", "chunk + max(c - 1, 0)",
     PRODUCTS),
    ("a group is shifted by half of its sum", FEW_BLOCKS, "distance < «group_elements<T> / 8»", "group_elements<T> / 16", PRODUCTS),
    ("planes have their elements in another order", ARRANGE, "part << (i / 2 * bits + «i % 2 * 16»)", "(i + 1) % 2 * 16", PRODUCTS),
    ("the second product of a launch begins a row too far", FEW_ROWS, "group -= «groups»;", "groups - 1", PRODUCTS),
    ("a column is scaled as its neighbour", DIRECT, "__shfl_sync(0xffffffffu, back, «column + 4»)", "column", PRODUCTS),
    ("the end of a row is left out", DIRECT, "__ballot_sync(0xffffffffu, «left > 0») != 0", "left > 64", PRODUCTS),
    ("lanes are joined but for the last step", FEW_ROWS, "int distance = «16»;", "8", PRODUCTS),
    ("what lies beyond a row counts", OCTETS, "y[i] = «i < left» ? widen", "true", PRODUCTS),
    ("keys are loaded over those that are read", ATTENTION, "«__syncthreads();»  // the chunk before is done with", "", HEADS),
    ("keys are read before they are there", ATTENTION, "«__syncthreads();»\n      fold_chunk", "", HEADS),
    ("weights are read before all lanes have theirs", ATTENTION, "«__syncwarp();»\n  add_values", "", HEADS),
    ("the last share is left out", ATTENTION, "const int last = «(seen.end - 1) / attention_split»;",
     "(seen.end - 1) / attention_split - 1", HEADS),
    ("shares are joined before they are there", ATTENTION,
     "join_attention_kernel(const __grid_constant__ AttentionWork<T> work) {\n  «ptx::wait_for_previous();»", "", HEADS),
    ("a window is a position too wide", ATTENTION, "? 0 : «end - window», end};", "end - window - 1", WINDOWS),
    ("keys are loaded over values that are read", HEAD_TILES, "«__syncthreads();»  // the values before", "", HEADS),
    ("keys of tiles are read before they are there", HEAD_TILES, "«__syncthreads();»  // keys are there", "", HEADS),
    ("values are loaded over keys that are read", HEAD_TILES, "«__syncthreads();»  // keys are done with", "", HEADS),
    ("values are read before they are there", HEAD_TILES, "«__syncthreads();»  // values are there", "", HEADS),
    ("positions of the values are those of the scores", HEAD_TILES,
     "TileOperand w({weights[i][0], weights[i][2], «weights[i][1]», weights[i][3]});", "weights[i][0]", HEADS),
    ("the split before is left out", HEAD_TILES, "«split == first_split» ? 0.0f", "true", HEADS),
    ("a warp leaves out the chunk that it begins to see", HEAD_TILES, "«warp_end > chunk»;", "warp_end > chunk + 1", HEADS),
    ("rows are rounded to one term", HEAD_TILES, "tail = «__float_as_uint(x - __uint_as_float(head))»;", "0u", HEADS),
    ("rows are copied over those that are read", ELEMENTS, "«__syncthreads();»  // all have read", "", ROWS_OF_STATES),
    ("warps are summed before they are there", NORM, "parts[threadIdx.x / 32] = squares;\n    «__syncthreads();»", "",
     ROWS_OF_STATES),
    ("a step sees a position too few", ATTENTION, "step == nullptr ? positions : «step->position + 1»;", "step->position",
     RECORDED),
    ("a step is rotated as the next one", ROPE, "at == nullptr ? row : «at->position»;", "at->position + 1", RECORDED),
    ("a step's keys go a position too far", STEPS, "const Index position = «step->position»;", "step->position + 1", RECORDED),
    ("the histogram of a block is added before it is there", CHOOSE, "«__syncthreads();»\n  for (int i = static_cast<int>(threadIdx.x); i < 256; i += threads) {\n    if (counts", "", CHOICE),
    ("a block says that it is done before its part is added", CHOOSE, "«__syncthreads();»  // all of the block", "", CHOICE),
    ("equals at a cut all stay", CHOOSE, "state->ties = «count != 0 || each == 0» ? ~0u", "true", CHOICE),
    ("equals of the runs before do not count", CHOOSE, "before += «run.equals»;", "0", CHOICE),
    ("the place in a block is read before it is known", CHOOSE, "place = block;\n  }\n  «__syncthreads();»", "", CHOICE),
    ("the token before counts", PENALTIES, "if («last->token == static_cast<TokenId>(id)») seen",
     "last->token + 1 == static_cast<TokenId>(id)", CHOICE),
    ("a token of the prompt counts as one of the text", PENALTIES, "if («times >= 2») score", "times >= 1", CHOICE),
    ("a step has a row too few", STEP_ROWS, "static_cast<int>(threadIdx.x) < «count») target", "count - 1", CHOICE),
    ("the typical score is made before all warps have added", TYPICAL, "«__syncthreads();»  // all warps' parts", "", CHOICE),
    ("distances of a block are added before they are there", TYPICAL,
     "ChoiceRow::weight(score, largest_score));\n  }\n  «__syncthreads();»", "", CHOICE),
    ("a block says that it is done before its weights are added", TYPICAL, "«__syncthreads();»  // all of this block's", "",
     CHOICE),
    ("the typical end a digit too near", TYPICAL, "digits << 8 | «digit»;", "(digit == 0 ? 0 : digit - 1)", CHOICE),
    ("the largest that is left is the row's", TYPICAL, "atomicMax(&state->largest_left, «best»);",
     "ordered_bits(largest_score)", CHOICE),
    ("answers are scored by the row of another position", ANSWERS, "«position * rows.distance» * rows.vocab", "position", SCORED),
    ("scores of answers are read before they are there", ANSWERS, "«ptx::wait_for_previous();»", "", SCORED),
    ("the last token that is asked for has no score", ANSWERS, "if (i >= «count») return;", "count - 1", SCORED),
    ("a record leaves out the last survivor", STEP_RECORD, "i < «count»;", "count - 1", CHOICE),
    ("a record does not wait for the choice", STEP_RECORD, "«ptx::wait_for_previous();»", "", CHOICE),
    ("equals of the blocks before do not count in a record", CHOOSE, "before += «state->equals[b]»;", "0", CHOICE),
    ("all equals of a record's block stay", CHOOSE, "++j)\n      before += «ordered_bits(row.score(row.logits[j], state->largest)) == state->cut ? 1u : 0u»;", "0u", CHOICE),
    ("a token that did not survive is not looked up", SHARPNESS, ".empty() ? «1» : 0;", "0", LOOKED_UP),
    ("a token is looked up before its list is there", SHARPNESS,
     "list_token_kernel(const TokenId* id, Index sequences, Index vocab, SharpnessMemory memory) {\n  «ptx::wait_for_previous();»", "", LOOKED_UP),
    ("a token named twice is made twice", SHARPNESS, "«atomicExch(&empty.weighted, 1.0f) == 0.0f»", "true", STEP),
    ("places of a list overlap", SHARPNESS, "atomicAdd(count, «__popc(lanes)»);", "1", STEP),
    ("barrier before the choice removed", SHARPNESS, "parts[threadIdx.x / 32] = pair;\n  «__syncthreads();»", "", STEP),
    ("barrier before the join of warps removed", DOLA_FILE, "«__syncthreads();»\n  partials += j * gridDim.x;", "", DOLA),
    ("a rank reads what another has not made yet", COMMUNICATOR, "«hold_others(there_, r);»", "", SUMS),
    ("a rank writes over what another reads", COMMUNICATOR, "«hold_others(read_, r);»  // all have read", "", SUMS),
    ("the last rank is left out of a sum", COMMUNICATOR, "r < «ranks»; ++r) sum +=", "ranks - 1", SUMS),
    ("a rank's columns begin a block early", SHARD, "row_bytes_of(m.dtype(), «begin_»)",
     "begin_ - (begin_ == 0 ? 0 : block_elements(m.dtype()))", RANKS),
    ("a rank's rows are the first one's", SHARD, "return «m.slice(begin_, end_)»;", "m.slice(0, end_ - begin_)", RANKS),
    ("what a feed-forward network adds is not summed", BLOCKS,
     "at.feed_forward(i);\n    });\n    «sum_ranks();»", "", RANKS),
    ("a rank's logits lie a token too early", HEAD, "y(logits.data() + «token»,", "token - (r == 0 ? 0 : 1)", RANKS),
    ("states are multiplied before they are there", CROSSING, "«there.hold(to);»", "", RANKS),
]


def mutate(copy):
    header = copy / "include/activation_trace/config.hpp"
    header.write_text(header.read_text() + """
#include <cstdlib>
inline const int chosen_mutation = std::getenv("MUTATION") ? std::atoi(std::getenv("MUTATION")) : 0;
""")
    for number, (what, file, code, becomes, _) in enumerate(MUTATIONS, 1):
        before, part, after = code.replace("»", "«").split("«")
        chosen = f"chosen_mutation == {number}"
        if part[-1] in ";}":
            mutated = f"if ({chosen}) {{ {becomes} }} else {{ {part} }}"
        else:
            mutated = f"({chosen} ? ({becomes}) : ({part}))"
        path = copy / file
        text = path.read_text()
        if text.count(before + part + after) != 1:
            sys.exit(f"{file}: the code of \"{what}\" is there {text.count(before + part + after)} times")
        path.write_text(text.replace(before + part + after, before + mutated + after))


def run(build, where, number):
    """Whether the tests of `where` pass."""
    program, cases = where
    limit = 300  # seconds of processor time: a mutation may run for ever
    ended = subprocess.run([build / f"tests/cuda/test_cuda_{program}_races", f"-tc={cases}", "-aa=1"],
                           env={**os.environ, "MUTATION": str(number)}, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL,
                           preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, limit)))
    return ended.returncode == 0


def main(source, folder, *numbers):
    source, copy = pathlib.Path(source).resolve(), pathlib.Path(folder).resolve()
    files = subprocess.run(["git", "ls-files"], cwd=source, capture_output=True, text=True, check=True).stdout.split("\n")
    for file in filter(None, files):
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / file, copy / file)
    mutate(copy)
    chosen = [int(number) for number in numbers] or range(1, len(MUTATIONS) + 1)
    places = sorted({MUTATIONS[number - 1][-1] for number in chosen})
    subprocess.run(["cmake", "--preset", "cuda"], cwd=copy, stdout=subprocess.DEVNULL, check=True)
    build = copy / "build/cuda"
    for program in sorted({program for program, _ in places}):
        subprocess.run(["cmake", "--build", build, "--target", f"test_cuda_{program}_races"],
                       stdout=subprocess.DEVNULL, check=True)
    for where in places:
        if not run(build, where, 0):
            sys.exit(f"{where[0]} fails as it is")
    noticed = 0
    for number in chosen:
        what, file, *_, where = MUTATIONS[number - 1]
        caught = not run(build, where, number)
        noticed += caught
        print(f"{number:3} {'noticed' if caught else 'NOT    '} {pathlib.Path(file).stem}: {what}", flush=True)
    print(f"{noticed} of {len(chosen)} noticed")
    return 0 if noticed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
