// Devices that can be exchanged for each other without changing anything but the order.
#pragma once

#include "placement/machine.hpp"

namespace plumbline::placement {

/// The twins of each device, itself included. What only one device has (a node, a rail of its
/// own) makes no difference to others that have as many of their own.
template <class Set> using Twins = std::array<Set, capacity<Set>>;

template <class Set> Twins<Set> twins_of(const Machine<Set> &machine);

} // namespace plumbline::placement
