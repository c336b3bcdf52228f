// What cuda/kernels/block_team.cuh uses of CUDA, for one block whose threads are host threads: so that the
// block's own team runs here, too, barriers and all.
#pragma once

#include <pthread.h>

#include <array>
#include <memory>
#include <thread>
#include <vector>

#define __device__
#define __forceinline__ inline
#define __shared__ static

struct Dimension {
  unsigned x;
};

// NOLINTBEGIN: CUDA's names.
inline Dimension blockDim;
inline thread_local Dimension threadIdx;
// NOLINTEND

namespace simulated {

constexpr unsigned kLanes = 32;

// Not std::barrier: its implementation lets threads meet that wait at different barriers, which the
// sanitizer would take for order among them.
class Barrier {
 public:
  explicit Barrier(unsigned count) { pthread_barrier_init(&barrier_, nullptr, count); }
  Barrier(const Barrier&) = delete;
  Barrier& operator=(const Barrier&) = delete;
  ~Barrier() { pthread_barrier_destroy(&barrier_); }

  void wait() { pthread_barrier_wait(&barrier_); }

 private:
  pthread_barrier_t barrier_;
};

// The lanes of a warp, which exchange values in step.
struct Warp {
  Barrier barrier{kLanes};
  std::array<float, kLanes> values{};
};

inline std::vector<std::unique_ptr<Warp>> warps;
inline std::unique_ptr<Barrier> block;

// Every lane gives a value and gets that of another, or its own where there is no such lane.
inline float exchange(float value, unsigned from) {
  Warp& warp = *warps[threadIdx.x / kLanes];
  const unsigned lane = threadIdx.x % kLanes;
  warp.values[lane] = value;
  warp.barrier.wait();
  const float got = warp.values[from < kLanes ? from : lane];
  warp.barrier.wait();
  return got;
}

// Runs `body` as every thread of a block.
template <class Body>
void run_block(unsigned threads, const Body& body) {
  blockDim.x = threads;
  warps.clear();
  for (unsigned i = 0; i < threads / kLanes; ++i) warps.push_back(std::make_unique<Warp>());
  block = std::make_unique<Barrier>(threads);
  std::vector<std::jthread> members;
  for (unsigned rank = 0; rank < threads; ++rank) {
    members.emplace_back([rank, &body] {
      threadIdx.x = rank;
      body();
    });
  }
}

}  // namespace simulated

inline void __syncthreads() { simulated::block->wait(); }

inline float __shfl_down_sync(unsigned, float value, int step) {
  return simulated::exchange(value, threadIdx.x % simulated::kLanes + static_cast<unsigned>(step));
}

inline float __shfl_sync(unsigned, float value, int lane) {
  return simulated::exchange(value, static_cast<unsigned>(lane));
}
