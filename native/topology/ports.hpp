// What the tree around each function says about it: ports, switches, bottleneck, redirection.
#pragma once

#include <vector>

#include "topology/values.hpp"

namespace plumbline::topology {

/// Fills path_ports, switch_address, path_max_link and acs_redirect of every device.
void place_devices(std::vector<PciDevice> &devices);

} // namespace plumbline::topology
