// Devices that can be exchanged for each other without changing anything but the order.
#pragma once

#include "placement/machine.hpp"

namespace plumbline::placement {

/// The twins of each device, itself included. What only one device has (a node, a rail of its
/// own) makes no difference to others that have as many of their own.
using Twins = std::array<Mask, max_devices>;

Twins twins_of(const Machine &machine);

} // namespace plumbline::placement
