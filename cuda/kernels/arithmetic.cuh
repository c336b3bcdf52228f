// Scalar arithmetic, spelled so that device and host round alike: both are compiled without
// contraction of a * b + c, and a fused multiply-add is written where one is meant.
#pragma once

#ifdef __CUDACC__
#define PERCE_FN __device__ __forceinline__
// Before a loop over tiles: each holds enough loads as it is.
#define PERCE_ROLLED _Pragma("unroll 1")
#else
#define PERCE_FN inline
#define PERCE_ROLLED
#endif

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#else
#include <bit>
#endif

namespace perce {

constexpr float kInfinity = INFINITY;

// e^x for x <= 0; 0 below the normal numbers. The device's ex2 is within 2 ulp.
PERCE_FN float exponential(float x) {
  const float exponent = x * 1.44269504088896341f;
#ifdef __CUDACC__
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(exponent));
  return result;
#else
  return exponent < -126.0f ? 0.0f : std::exp2(exponent);
#endif
}

// Between two bounds; NaN stays NaN, which fminf and fmaxf would drop.
PERCE_FN float clamp(float x, float low, float high) {
  return x < low ? low : (x > high ? high : x);
}

struct Float16 {
  std::uint16_t bits;
};

struct BFloat16 {
  std::uint16_t bits;
};

PERCE_FN float widen(float x) { return x; }

PERCE_FN float widen(BFloat16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x.bits) << 16;
#ifdef __CUDACC__
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}

PERCE_FN float widen(Float16 x) {
#ifdef __CUDACC__
  return __half2float(__ushort_as_half(x.bits));
#else
  return static_cast<float>(std::bit_cast<_Float16>(x.bits));
#endif
}

// Narrowing rounds to nearest, ties to even; NaN stays NaN. `out` takes the value.
PERCE_FN void narrow(float x, float& out) { out = x; }

PERCE_FN void narrow(float x, BFloat16& out) {
#ifdef __CUDACC__
  out.bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
#else
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t half = 0x7FFFu + ((bits >> 16) & 1u);
  out.bits = std::isnan(x) ? 0x7FFFu : static_cast<std::uint16_t>((bits + half) >> 16);
#endif
}

PERCE_FN void narrow(float x, Float16& out) {
#ifdef __CUDACC__
  out.bits = __half_as_ushort(__float2half_rn(x));
#else
  out.bits = std::bit_cast<std::uint16_t>(static_cast<_Float16>(x));
#endif
}

}  // namespace perce
