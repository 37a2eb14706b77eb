// How far two functions are apart, in nvidia-smi's vocabulary.
#pragma once

#include <vector>

#include "topology/values.hpp"

namespace plumbline::topology {

/// The distance of two functions of one machine.
Distance distance_between(const std::vector<PciDevice> &devices,
                          const std::vector<NumaNode> &numa_nodes, const PciDevice &a,
                          const PciDevice &b);

} // namespace plumbline::topology
