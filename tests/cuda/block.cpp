// The block's own team, run by host threads under ThreadSanitizer: rows one after another, in place, in
// blocks of every size. Ends with 1 where a block's results are not those of one thread.
#include <cmath>
#include <cstdio>
#include <utility>
#include <vector>

#include "simulated_block.hpp"

#include "block_team.cuh"
#include "host_teams.hpp"
#include "row_body.cuh"

namespace {

constexpr int kRows = 4;

struct Rows {
  std::vector<float> memory;
  std::vector<float> results = std::vector<float>(3 * kRows);
  std::vector<std::int64_t> labels;
  perce::Arguments arguments = {};

  explicit Rows(int vocab) : memory(static_cast<std::size_t>(kRows * (vocab + 3) / 4 * 4)) {
    for (std::size_t i = 0; i < memory.size(); ++i) {
      memory[i] = static_cast<float>(i * 7919 % 1009) / 100.0f - 5.0f;
    }
    labels = {0, vocab - 1, perce::kIgnoreIndex, vocab / 2};
    arguments.logits = arguments.grad = memory.data();
    arguments.labels = labels.data();
    arguments.logp = results.data();
    arguments.weights = results.data() + kRows;
    arguments.entropy = results.data() + 2 * kRows;
    arguments.n_rows = kRows;
    arguments.logits_stride = vocab;
    arguments.grad_stride = 2 * vocab;
    arguments.vocab = vocab;
    arguments.objective = perce::Objective::kEntCe;
    arguments.scale = 1.0f;
  }

  template <class Team>
  void run(Team& team) const {
    const perce::PlainHead head(arguments);
    // Merges with nothing between them that waits, then some with.
    for (int row = 0; row < kRows; ++row) perce::logp_row<float>(team, head, arguments, row);
    for (int row = 0; row < kRows; ++row) {
      perce::weighted_row<float, perce::BFloat16>(team, head, arguments, row);
    }
  }

  float gradient(int row, int column) const {
    const auto* const grad = static_cast<const perce::BFloat16*>(arguments.grad);
    return perce::widen(grad[row * arguments.grad_stride + column]);
  }
};

bool close(float a, float b, float tolerance) { return std::fabs(a - b) <= tolerance; }

bool agrees(unsigned threads, int vocab) {
  const Rows by_block(vocab);
  simulated::run_block(threads, [&by_block] {
    perce::BlockTeam team;
    by_block.run(team);
  });
  const Rows by_one(vocab);
  perce::Meeting meeting(1);
  perce::OneOfThreads one(meeting, 0);
  by_one.run(one);
  bool same = true;
  for (std::size_t i = 0; i < by_one.results.size(); ++i) {
    same = same && close(by_block.results[i], by_one.results[i], 2e-5f);
  }
  for (int row = 0; row < kRows; ++row) {
    for (int column = 0; column < vocab; ++column) {
      const float expected = by_one.gradient(row, column);
      same = same && close(by_block.gradient(row, column), expected, std::fabs(expected) / 128 + 1e-6f);
    }
  }
  if (!same) std::printf("a block of %u threads differs at V %d\n", threads, vocab);
  return same;
}

}  // namespace

int main() {
  bool all = true;
  // One warp and several; fewer columns than threads, rows that are not aligned, whole tiles and a rest.
  constexpr std::pair<unsigned, int> kShapes[] = {{32, 501}, {64, 5}, {64, 5000}, {128, 1001}};
  for (const auto& [threads, vocab] : kShapes) all = agrees(threads, vocab) && all;
  std::puts(all ? "done" : "failed");
  return all ? 0 : 1;
}
