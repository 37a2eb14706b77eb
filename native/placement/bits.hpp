// Walking the bits of a mask.
#pragma once

#include <bit>

#include "placement/values.hpp"

namespace plumbline::placement {

constexpr Mask bit(int position) { return Mask{1} << static_cast<unsigned>(position); }
constexpr int lowest(Mask mask) { return std::countr_zero(mask); }
constexpr Mask without_lowest(Mask mask) { return mask & (mask - 1); }

/// Calls visit with the position of each bit, lowest first.
template <typename Visit> constexpr void each_bit(Mask mask, Visit visit) {
  for (; mask != 0; mask = without_lowest(mask)) {
    visit(lowest(mask));
  }
}

/// The count lowest bits of a mask, or all of them.
constexpr Mask lowest_bits(Mask mask, int count) {
  Mask taken = 0;
  for (; count > 0 && mask != 0; --count, mask = without_lowest(mask)) {
    taken |= mask & (~mask + 1);
  }
  return taken;
}

} // namespace plumbline::placement
