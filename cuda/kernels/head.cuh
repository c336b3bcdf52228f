// From a raw product x of hidden state and vocabulary row to its logit z and the slope dz/dx, up to
// the factor `scale`, which the row's weight takes instead.
#pragma once

#include "arguments.cuh"
#include "arithmetic.cuh"

namespace perce {

struct Logit {
  float z;
  float slope;
};

// z = scale * x.
class PlainHead {
 public:
  PERCE_FN explicit PlainHead(const Arguments& arguments) : scale_(arguments.scale) {}

  PERCE_FN Logit operator()(float x, int) const { return {x * scale_, 1.0f}; }

 private:
  float scale_;
};

// z = scale * (x + bias), or softcap * tanh(scale * (x + bias) / softcap).
class FullHead {
 public:
  PERCE_FN explicit FullHead(const Arguments& arguments)
      : bias_(arguments.bias),
        softcap_(arguments.softcap),
        inner_(arguments.softcap != 0.0f ? arguments.scale / arguments.softcap : arguments.scale) {}

  PERCE_FN Logit operator()(float x, int column) const {
    const float y = (bias_ != nullptr ? x + bias_[column] : x) * inner_;
    if (softcap_ == 0.0f) return {y, 1.0f};
    const float t = tanhf(y);
    return {softcap_ * t, fmaf(-t, t, 1.0f)};
  }

 private:
  const float* bias_;
  float softcap_;
  float inner_;
};

}  // namespace perce
