#include "topology/pci.hpp"

#include <algorithm>
#include <utility>

#include "topology/config_space.hpp"
#include "topology/parse.hpp"

namespace plumbline::topology {

namespace {

constexpr int broadcom = 0x1000;
constexpr int nvidia = 0x10de;
constexpr int class_nvswitch = 0x068000; // "other bridge"

Path listing() { return {"sys", "bus", "pci", "devices"}; }

/// Base class and subclass, without the programming interface.
bool has_class(const PciDevice &device, int wanted) {
  return device.class_code && *device.class_code / 0x100 == wanted;
}

struct Listed {
  std::string address;
  Path folder;
};

/// The entries of the listing, ordered by folder, so that neighbours in the tree follow one
/// another.
std::vector<Listed> list_functions(Walker &walker) {
  std::vector<Listed> functions;
  if (!walker.enter(listing())) {
    return functions;
  }
  for (auto &name : walker.entries()) {
    if (!is_pci_address(name)) {
      walker.warn(name, "is not a PCI address.");
      continue;
    }
    const auto target = walker.link(name);
    auto folder = followed(walker.path(), target.value_or(name));
    functions.push_back({.address = std::move(name), .folder = std::move(folder)});
  }
  std::ranges::sort(functions, {}, &Listed::folder);
  return functions;
}

/// Root and path of a device from its folder. The innermost host bridge counts: an Intel VMD
/// controller is a PCI function that holds a host bridge of its own.
void place(PciDevice &device, const Path &folder) {
  const auto bridge = std::ranges::find_if(folder.rbegin(), folder.rend(), is_host_bridge);
  device.path = {device.address};
  device.path_ports = {PortType::endpoint};
  if (bridge == folder.rend()) {
    return;
  }
  std::vector<std::string> path(bridge.base(), folder.end());
  auto sorted = path;
  std::ranges::sort(sorted);
  const bool distinct = std::ranges::adjacent_find(sorted) == sorted.end();
  if (distinct && std::ranges::all_of(path, is_pci_address)) {
    device.root = *bridge;
    device.path = std::move(path);
  }
}

LinkCapability read_link(Walker &walker, const std::string &prefix) {
  return {.generation =
              walker.fact(prefix + "_link_speed", parse_link_generation, "a PCIe link speed"),
          .width = walker.fact(prefix + "_link_width", parse_link_width, "a PCIe link width")};
}

std::optional<int> read_iommu_group(Walker &walker) {
  const auto name = walker.link_name("iommu_group");
  if (!name) {
    return std::nullopt;
  }
  const auto group = parse_iommu_group(*name);
  if (!group.usable) {
    walker.warn_contents("iommu_group", *name, "an IOMMU group");
  }
  return group.value;
}

std::optional<std::string> read_driver(Walker &walker) {
  const auto name = walker.link_name("driver");
  if (!name) {
    return std::nullopt;
  }
  auto driver = parse_word(*name);
  if (!driver.usable) {
    walker.warn_contents("driver", *name, "a driver's name");
  }
  return driver.value;
}

std::optional<std::string> read_physical_function(Walker &walker, const std::string &address) {
  auto name = walker.link_name("physfn");
  if (name && (!is_pci_address(*name) || *name == address)) {
    walker.warn_contents("physfn", *name, "another PCI function");
    return std::nullopt;
  }
  return name;
}

/// The facts that are needed of bridges only.
void read_bridge(Walker &walker, PciDevice &device) {
  const auto port = read_port(walker);
  device.port_type = port.type;
  device.port_redirects = port.redirects;
  if (device.vendor_id == broadcom) {
    device.subsystem_vendor_id = walker.fact("subsystem_vendor", parse_id16, "a PCI id");
    device.subsystem_device_id = walker.fact("subsystem_device", parse_id16, "a PCI id");
  }
}

PciDevice read_function(Walker &walker, std::string address) {
  PciDevice device;
  device.address = std::move(address);
  place(device, walker.path());
  if (!device.root && walker.path() != followed(listing(), device.address)) {
    walker.warn("", "is no place for a PCI function.");
  }
  device.vendor_id = walker.fact("vendor", parse_id16, "a PCI id");
  device.device_id = walker.fact("device", parse_id16, "a PCI id");
  device.class_code = walker.fact("class", parse_class_code, "a PCI class");
  device.numa_node = walker.fact("numa_node", parse_numa_node, "a NUMA node");
  device.max_link = read_link(walker, "max");
  device.current_link = read_link(walker, "current");
  device.iommu_group = read_iommu_group(walker);
  device.driver = read_driver(walker);
  device.physical_function = read_physical_function(walker, device.address);
  if (is_bridge(device)) {
    read_bridge(walker, device);
  }
  return device;
}

} // namespace

std::vector<PciDevice> read_pci(Walker &walker) {
  std::vector<PciDevice> devices;
  for (auto &[address, folder] : list_functions(walker)) {
    if (!walker.enter_listed(folder)) {
      continue;
    }
    // A link may lead to the root itself, whose path has no last name.
    if (walker.path().empty() || walker.path().back() != address) {
      walker.warn("", "is listed as " + address + '.');
      continue;
    }
    devices.push_back(read_function(walker, std::move(address)));
  }
  std::ranges::sort(devices, address_before, &PciDevice::address);
  return devices;
}

const PciDevice *find_device(const std::vector<PciDevice> &devices, std::string_view address) {
  const auto found =
      std::ranges::lower_bound(devices, address, address_before, &PciDevice::address);
  return found != devices.end() && found->address == address ? &*found : nullptr;
}

const PciDevice &position_of(const std::vector<PciDevice> &devices, const PciDevice &device) {
  const auto *const physical =
      device.physical_function ? find_device(devices, *device.physical_function) : nullptr;
  return physical != nullptr ? *physical : device;
}

std::size_t shared_bridges(const PciDevice &a, const PciDevice &b) {
  if (!a.root || a.root != b.root) {
    return 0;
  }
  return static_cast<std::size_t>(std::ranges::mismatch(a.path, b.path).in1 - a.path.begin());
}

bool is_bridge(const PciDevice &device) { return has_class(device, 0x0604); }

bool is_nvswitch(const PciDevice &device) {
  return device.vendor_id == nvidia && device.class_code == class_nvswitch;
}

bool is_nvme(const PciDevice &device) { return has_class(device, 0x0108); }

} // namespace plumbline::topology
