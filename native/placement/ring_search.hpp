// The best ring through one set, without tables.
#pragma once

#include "placement/machine.hpp"

namespace plumbline::placement {

struct Ring {
  int tier = 0;
  bool exact = true;      ///< false: a better ring was neither found nor excluded
  std::int64_t steps = 0; ///< of work, in the unit of search_branches
};

/// Exact up to 12 devices; above, as good as a bounded search finds, and never above the truth.
/// Takes what is known: a tier that no ring exceeds and the tier of the slowest pair.
template <class Set>
Ring find_ring(const Machine<Set> &machine, const Set &set, int bound, int slowest);

/// A tier that no ring through the set exceeds, at little cost.
template <class Set> int ring_bound(const Machine<Set> &machine, const Set &set);

} // namespace plumbline::placement
