#include "topology/redirect.hpp"

#include <algorithm>

#include "topology/pci.hpp"

namespace plumbline::topology {

std::optional<bool> redirect_along(const std::vector<PciDevice> &devices, const PciDevice &device,
                                   std::size_t first) {
  bool all_readable = true;
  for (auto i = first; i + 1 < device.path.size(); ++i) {
    const auto port = device.path_ports[i];
    if (port != PortType::root && port != PortType::downstream) {
      continue;
    }
    const auto *const bridge = find_device(devices, device.path[i]);
    const auto here = bridge != nullptr ? bridge->port_redirects : std::nullopt;
    if (here == true) {
      return true;
    }
    all_readable = all_readable && here.has_value();
  }
  return all_readable ? std::optional{false} : std::nullopt;
}

std::optional<bool> redirect_between(const std::vector<PciDevice> &devices, const PciDevice &a,
                                     const PciDevice &b) {
  const auto &from = position_of(devices, a);
  const auto &to = position_of(devices, b);
  const auto shared = shared_bridges(from, to);
  if (shared == 0) {
    return false;
  }
  const auto one = redirect_along(devices, from, shared);
  const auto other = redirect_along(devices, to, shared);
  if (one == true || other == true) {
    return true;
  }
  return one && other ? std::optional{false} : std::nullopt;
}

} // namespace plumbline::topology
