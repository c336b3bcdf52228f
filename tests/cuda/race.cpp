// Gradients written over the logits they come from, by several threads, for ThreadSanitizer to watch.
// With the argument "broken" the threads do not wait for each other before they write.
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "host_teams.hpp"
#include "row_body.cuh"

namespace {

class Hasty : public perce::OneOfThreads {
 public:
  using perce::OneOfThreads::OneOfThreads;
  void wait() {}
};

constexpr int kThreads = 4;
constexpr int kRows = 3;

template <class Team, class Value, class Grad, class Head>
void run(int vocab, int offset) {
  const int stride = (vocab + offset + 8) / 4 * 4;
  std::vector<float> memory(static_cast<std::size_t>(kRows * stride) + 4);
  std::vector<float> bias(static_cast<std::size_t>(vocab)), results(3 * kRows), without(kRows, -5.0f);
  const std::vector<std::int64_t> labels = {vocab - 1, perce::kIgnoreIndex, 0};
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<float>(i * 37 % 101) / 25.0f;
  perce::Arguments arguments = {};
  arguments.logits = arguments.grad = reinterpret_cast<Value*>(memory.data()) + offset;
  arguments.labels = labels.data();
  arguments.logp_without = without.data();
  arguments.bias = bias.data();
  arguments.logp = results.data();
  arguments.weights = results.data() + kRows;
  arguments.entropy = results.data() + 2 * kRows;
  arguments.n_rows = kRows;
  arguments.logits_stride = stride;
  arguments.grad_stride = stride * static_cast<int>(sizeof(Value) / sizeof(Grad));
  arguments.vocab = vocab;
  arguments.objective = perce::Objective::kPerce;
  arguments.params[1] = 5.0f;
  arguments.scale = 1.0f;
  arguments.softcap = 30.0f;

  perce::Meeting meeting(kThreads);
  std::vector<std::jthread> members;
  for (int rank = 0; rank < kThreads; ++rank) {
    members.emplace_back([&meeting, &arguments, rank] {
      Team team(meeting, rank);
      const Head head(arguments);
      for (int row = 0; row < kRows; ++row) perce::weighted_row<Value, Grad>(team, head, arguments, row);
    });
  }
}

template <class Team>
void run_all() {
  // A part of a tile, whole tiles, and so many that waits lie far apart; aligned rows and others.
  for (const int vocab : {1, 50, 64, 1000, 5000}) {
    for (const int offset : {0, 1}) {
      run<Team, float, perce::BFloat16, perce::PlainHead>(vocab, offset);
      run<Team, float, perce::Float16, perce::FullHead>(vocab, offset);
      run<Team, float, float, perce::PlainHead>(vocab, offset);
      run<Team, perce::BFloat16, perce::BFloat16, perce::PlainHead>(vocab, offset);
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 1 && std::strcmp(arguments[1], "broken") == 0) {
    run_all<Hasty>();
  } else {
    run_all<perce::OneOfThreads>();
  }
  std::puts("done");
}
