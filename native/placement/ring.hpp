// The slowest hop of the best ring through a set: what collectives over the set see.
#pragma once

#include <vector>

#include "placement/machine.hpp"

namespace plumbline::placement {

/// Tier of the best ring through every set, by mask (Held and Karp with the bottleneck in
/// place of the sum). For machines up to exact_up_to devices. A ring of two is the pair.
std::vector<std::uint8_t> ring_tiers(const Machine<Mask> &machine);

} // namespace plumbline::placement
