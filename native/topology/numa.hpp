// NUMA nodes: their CPUs, distances, memory and socket.
#pragma once

#include <vector>

#include "topology/values.hpp"
#include "topology/walker.hpp"

namespace plumbline::topology {

/// All nodes by id; none where the kernel has no NUMA support.
std::vector<NumaNode> read_numa_nodes(Walker &walker);

} // namespace plumbline::topology
