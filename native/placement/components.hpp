// Which devices hang together over fast pairs.
#pragma once

#include <vector>

#include "placement/machine.hpp"

namespace plumbline::placement {

/// Devices that are joined, directly or over others, by pairs of a tier and faster.
template <class Set> struct Component {
  int tier = 0;
  Set devices{};
};

/// All components of two devices and more, the fastest first: at most one less than devices.
/// Whatever lies in one set at a tier lies in one component of that tier.
template <class Set> std::vector<Component<Set>> components_of(const Machine<Set> &machine);

} // namespace plumbline::placement
