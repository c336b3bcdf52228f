// Softmax statistics of any part of a row, found in one reading and merged from part to part.
#pragma once

#include "arithmetic.cuh"

namespace perce {

// Of the logits z seen so far. A NaN among them is in `total` and `tilt`, never in `peak`.
struct Summary {
  float peak = -kInfinity;  // max z
  float total = 0.0f;       // sum of e^(z - peak)
  float tilt = 0.0f;        // sum of (z - peak) e^(z - peak)
};

// tilt + shift * mass, where mass holds e^shift as a factor. The product is 0 where that underflowed, at
// shift = -inf too, where it would be NaN as it stands; a NaN is in the mass, so fmaxf may drop it here.
PERCE_FN float tilted(float shift, float mass, float tilt) {
  return fmaf(fmaxf(shift, -200.0f), mass, tilt);
}

// The same statistics in terms of a peak that is not below the summary's own.
PERCE_FN Summary raised(Summary summary, float peak) {
  if (summary.peak == peak) return summary;
  const float shift = summary.peak - peak;
  const float factor = exponential(shift);
  summary.tilt = factor * tilted(shift, summary.total, summary.tilt);
  summary.total = factor * summary.total;
  summary.peak = peak;
  return summary;
}

PERCE_FN Summary merged(Summary a, Summary b) {
  const float peak = fmaxf(a.peak, b.peak);
  a = raised(a, peak);
  b = raised(b, peak);
  return {peak, a.total + b.total, a.tilt + b.tilt};
}

// Take in some more logits.
template <int count>
PERCE_FN void take_in(Summary& summary, const float (&logits)[count]) {
  float peak = summary.peak;
  for (int i = 0; i < count; ++i) peak = fmaxf(peak, logits[i]);
  // Seldom true after the first few: the maximum of a growing sample settles.
  if (peak > summary.peak) summary = raised(summary, peak);
  // While nothing but -inf was seen there is no peak to subtract: -inf - -inf would be NaN.
  const float base = peak == -kInfinity ? 0.0f : peak;
  // Sums of a few first: a long row's running sum would round each of its terms.
  float total = 0.0f;
  float tilt = 0.0f;
  for (int i = 0; i < count; ++i) {
    const float shifted = logits[i] - base;
    const float mass = exponential(shifted);
    total += mass;
    tilt = tilted(shifted, mass, tilt);
  }
  summary.total += total;
  summary.tilt += tilt;
}

}  // namespace perce
