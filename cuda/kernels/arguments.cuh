// What a launch is told. One plain struct, passed by value to a kernel, by pointer to the host build;
// its twins are `Arguments` in cuda/src/arguments.rs and in tests/cuda/host_kernels.py.
#pragma once

#include <cstdint>

namespace perce {

// Label of a row that counts nothing, as in PyTorch.
constexpr std::int64_t kIgnoreIndex = -100;

// Where a row's weight comes from. Formulas: weights.cuh; sources: python/perce/objectives.py.
enum class Objective : std::int32_t { kGiven, kCe, kPerce, kLongCe, kEntCe, kDft, kNextQuill };

// Pointers that may be absent are null. Strides count elements, from row to row.
struct Arguments {
  const void* logits;            // [n_rows, vocab], the raw product hidden @ weight.T
  void* grad;                    // [n_rows, vocab] or null; may be the logits' own memory
  const std::int64_t* labels;    // [n_rows]
  const float* logp_without;     // [n_rows], for kPerce, kLongCe and kNextQuill
  const float* weights_given;    // [n_rows], for kGiven
  const float* bias;             // [vocab] or null
  float* logp;                   // [n_rows], written
  float* weights;                // [n_rows] or null, written
  float* entropy;                // [n_rows] or null, written
  std::int64_t n_rows;
  std::int64_t logits_stride;
  std::int64_t grad_stride;
  std::int32_t vocab;
  Objective objective;
  float params[2];               // the objective's options in the order of its signature
  float scale;
  float softcap;                 // 0: none
};
static_assert(sizeof(Arguments) == 120, "the twins of this struct have 120 bytes");

}  // namespace perce
