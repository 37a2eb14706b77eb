// The exact search for sets of parents, by tables.
#pragma once

#include "placement/searches.hpp"
#include "placement/tables.hpp"

namespace plumbline::placement {

/// Looks at every set of parents there is room on.
FoundParents search_parents(const Tables &tables, const ParentSearch &search);

/// How good a set of parents is for a job, cost aside: what comes before it and what after.
struct ParentRank {
  std::uint64_t head = 0;
  std::uint64_t cheapness = 0;
  std::uint64_t tail = 0;
  Mask set = 0;

  bool operator>(const ParentRank &other) const;
};
ParentRank rank_parents(Fields fields, const Traits &traits, std::uint64_t cost, Mask set);

} // namespace plumbline::placement
