// The search for sets of parents where there are no tables.
#pragma once

#include "placement/large_sets.hpp"

namespace plumbline::placement {

/// Exact where the sets of parents are few; else the best after exchanges, within a limit.
template <class Set>
FoundParents<Set> search_large_parents(const LargeSets<Set> &sets, const ParentSearch<Set> &search);

} // namespace plumbline::placement
