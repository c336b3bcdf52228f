// The kernels: persistent blocks, each taking every gridDim.x-th row. Their names are looked up by
// cuda/src/kernels.rs: <sweep>_<logits>[_<gradient>]_<head>.
#include "block_team.cuh"
#include "row_body.cuh"

#define PERCE_KERNEL(NAME, HEAD, BODY)                                                        \
  extern "C" __global__ void __launch_bounds__(perce::kMaxThreads,                            \
                                               perce::kBlocksPerMultiprocessor)               \
      perce_##NAME(const __grid_constant__ perce::Arguments arguments) {                      \
    perce::BlockTeam team;                                                                    \
    const HEAD head(arguments);                                                               \
    for (std::int64_t row = blockIdx.x; row < arguments.n_rows; row += gridDim.x) {           \
      BODY(team, head, arguments, row);                                                       \
    }                                                                                         \
  }

#define PERCE_COMMA ,
#define PERCE_WEIGHTED(LOGITS, LOGITS_TYPE, GRAD, GRAD_TYPE)                                   \
  PERCE_KERNEL(weighted_##LOGITS##_##GRAD##_plain, perce::PlainHead,                           \
               perce::weighted_row<LOGITS_TYPE PERCE_COMMA GRAD_TYPE>)                         \
  PERCE_KERNEL(weighted_##LOGITS##_##GRAD##_full, perce::FullHead,                             \
               perce::weighted_row<LOGITS_TYPE PERCE_COMMA GRAD_TYPE>)

#define PERCE_LOGP(LOGITS, LOGITS_TYPE)                                                        \
  PERCE_KERNEL(logp_##LOGITS##_plain, perce::PlainHead, perce::logp_row<LOGITS_TYPE>)          \
  PERCE_KERNEL(logp_##LOGITS##_full, perce::FullHead, perce::logp_row<LOGITS_TYPE>)

PERCE_WEIGHTED(float32, float, float32, float)
PERCE_WEIGHTED(float32, float, bfloat16, perce::BFloat16)
PERCE_WEIGHTED(float32, float, float16, perce::Float16)
PERCE_WEIGHTED(bfloat16, perce::BFloat16, bfloat16, perce::BFloat16)
PERCE_WEIGHTED(float16, perce::Float16, float16, perce::Float16)
PERCE_LOGP(float32, float)
PERCE_LOGP(bfloat16, perce::BFloat16)
PERCE_LOGP(float16, perce::Float16)
