#include "topology/ports.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "topology/pci.hpp"
#include "topology/redirect.hpp"

namespace plumbline::topology {

namespace {

// Broadcom (formerly PLX) PEX88000 and PEX89000 switches.
constexpr int broadcom = 0x1000;
constexpr int pex_gen4 = 0xc010;
constexpr int pex_gen5 = 0xc030;

/// What a bridge without readable configuration must be, from what stands above it.
PortType expected_port(std::optional<PortType> above) {
  if (!above) {
    return PortType::root;
  }
  switch (*above) {
  case PortType::root:
  case PortType::downstream:
    return PortType::upstream;
  case PortType::upstream:
    return PortType::downstream;
  default:
    return PortType::bridge;
  }
}

std::vector<PortType> ports_of(const std::vector<PciDevice> &devices, const PciDevice &device) {
  std::vector<PortType> ports;
  for (const auto &address : device.path) {
    const auto *const member = address == device.address ? &device : find_device(devices, address);
    const bool leaf = ports.size() + 1 == device.path.size();
    if (leaf && !is_bridge(device)) {
      ports.push_back(PortType::endpoint);
    } else if (member != nullptr && member->port_type) {
      ports.push_back(*member->port_type);
    } else {
      ports.push_back(expected_port(ports.empty() ? std::nullopt : std::optional{ports.back()}));
    }
  }
  return ports;
}

bool is_pex(const PciDevice &port) {
  return port.vendor_id == broadcom && (port.device_id == pex_gen4 || port.device_id == pex_gen5);
}

/// True when two upstream ports, one directly below the other's downstream port, belong to
/// one Broadcom chip, which presents itself as a switch below a switch.
bool is_false_level(const PciDevice &outer, const PciDevice &inner) {
  if (!is_pex(outer) || outer.vendor_id != inner.vendor_id || outer.device_id != inner.device_id) {
    return false;
  }
  const bool tells_level = outer.device_id == pex_gen5 && outer.subsystem_vendor_id == broadcom &&
                           inner.subsystem_vendor_id == broadcom;
  // With Broadcom's own subsystem ids, gen 5 chips number the level in the highest digit.
  return !tells_level || (outer.subsystem_device_id.value_or(0) / 0x1000 == 0 &&
                          inner.subsystem_device_id.value_or(0x1000) / 0x1000 == 1);
}

/// The upstream port of the nearest switch above the last member of a path.
std::optional<std::string> switch_above(const std::vector<PciDevice> &devices,
                                        const PciDevice &device) {
  const PciDevice *nearest = nullptr;
  std::optional<std::string> address;
  std::size_t nearest_at = 0;
  bool nearest_is_merged = false;
  for (std::size_t i = 0; i + 1 < device.path.size(); ++i) {
    if (device.path_ports[i] != PortType::upstream) {
      continue;
    }
    const auto *const port = find_device(devices, device.path[i]);
    nearest_is_merged = !nearest_is_merged && nearest != nullptr && port != nullptr &&
                        nearest_at + 2 == i && is_false_level(*nearest, *port);
    if (!nearest_is_merged) {
      address = device.path[i];
      nearest = port;
      nearest_at = i;
    }
  }
  return address;
}

/// The smaller of two values, or the one there is.
std::optional<int> least(std::optional<int> a, std::optional<int> b) {
  if (a && b) {
    return std::min(a, b);
  }
  return a ? a : b;
}

LinkCapability narrower(const LinkCapability &a, const LinkCapability &b) {
  return {.generation = least(a.generation, b.generation), .width = least(a.width, b.width)};
}

/// Relative bandwidth of a link; nothing when half of it is not known.
std::optional<int> bandwidth(const LinkCapability &link) {
  // Usable tenths of GB/s for each lane, after line coding, by generation.
  static constexpr std::array per_lane{0, 25, 50, 98, 197, 394, 756, 1512};
  if (!link.generation || !link.width) {
    return std::nullopt;
  }
  return per_lane.at(static_cast<std::size_t>(*link.generation)) * *link.width;
}

/// The links from the device up to its root port, each as narrow as its narrower end.
std::vector<LinkCapability> hops_above(const std::vector<PciDevice> &devices,
                                       const PciDevice &device) {
  std::vector<LinkCapability> hops;
  for (auto i = device.path.size(); i-- > 0;) {
    const auto *const lower = find_device(devices, device.path[i]);
    const auto *const upper = i > 0 ? find_device(devices, device.path[i - 1]) : nullptr;
    const bool inside_switch = i > 0 && device.path_ports[i - 1] == PortType::upstream;
    const bool leads_out = i == 0 && device.path.size() > 1;
    if (inside_switch || leads_out) {
      continue;
    }
    hops.push_back(narrower(lower != nullptr ? lower->max_link : LinkCapability{},
                            upper != nullptr ? upper->max_link : LinkCapability{}));
  }
  return hops;
}

LinkCapability bottleneck(const std::vector<LinkCapability> &hops) {
  LinkCapability narrowest;
  for (const auto &hop : hops) {
    const auto so_far = bandwidth(narrowest);
    const auto here = bandwidth(hop);
    if (here && (!so_far || *here < *so_far)) {
      narrowest = hop;
    } else if (!here && !so_far) {
      narrowest = narrower(narrowest, hop);
    }
  }
  return narrowest;
}

} // namespace

void place_devices(std::vector<PciDevice> &devices) {
  for (auto &device : devices) {
    device.path_ports = ports_of(devices, device);
  }
  for (auto &device : devices) {
    const auto &position = position_of(devices, device);
    device.switch_address = switch_above(devices, position);
    device.path_max_link = bottleneck(hops_above(devices, position));
    device.acs_redirect =
        device.root || &position != &device ? redirect_along(devices, position, 0) : std::nullopt;
    if (!device.numa_node) {
      device.numa_node = position.numa_node;
    }
  }
}

} // namespace plumbline::topology
