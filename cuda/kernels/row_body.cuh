// The body of both kernels for one row, run by a team: a thread block on the device (block_team.cuh),
// one thread or several on the host (tests/cuda/host_teams.hpp), from this same text.
//
// A team has
//   int rank() const, int size() const   the calling member's number, the number of members;
//   void wait()                          what any member did before it is done for all after it;
//   Summary merge(const Summary&)        all members' summaries merged, in an order that depends on
//                                        the size alone, the same result for every member; it waits.
// Every member calls wait and merge equally often.
#pragma once

#include "arguments.cuh"
#include "arithmetic.cuh"
#include "head.cuh"
#include "row.cuh"
#include "summary.cuh"
#include "weights.cuh"

namespace perce {

template <bool kWhole, int held, class Value, class Head>
PERCE_FN void summarise_tiles(const Row<const Value>& row, const Head& head,
                              const Tiles<kUnit<Value>, held>& tiles, Summary& summary) {
  constexpr int length = kUnit<Value>;
  PERCE_ROLLED
  for (int tile = 0; tile < tiles.count(); ++tile) {
    alignas(16) Value values[held][length];
    for (int i = 0; i < held; ++i) row.template load<kWhole>(tiles.column(tile, i), values[i]);
    for (int i = 0; i < held; ++i) {
      const int first = tiles.column(tile, i);
      float logits[length];
      for (int j = 0; j < length; ++j) {
        const bool exists = kWhole || first + j < tiles.end();
        logits[j] = exists ? head(widen(values[i][j]), first + j).z : -kInfinity;
      }
      take_in(summary, logits);
    }
  }
}

// First sweep: statistics of a row's logits, the same for every member.
template <class Value, class Head, class Team>
PERCE_FN Summary summarise(Team& team, const Row<const Value>& row, const Head& head, int columns) {
  constexpr int length = kUnit<Value>;
  constexpr int held = kUnitsHeld<Value>;
  const int whole = whole_columns<length, held>(team, columns, row.template aligned<length>());
  Summary summary;
  summarise_tiles<true>(row, head, Tiles<length, held>(team, 0, whole), summary);
  summarise_tiles<false>(row, head, Tiles<length, 1>(team, whole, columns), summary);
  return team.merge(summary);
}

// What the second sweep needs to know of its row.
struct Gradient {
  float peak;
  float factor;        // weight * scale / sum of exponentials
  int target;
  float target_value;  // the target's own gradient
};

template <bool kWhole, int held, class Value, class Grad, class Head, class Team>
PERCE_FN void write_tiles(Team& team, const Row<const Value>& row, const Row<Grad>& out,
                          const Head& head, const Gradient& gradient, bool in_place,
                          const Tiles<kUnit<Value>, held>& tiles) {
  constexpr int length = kUnit<Value>;
  PERCE_ROLLED
  for (int tile = 0; tile < tiles.count(); ++tile) {
    alignas(16) Value values[held][length];
    for (int i = 0; i < held; ++i) row.template load<kWhole>(tiles.column(tile, i), values[i]);
    // Narrow gradients in place: what has been read ends where the tile does, what is written now
    // ends before. From the row's begin, tile t's gradients lie in the bytes of the logits of tile
    // t / 2 and before: a wait at tile t lets every member write up to tile 2 t + 1, where the next is.
    if (in_place && (!kWhole || (tile & (tile + 1)) == 0)) team.wait();
    for (int i = 0; i < held; ++i) {
      const int first = tiles.column(tile, i);
      float gradients[length];
      for (int j = 0; j < length; ++j) {
        const bool exists = kWhole || first + j < tiles.end();
        const Logit logit = exists ? head(widen(values[i][j]), first + j) : Logit{-kInfinity, 0.0f};
        gradients[j] = exponential(logit.z - gradient.peak) * gradient.factor * logit.slope;
      }
      if (gradient.target >= first && gradient.target < first + length) {
        for (int j = 0; j < length; ++j) {
          if (first + j == gradient.target) gradients[j] = gradient.target_value;
        }
      }
      alignas(16) Grad narrowed[length];
      for (int j = 0; j < length; ++j) narrow(gradients[j], narrowed[j]);
      out.template store<kWhole>(first, narrowed);
    }
  }
}

// Second sweep: the gradient of -weight * logp to the raw product, scale * weight * (softmax - onehot)
// times the logits' slope.
template <class Value, class Grad, class Head, class Team>
PERCE_FN void write_gradient(Team& team, const Row<const Value>& row, const Row<Grad>& out,
                             const Head& head, int columns, const Gradient& gradient, bool in_place) {
  constexpr int length = kUnit<Value>;
  constexpr int held = kUnitsHeld<Value>;
  const bool aligned = row.template aligned<length>() && out.template aligned<length>();
  const int whole = whole_columns<length, held>(team, columns, aligned);
  write_tiles<true>(team, row, out, head, gradient, in_place, Tiles<length, held>(team, 0, whole));
  write_tiles<false>(team, row, out, head, gradient, in_place, Tiles<length, 1>(team, whole, columns));
}

template <class Grad, class Team>
PERCE_FN void write_zeros(const Team& team, const Row<Grad>& out, int columns) {
  constexpr int length = kUnit<Grad>;
  alignas(16) const Grad zeros[length] = {};
  const int whole = whole_columns<length, 1>(team, columns, out.template aligned<length>());
  const Tiles<length, 1> tiles(team, 0, whole);
  PERCE_ROLLED
  for (int tile = 0; tile < tiles.count(); ++tile) {
    out.template store<true>(tiles.column(tile, 0), zeros);
  }
  const Tiles<length, 1> rest(team, whole, columns);
  PERCE_ROLLED
  for (int tile = 0; tile < rest.count(); ++tile) {
    out.template store<false>(rest.column(tile, 0), zeros);
  }
}

// The row's label as a column that can be read, and whether it is one.
struct Target {
  int column;
  bool valid;

  PERCE_FN Target(std::int64_t label, int columns)
      : column(label < 0 ? 0 : label < columns ? static_cast<int>(label) : columns - 1),
        valid(label >= 0 && label < columns) {}
};

// The results of a row: one member writes them.
template <class Team>
PERCE_FN void write_results(const Team& team, const Arguments& arguments, std::int64_t row, float logp,
                            float weight, float entropy) {
  if (team.rank() != 0) return;
  arguments.logp[row] = logp;
  if (arguments.weights != nullptr) arguments.weights[row] = weight;
  if (arguments.entropy != nullptr) arguments.entropy[row] = entropy;
}

// What the first sweep says about a row's target.
struct Reading {
  Summary summary;
  Logit target;
  float log_total;

  // Both terms are at most 0: the target is among the logits that made peak and total, by the same
  // arithmetic. (peak + log total) taken from the target would cancel at large offsets.
  PERCE_FN float logp() const { return (target.z - summary.peak) - log_total; }

  PERCE_FN float entropy() const { return log_total - summary.tilt / summary.total; }
};

template <class Value, class Head, class Team>
PERCE_FN Reading read_row(Team& team, const Row<const Value>& row, const Head& head, int columns,
                          int target) {
  // Read before the merge, which waits: afterwards another member may have overwritten it.
  const Logit logit = head(widen(row.element(target)), target);
  const Summary summary = summarise(team, row, head, columns);
  return {summary, logit, logf(summary.total)};
}

template <class T>
PERCE_FN Row<const T> logits_row(const Arguments& arguments, std::int64_t row) {
  return {static_cast<const T*>(arguments.logits) + row * arguments.logits_stride, arguments.vocab};
}

// Log-probability and entropy of one row; it is only read.
template <class Value, class Head, class Team>
PERCE_FN void logp_row(Team& team, const Head& head, const Arguments& arguments, std::int64_t row) {
  const std::int64_t label = arguments.labels[row];
  if (label == kIgnoreIndex) {
    write_results(team, arguments, row, 0.0f, 0.0f, 0.0f);
    return;
  }
  const int columns = arguments.vocab;
  const Target target(label, columns);
  const Row<const Value> logits = logits_row<Value>(arguments, row);
  const Reading reading = read_row(team, logits, head, columns, target.column);
  write_results(team, arguments, row, target.valid ? reading.logp() : NAN, 0.0f,
                target.valid ? reading.entropy() : NAN);
}

// Log-probability, entropy, weight and gradient of one row.
template <class Value, class Grad, class Head, class Team>
PERCE_FN void weighted_row(Team& team, const Head& head, const Arguments& arguments, std::int64_t row) {
  static_assert(sizeof(Grad) <= sizeof(Value), "in place, wider gradients would outrun the reading");
  const int columns = arguments.vocab;
  const Row<Grad> out(static_cast<Grad*>(arguments.grad) + row * arguments.grad_stride, columns);
  const bool wanted = arguments.grad != nullptr;
  const std::int64_t label = arguments.labels[row];
  if (label == kIgnoreIndex) {
    write_results(team, arguments, row, 0.0f, 0.0f, 0.0f);
    if (wanted) write_zeros(team, out, columns);
    return;
  }
  const Target target(label, columns);
  const Row<const Value> logits = logits_row<Value>(arguments, row);
  const Reading reading = read_row(team, logits, head, columns, target.column);
  const float logp = target.valid ? reading.logp() : NAN;
  const float entropy = target.valid ? reading.entropy() : NAN;
  const float weight = weight_of(arguments, row, logp, entropy);
  write_results(team, arguments, row, logp, weight, entropy);
  if (!wanted) return;
  if (weight == 0.0f) {
    write_zeros(team, out, columns);
    return;
  }
  const float scaled = weight * arguments.scale;
  const Gradient gradient = {
      reading.summary.peak,
      scaled / reading.summary.total,
      target.column,
      // softmax - 1, in float32: to round the softmax first would leave 0 of a near-certain target's.
      scaled * expm1f(reading.logp()) * reading.target.slope,
  };
  const bool in_place = sizeof(Grad) < sizeof(Value) && arguments.grad == arguments.logits;
  write_gradient(team, logits, out, head, columns, gradient, in_place);
}

}  // namespace perce
