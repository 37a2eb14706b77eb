// The search among more sets than can be looked at: branch and bound, then exchanges.
#pragma once

#include "placement/large_sets.hpp"

namespace plumbline::placement {

/// Exact when it ends within its work limit, which is counted in steps and not in time, so that
/// the same question has the same answer everywhere; about 1 ms. Otherwise the best set found
/// after exchanging single devices for as long as that helps, within another limit.
template <class Set>
Found<Set> search_branches(const LargeSets<Set> &sets, const Ranking &ranking,
                           const Search<Set> &search);

} // namespace plumbline::placement
