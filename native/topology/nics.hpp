// Network functions: RDMA devices and network interfaces, joined where they are one function.
#pragma once

#include <vector>

#include "topology/values.hpp"
#include "topology/walker.hpp"

namespace plumbline::topology {

/// All NICs in natural order of their names. Interfaces without a PCI function (lo, veth,
/// bonds, bridges) and switch representors are left out.
std::vector<Nic> read_nics(Walker &walker, const std::vector<PciDevice> &devices);

} // namespace plumbline::topology
