// The devices of one search that can stand for each other.
#pragma once

#include "placement/large_sets.hpp"

namespace plumbline::placement {

/// Twins in the pool of a search, and what is left of it with all of the classes that come after.
template <class Set> struct Class {
  Set members{};
  Set after{};
  Set nodes_after{}; // of the members, too
  Set sockets_after{};
  Set rails_after{};
  int with_rails_after = 0;
};

/// Devices that can be exchanged for this one while only these rails count.
template <class Set> Set alike(const LargeSets<Set> &sets, int device, const Set &rails_free);

/// The classes of a pool, by their lowest ranks.
template <class Set>
std::vector<Class<Set>> classes_of(const LargeSets<Set> &sets, Set pool, const Set &rails_free);

} // namespace plumbline::placement
