// The team of a thread block.
#pragma once

#include "summary.cuh"

namespace perce {

// Threads of a block: enough for 64 bytes each in flight, few enough that two blocks share a
// multiprocessor, one of which reads while the other merges.
constexpr int kMaxThreads = 512;
constexpr int kBlocksPerMultiprocessor = 2;
constexpr int kWarp = 32;

// A block of 32 * 2^k threads has one team for all its rows.
class BlockTeam {
 public:
  __device__ __forceinline__ int rank() const { return static_cast<int>(threadIdx.x); }
  __device__ __forceinline__ int size() const { return static_cast<int>(blockDim.x); }
  __device__ __forceinline__ void wait() { __syncthreads(); }

  __device__ __forceinline__ Summary merge(const Summary& summary) {
    // Two sets in turn: a set is written again only after the next merge's barrier, past which no
    // thread reads it any more.
    __shared__ Summary sets[2][kMaxThreads / kWarp];
    Summary* const set = sets[turn_];
    turn_ ^= 1;
    const int lane = rank() % kWarp;
    const Summary of_warp = merge_lanes(summary, kWarp);
    if (lane == 0) set[rank() / kWarp] = of_warp;
    __syncthreads();
    // Every warp merges the warps' summaries by the same steps, so no second barrier is needed.
    const int warps = size() / kWarp;
    return merge_lanes(set[lane % warps], warps);
  }

 private:
  // The summaries of the first `lanes` lanes, a power of two, merged pairwise; lane 0's result. Taken
  // by reference: of a struct passed by value, ThreadSanitizer does not see the reading.
  __device__ __forceinline__ static Summary merge_lanes(const Summary& own, int lanes) {
    constexpr unsigned kAll = 0xFFFFFFFFu;
    Summary summary = own;
    for (int step = lanes / 2; step > 0; step /= 2) {
      const Summary other = {__shfl_down_sync(kAll, summary.peak, step),
                             __shfl_down_sync(kAll, summary.total, step),
                             __shfl_down_sync(kAll, summary.tilt, step)};
      summary = merged(summary, other);
    }
    return {__shfl_sync(kAll, summary.peak, 0), __shfl_sync(kAll, summary.total, 0),
            __shfl_sync(kAll, summary.tilt, 0)};
  }

  int turn_ = 0;
};

}  // namespace perce
