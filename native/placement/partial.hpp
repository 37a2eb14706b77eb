// A set on its way to its size, with what it is so far.
#pragma once

#include "placement/large_sets.hpp"

namespace plumbline::placement {

template <class Set> struct Partial {
  Set set{};
  Set nodes{};
  Set sockets{};
  Set rails{};
  Set at_nodes{};   ///< devices that would span no further node
  Set at_sockets{}; ///< likewise
  Traits traits;
};

/// What a search begins with.
template <class Set> Partial<Set> begin_with(const LargeSets<Set> &sets, const Search<Set> &search);

template <class Set>
void add(const LargeSets<Set> &sets, int device, const Set &rails_free, Partial<Set> &partial);

} // namespace plumbline::placement
