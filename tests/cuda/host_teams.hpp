// Teams of host threads for the row body: see cuda/kernels/row_body.cuh for what a team is.
#pragma once

#include <barrier>
#include <cstddef>
#include <vector>

#include "summary.cuh"

namespace perce {

// What the threads of a team share.
struct Meeting {
  explicit Meeting(int size) : barrier(size), summaries(static_cast<std::size_t>(size)) {}

  std::barrier<> barrier;
  std::vector<Summary> summaries;
};

class OneOfThreads {
 public:
  OneOfThreads(Meeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(meeting_.summaries.size()); }
  void wait() { meeting_.barrier.arrive_and_wait(); }

  Summary merge(const Summary& summary) {
    meeting_.summaries[static_cast<std::size_t>(rank_)] = summary;
    wait();
    Summary all;
    for (const Summary& one : meeting_.summaries) all = merged(all, one);
    wait();  // nobody overwrites a summary that another still reads
    return all;
  }

 private:
  Meeting& meeting_;
  int rank_;
};

}  // namespace perce
