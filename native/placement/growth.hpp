// Sets that grow from one device by what is joined best: where a search begins.
#pragma once

#include "placement/large_sets.hpp"

namespace plumbline::placement {

/// The first devices of the first classes of a pool, evenly chosen; those of some are left out.
template <class Set>
std::vector<int> seeds_of(const LargeSets<Set> &sets, const Search<Set> &search,
                          const Set &left_out);

/// Grows a set of the size that is searched for around must and one more device.
template <class Set> Set grow(const LargeSets<Set> &sets, const Search<Set> &search, int seed);

} // namespace plumbline::placement
