// Groups of devices that can change places as a whole: sockets of a tray, trays, racks.
#pragma once

#include "placement/twins.hpp"

namespace plumbline::placement {

/// Devices in an order in which those of another block of the family can stand for them.
using Block = std::vector<int>;

/// Two blocks and more: exchanging any two, device by device, changes nothing but the order.
using Family = std::vector<Block>;

/// Families of classes of twins first, then families of what those are joined to.
template <class Set>
std::vector<Family> families_of(const Machine<Set> &machine, const Twins<Set> &twins);

/// Whether exchanging two blocks leaves the sets of devices at the free rails what they are.
template <class Set>
bool keep_free_rails(const Machine<Set> &machine, const Block &a, const Block &b,
                     const Set &rails_free);

} // namespace plumbline::placement
