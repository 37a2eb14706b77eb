// Sums and unions over the bits of small numbers, by two table look-ups.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>

#include "placement/bits.hpp"

namespace plumbline::placement {

/// For numbers of up to exact_up_to bits: what each set bit stands for, joined.
template <typename T, typename Join> class Joined {
public:
  /// Value(i) is what bit i stands for, for i below bits.
  template <typename Value> Joined(int bits, Value value) {
    fill(low_, 0, std::min(bits, half), value);
    fill(high_, half, std::max(0, bits - half), value);
  }

  T operator()(std::uint32_t number) const {
    return static_cast<T>(Join{}(low_[number & 255U], high_[number >> unsigned{half}]));
  }

private:
  static constexpr int half = exact_up_to / 2;
  using Part = std::array<T, std::size_t{1} << unsigned{half}>;

  template <typename Value> static void fill(Part &part, int first, int bits, Value value) {
    part[0] = 0;
    std::size_t filled = 1;
    for (int i = 0; i < bits; ++i, filled *= 2) {
      const T added = value(first + i);
      for (std::size_t known = 0; known < filled; ++known) {
        part[filled + known] = static_cast<T>(Join{}(part[known], added));
      }
    }
  }

  Part low_;
  Part high_;
};

template <typename T> using Sums = Joined<T, std::plus<>>;
using Unions = Joined<Mask, std::bit_or<>>;

/// Spreads the bits of small numbers over the bits of a pool.
inline Sums<std::uint16_t> deposit_into(Mask pool) {
  std::array<std::uint16_t, exact_up_to> places{};
  std::size_t count = 0;
  each_bit(pool, [&](int i) { places[count++] = static_cast<std::uint16_t>(bit(i)); });
  return {static_cast<int>(count), [&](int i) { return places[static_cast<std::size_t>(i)]; }};
}

/// The next number with as many bits (Gosper), or one above all numbers when there is none.
constexpr std::uint32_t next_with_same_bits(std::uint32_t number) {
  if (number == 0) {
    return ~std::uint32_t{0};
  }
  const auto smallest = number & (~number + 1);
  const auto ripple = number + smallest;
  const auto moved =
      std::uint64_t{number ^ ripple} >> (2U + static_cast<unsigned>(std::countr_zero(smallest)));
  return ripple | static_cast<std::uint32_t>(moved);
}

} // namespace plumbline::placement
