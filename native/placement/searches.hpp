// What is searched for, and what was found.
#pragma once

#include "placement/values.hpp"

namespace plumbline::placement {

/// What is left to decide of a request: `size` of `pool`, beside `must`; 0 < size < |pool|.
struct Search {
  Mask pool = 0;
  Mask must = 0;
  int size = 0;
  Mask free = 0;
  Mask rails_free = ~Mask{0}; ///< the rails that count
};

/// The best two sets and how many were looked at.
struct Found {
  Mask best = 0;
  std::optional<Mask> second;
  std::int64_t examined = 0;
  bool exact = true;
};

/// Parents to choose so that their set is best: `count` of `pool` beside `forced`.
struct ParentSearch {
  Mask pool = 0;
  Mask forced = 0;
  int count = 0;
  std::int64_t needed = 0;                       ///< least sum of room over all chosen
  std::array<std::int64_t, max_devices> room{};  ///< shares that each can give
  std::array<std::uint64_t, max_devices> cost{}; ///< least sum wins between sets of equal pairs

  [[nodiscard]] std::int64_t room_of(Mask set) const;
  [[nodiscard]] std::uint64_t cost_of(Mask set) const;
};

struct FoundParents {
  Mask parents = 0;
  bool exact = true;
  std::int64_t examined = 1;
};

} // namespace plumbline::placement
