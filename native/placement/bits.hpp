// Walking the bits of a mask. Everything here is for Mask and for WideMask alike.
#pragma once

#include <algorithm>
#include <bit>
#include <type_traits>

#include "placement/values.hpp"

namespace plumbline::placement {

/// How many devices a kind of set has room for.
template <class Set> constexpr int capacity = static_cast<int>(8 * sizeof(Set));

template <class Set = Mask> constexpr Set bit(int position) {
  const auto at = static_cast<unsigned>(position);
  if constexpr (std::is_same_v<Set, Mask>) {
    return Mask{1} << at;
  } else {
    Set set;
    set.words[at / 64] = std::uint64_t{1} << (at % 64);
    return set;
  }
}

constexpr bool has(Mask mask, int position) {
  return ((mask >> static_cast<unsigned>(position)) & 1U) != 0;
}
constexpr bool has(const WideMask &mask, int position) {
  return has(mask.words[static_cast<std::size_t>(position) / 64], position % 64);
}

/// All bits below a position; the position may be one above the last.
template <class Set = Mask> constexpr Set below(int position) {
  Set set{};
  if constexpr (std::is_same_v<Set, Mask>) {
    set = position == capacity<Mask> ? ~Mask{0} : bit(position) - 1;
  } else {
    for (auto &word : set.words) {
      word = below(std::clamp(position, 0, 64));
      position -= 64;
    }
  }
  return set;
}

/// Written out: where the compiler may not use an instruction for it, std::popcount is a call.
constexpr int popcount(Mask mask) {
  mask -= (mask >> 1U) & 0x5555'5555'5555'5555U;
  mask = (mask & 0x3333'3333'3333'3333U) + ((mask >> 2U) & 0x3333'3333'3333'3333U);
  mask = (mask + (mask >> 4U)) & 0x0f0f'0f0f'0f0f'0f0fU;
  return static_cast<int>((mask * 0x0101'0101'0101'0101U) >> 56U);
}
constexpr int popcount(const WideMask &mask) {
  std::uint64_t bytes = 0; // of all words at once
  for (std::size_t i = 0; i < WideMask::size; i += 2) {
    std::uint64_t nibbles = 0; // of two words, up to 8 in each
    for (std::uint64_t word : {mask.words[i], mask.words[i + 1]}) {
      word -= (word >> 1U) & 0x5555'5555'5555'5555U;
      nibbles += (word & 0x3333'3333'3333'3333U) + ((word >> 2U) & 0x3333'3333'3333'3333U);
    }
    bytes += (nibbles & 0x0f0f'0f0f'0f0f'0f0fU) + ((nibbles >> 4U) & 0x0f0f'0f0f'0f0f'0f0fU);
  }
  const auto pairs = (bytes & 0x00ff'00ff'00ff'00ffU) + ((bytes >> 8U) & 0x00ff'00ff'00ff'00ffU);
  return static_cast<int>((pairs * 0x0001'0001'0001'0001U) >> 48U);
}

/// Position of the lowest bit; of an empty mask the number of its bits.
constexpr int lowest(Mask mask) { return std::countr_zero(mask); }
constexpr int lowest(const WideMask &mask) {
  int first = 0;
  for (const auto word : mask.words) {
    if (word != 0) {
      return first + std::countr_zero(word);
    }
    first += 64;
  }
  return first;
}

/// Position of the highest bit; -1 of an empty mask.
constexpr int highest(Mask mask) { return 63 - std::countl_zero(mask); }
constexpr int highest(const WideMask &mask) {
  for (std::size_t i = WideMask::size; i > 0; --i) {
    if (mask.words[i - 1] != 0) {
      return (static_cast<int>(i - 1) * 64) + highest(mask.words[i - 1]);
    }
  }
  return -1;
}

constexpr Mask without_lowest(Mask mask) { return mask & (mask - 1); }
constexpr WideMask without_lowest(WideMask mask) {
  for (auto &word : mask.words) {
    if (word != 0) {
      word = without_lowest(word);
      break;
    }
  }
  return mask;
}

/// Calls visit with the position of each bit, lowest first.
template <typename Visit> constexpr void each_bit(Mask mask, Visit visit) {
  for (; mask != 0; mask = without_lowest(mask)) {
    visit(lowest(mask));
  }
}
template <typename Visit> constexpr void each_bit(const WideMask &mask, Visit visit) {
  int first = 0;
  for (const auto word : mask.words) {
    each_bit(word, [&](int i) { visit(first + i); });
    first += 64;
  }
}

/// The count lowest bits of a mask, or all of them.
template <class Set> constexpr Set lowest_bits(Set mask, int count) {
  Set left = mask;
  for (; count > 0 && left != 0; --count) {
    left = without_lowest(left);
  }
  return mask & ~left;
}

/// Of two sets of one size the one with the lower ranks comes first: it has the lowest device
/// that only one of them has.
constexpr bool comes_before(Mask set, Mask other) {
  const Mask differ = set ^ other;
  return (differ & (~differ + 1) & set) != 0;
}
constexpr bool comes_before(const WideMask &set, const WideMask &other) {
  for (std::size_t i = 0; i < WideMask::size; ++i) {
    if (set.words[i] != other.words[i]) {
      return comes_before(set.words[i], other.words[i]);
    }
  }
  return false;
}

/// Of how many words of 64 bits a mask is made, and one of them.
template <class Set> constexpr std::uint32_t word_count = capacity<Set> / capacity<Mask>;
constexpr Mask word(Mask mask, std::size_t /*index*/) { return mask; }
constexpr Mask word(const WideMask &mask, std::size_t index) { return mask.words[index]; }

/// The same bits in another kind of mask, as far as it has room for them.
template <class Set> constexpr Set narrowed(const WideMask &mask) {
  if constexpr (std::is_same_v<Set, Mask>) {
    return word(mask, 0);
  } else {
    return mask;
  }
}

} // namespace plumbline::placement
