// Network interfaces with hardware behind them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "topology/class_devices.hpp"
#include "topology/values.hpp"
#include "topology/walker.hpp"

namespace plumbline::topology {

struct Interface {
  std::string name;
  /// The port it speaks for; its state in the words of an RDMA port.
  NicPort port;
};

using Interfaces = std::map<Hardware, std::vector<Interface>>;

/// Interfaces by hardware, each list by port and then in natural order of names. Without lo,
/// veth, bonds and bridges, which have no hardware, and without switch representors.
Interfaces read_interfaces(Walker &walker);

} // namespace plumbline::topology
