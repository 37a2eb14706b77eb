#include "topology/distance.hpp"

#include <algorithm>

#include "topology/pci.hpp"

namespace plumbline::topology {

namespace {

bool is_switch(PortType port) { return port == PortType::upstream || port == PortType::bridge; }

/// Switches between a device and the part of its path that it shares.
auto switches_below(const PciDevice &device, std::size_t shared) {
  const auto &ports = device.path_ports;
  const auto bridges = ports.size() - 1; // the device itself is the last
  return std::ranges::count_if(ports.begin() +
                                   static_cast<std::ptrdiff_t>(std::min(shared, bridges)),
                               ports.end() - 1, is_switch);
}

/// Distance of two functions that share a bridge: the switches on the way decide, and the
/// switch both are below counts when the way turns inside it.
Distance distance_below_bridge(const PciDevice &a, const PciDevice &b, std::size_t shared) {
  const auto turns_in_switch = is_switch(a.path_ports.at(shared - 1)) ? 1 : 0;
  const auto switches = switches_below(a, shared) + switches_below(b, shared) + turns_in_switch;
  return switches <= 1 ? Distance::pix : Distance::pxb;
}

/// Nodes that hold GPU memory only (Grace) are no places a PCI device could be near.
bool is_one_node_machine(const std::vector<NumaNode> &numa_nodes) {
  return std::ranges::count_if(numa_nodes, [](const NumaNode &n) { return !n.cpus.empty(); }) <= 1;
}

Distance distance_across_roots(const std::vector<NumaNode> &numa_nodes, const PciDevice &a,
                               const PciDevice &b) {
  const bool same =
      a.numa_node && b.numa_node ? a.numa_node == b.numa_node : is_one_node_machine(numa_nodes);
  return same ? Distance::node : Distance::sys;
}

} // namespace

Distance distance_between(const std::vector<PciDevice> &devices,
                          const std::vector<NumaNode> &numa_nodes, const PciDevice &a,
                          const PciDevice &b) {
  const auto &from = position_of(devices, a);
  const auto &to = position_of(devices, b);
  if (&from == &to) {
    return Distance::pix;
  }
  if (!from.root || from.root != to.root) {
    return distance_across_roots(numa_nodes, from, to);
  }
  const auto shared = shared_bridges(from, to);
  return shared == 0 ? Distance::phb : distance_below_bridge(from, to, shared);
}

} // namespace plumbline::topology
