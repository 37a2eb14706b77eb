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
Ring find_ring(const Machine &machine, Mask set);

/// A tier that no ring through the set exceeds, at little cost.
int ring_bound(const Machine &machine, Mask set);

} // namespace plumbline::placement
