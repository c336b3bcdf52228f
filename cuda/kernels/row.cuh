// A row of a matrix in memory, and a team's way through it.
#pragma once

#include <cstdint>
#include <type_traits>

#include "arithmetic.cuh"
#include "memory.cuh"

namespace perce {

// A unit is what one load of 16 bytes brings: 4 or 8 neighbouring elements.
template <class T>
constexpr int kUnit = 16 / static_cast<int>(sizeof(T));

// Units that a member holds at once on its way through aligned rows: 16 elements, 32 or 64 bytes in
// flight for every thread of a block.
template <class T>
constexpr int kUnitsHeld = 16 / kUnit<T>;

// Elements of a row, at any address that suits one of them, read and written in runs.
template <class T>
class Row {
 public:
  using Element = std::remove_const_t<T>;

  PERCE_FN Row(T* data, int columns) : data_(data), columns_(columns) {}

  // Whether runs of `length` that start at a multiple of it can be moved as one.
  template <int length>
  PERCE_FN bool aligned() const {
    return reinterpret_cast<std::uintptr_t>(data_) % (length * sizeof(T)) == 0;
  }

  PERCE_FN Element element(int column) const {
    Element value;
    fetch<sizeof value>(&value, data_ + column);
    return value;
  }

  // Elements from `column` on, as far as the row goes; kWhole: all exist, and the row is aligned.
  template <bool kWhole, int length>
  PERCE_FN void load(int column, Element (&values)[length]) const {
    if constexpr (kWhole) {
      fetch<sizeof values>(values, data_ + column);
    } else {
      for (int i = 0; i < length; ++i) {
        if (column + i < columns_) values[i] = element(column + i);
      }
    }
  }

  template <bool kWhole, int length>
  PERCE_FN void store(int column, const Element (&values)[length]) const {
    if constexpr (kWhole) {
      put<sizeof values>(data_ + column, values);
    } else {
      for (int i = 0; i < length; ++i) {
        if (column + i < columns_) put<sizeof(Element)>(data_ + column + i, &values[i]);
      }
    }
  }

 private:
  T* data_;
  int columns_;
};

// How the members of a team share the columns [begin, end) of a row: tile by tile; in each, a member
// holds `held` runs of `length` elements, and the members stand side by side.
template <int length, int held>
class Tiles {
 public:
  template <class Team>
  PERCE_FN Tiles(const Team& team, int begin, int end)
      : begin_(begin + team.rank() * length), end_(end), stride_(team.size() * length) {
    const int width = stride_ * held;
    count_ = (end - begin + width - 1) / width;
  }

  PERCE_FN int count() const { return count_; }

  // Where the member's run `i` of a tile starts.
  PERCE_FN int column(int tile, int i) const { return begin_ + (tile * held + i) * stride_; }

  PERCE_FN int end() const { return end_; }

 private:
  int begin_;
  int end_;
  int stride_;
  int count_;
};

// Columns of a row that whole tiles cover, if it is aligned; the rest goes run by run.
template <int length, int held, class Team>
PERCE_FN int whole_columns(const Team& team, int columns, bool aligned) {
  const int width = team.size() * length * held;
  return aligned ? columns / width * width : 0;
}

}  // namespace perce
