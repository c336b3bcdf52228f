// The token-scoped objectives as functions of one row's signals, equal to those of
// python/perce/objectives.py, NaN included.
#pragma once

#include "arguments.cuh"
#include "arithmetic.cuh"

namespace perce {

// Weight of a row that is not ignored.
PERCE_FN float weight_of(const Arguments& arguments, std::int64_t row, float logp, float entropy) {
  const float first = arguments.params[0];
  const float second = arguments.params[1];
  switch (arguments.objective) {
    case Objective::kGiven:
      return arguments.weights_given[row];
    case Objective::kCe:
      return 1.0f;
    case Objective::kPerce:
      return clamp(logp - arguments.logp_without[row], first, second);
    case Objective::kLongCe:
      return clamp(expf(logp - arguments.logp_without[row]), 0.0f, first);
    case Objective::kEntCe:
      return clamp(entropy, 0.0f, kInfinity);
    case Objective::kDft:
      return clamp(expf(logp), 0.0f, 1.0f);
    case Objective::kNextQuill:
      return expf(logp) - expf(arguments.logp_without[row]) > second ? first : 1.0f - first;
  }
  return NAN;
}

}  // namespace perce
