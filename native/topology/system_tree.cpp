#include "topology/system_tree.hpp"

#include "topology/distance.hpp"
#include "topology/nics.hpp"
#include "topology/numa.hpp"
#include "topology/pci.hpp"
#include "topology/ports.hpp"
#include "topology/redirect.hpp"
#include "topology/walker.hpp"
#include "topology/warnings.hpp"

namespace plumbline::topology {

namespace {

std::vector<std::string> addresses_of(const std::vector<PciDevice> &devices,
                                      bool (*is_wanted)(const PciDevice &)) {
  std::vector<std::string> addresses;
  for (const auto &device : devices) {
    if (is_wanted(device)) {
      addresses.push_back(device.address);
    }
  }
  return addresses;
}

} // namespace

const PciDevice *SystemTree::device(std::string_view address) const {
  return find_device(devices, address);
}

std::optional<Distance> SystemTree::distance(std::string_view a, std::string_view b) const {
  const auto *const from = device(a);
  const auto *const to = device(b);
  if (from == nullptr || to == nullptr) {
    return std::nullopt;
  }
  return distance_between(devices, numa_nodes, *from, *to);
}

std::optional<bool> SystemTree::acs_redirect(std::string_view a, std::string_view b) const {
  const auto *const from = device(a);
  const auto *const to = device(b);
  if (from == nullptr || to == nullptr) {
    return std::nullopt;
  }
  return redirect_between(devices, *from, *to);
}

SystemTree read_system(const std::string &root) {
  SystemTree tree;
  Warnings warnings;
  Walker walker{root, warnings};
  if (walker.is_open() && walker.enter_listed({"sys"})) {
    tree.devices = read_pci(walker);
    place_devices(tree.devices);
    tree.nvswitches = addresses_of(tree.devices, is_nvswitch);
    tree.nvmes = addresses_of(tree.devices, is_nvme);
    tree.numa_nodes = read_numa_nodes(walker);
    tree.nics = read_nics(walker, tree.devices);
  }
  tree.warnings = warnings.take();
  return tree;
}

} // namespace plumbline::topology
