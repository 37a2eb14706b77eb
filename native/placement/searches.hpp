// What is searched for, and what was found.
#pragma once

#include "placement/bits.hpp"

namespace plumbline::placement {

/// What is left to decide of a request: `size` of `pool`, beside `must`; 0 < size < |pool|.
template <class Set> struct Search {
  Set pool{};
  Set must{};
  int size = 0;
  Set free{};
  Set rails_free = ~Set{}; ///< the rails that count
};

/// The best two sets and how many were looked at.
template <class Set> struct Found {
  Set best{};
  std::optional<Set> second;
  std::int64_t examined = 0;
  bool exact = true;
};

/// Parents to choose so that their set is best: `count` of `pool` beside `forced`.
template <class Set> struct ParentSearch {
  Set pool{};
  Set forced{};
  int count = 0;
  std::int64_t needed = 0;                         ///< least sum of room over all chosen
  std::array<std::int64_t, capacity<Set>> room{};  ///< shares that each can give
  std::array<std::uint64_t, capacity<Set>> cost{}; ///< least sum wins between sets of equal pairs

  [[nodiscard]] std::int64_t room_of(const Set &set) const {
    std::int64_t sum = 0;
    each_bit(set, [&](int i) { sum += room[static_cast<std::size_t>(i)]; });
    return sum;
  }
  [[nodiscard]] std::uint64_t cost_of(const Set &set) const {
    std::uint64_t sum = 0;
    each_bit(set, [&](int i) { sum += cost[static_cast<std::size_t>(i)]; });
    return sum;
  }
};

template <class Set> struct FoundParents {
  Set parents{};
  bool exact = true;
  std::int64_t examined = 1;
};

} // namespace plumbline::placement
