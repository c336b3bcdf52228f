// The kernels on the host: the device's row body, run by one thread or several, over rows in turn.
#include <string>
#include <thread>
#include <vector>

#include "host_teams.hpp"
#include "row_body.cuh"

namespace {

using perce::Arguments;

template <class Rows>
void run(const Rows& rows, int threads) {
  perce::Meeting meeting(threads);
  const auto take_part = [&meeting, &rows](int rank) {
    perce::OneOfThreads team(meeting, rank);
    rows(team);
  };
  std::vector<std::jthread> others;
  for (int rank = 1; rank < threads; ++rank) others.emplace_back(take_part, rank);
  take_part(0);
}

template <class Value, class Grad, class Head>
void weighted_rows(const Arguments& arguments, int threads) {
  run(
      [&arguments](perce::OneOfThreads& team) {
        const Head head(arguments);
        for (std::int64_t row = 0; row < arguments.n_rows; ++row) {
          perce::weighted_row<Value, Grad>(team, head, arguments, row);
        }
      },
      threads);
}

template <class Value, class Head>
void logp_rows(const Arguments& arguments, int threads) {
  run(
      [&arguments](perce::OneOfThreads& team) {
        const Head head(arguments);
        for (std::int64_t row = 0; row < arguments.n_rows; ++row) {
          perce::logp_row<Value>(team, head, arguments, row);
        }
      },
      threads);
}

using Kernel = void (*)(const Arguments&, int);

struct Named {
  const char* name;
  Kernel kernel;
};

using perce::BFloat16;
using perce::Float16;
using perce::FullHead;
using perce::PlainHead;

// The names of cuda/kernels/rows.cu.
constexpr Named kKernels[] = {
    {"perce_weighted_float32_float32_plain", weighted_rows<float, float, PlainHead>},
    {"perce_weighted_float32_float32_full", weighted_rows<float, float, FullHead>},
    {"perce_weighted_float32_bfloat16_plain", weighted_rows<float, BFloat16, PlainHead>},
    {"perce_weighted_float32_bfloat16_full", weighted_rows<float, BFloat16, FullHead>},
    {"perce_weighted_float32_float16_plain", weighted_rows<float, Float16, PlainHead>},
    {"perce_weighted_float32_float16_full", weighted_rows<float, Float16, FullHead>},
    {"perce_weighted_bfloat16_bfloat16_plain", weighted_rows<BFloat16, BFloat16, PlainHead>},
    {"perce_weighted_bfloat16_bfloat16_full", weighted_rows<BFloat16, BFloat16, FullHead>},
    {"perce_weighted_float16_float16_plain", weighted_rows<Float16, Float16, PlainHead>},
    {"perce_weighted_float16_float16_full", weighted_rows<Float16, Float16, FullHead>},
    {"perce_logp_float32_plain", logp_rows<float, PlainHead>},
    {"perce_logp_float32_full", logp_rows<float, FullHead>},
    {"perce_logp_bfloat16_plain", logp_rows<BFloat16, PlainHead>},
    {"perce_logp_bfloat16_full", logp_rows<BFloat16, FullHead>},
    {"perce_logp_float16_plain", logp_rows<Float16, PlainHead>},
    {"perce_logp_float16_full", logp_rows<Float16, FullHead>},
};

}  // namespace

// Runs a kernel by its name with a team of `threads`; -1 if there is no kernel of that name.
extern "C" int perce_host_run(const char* name, const Arguments* arguments, int threads) {
  for (const Named& one : kKernels) {
    if (std::string(name) == one.name) {
      one.kernel(*arguments, threads);
      return 0;
    }
  }
  return -1;
}
