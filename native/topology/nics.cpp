#include "topology/nics.hpp"

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "topology/class_devices.hpp"
#include "topology/interfaces.hpp"
#include "topology/parse.hpp"
#include "topology/pci.hpp"

namespace plumbline::topology {

namespace {

constexpr int mellanox = 0x15b3;
// Vital product data is at most 32 KiB (PCI Local Bus 3.0, appendix I).
constexpr std::size_t longest_vital_data = 65536;
// NVIDIA's fabric manager finds the functions it speaks to NVSwitches through by this text.
constexpr std::string_view switch_management_tag = "SW_MNG";

std::vector<NicPort> read_rdma_ports(Walker &walker, Path folder) {
  std::vector<NicPort> ports;
  folder.emplace_back("ports");
  if (!walker.enter(folder)) {
    return ports;
  }
  for (const auto &name : walker.entries()) {
    const auto number = parse_port_index(name);
    if (!number.value) {
      walker.warn(name, "is not a port number.");
      continue;
    }
    auto port_folder = folder;
    port_folder.push_back(name);
    if (walker.enter_listed(port_folder)) {
      ports.push_back({.number = *number.value,
                       .state = walker.fact("state", parse_port_state, "a port state"),
                       .rate_gbps = walker.fact("rate", parse_port_rate, "a port rate"),
                       .link_layer = walker.fact("link_layer", parse_word, "a link layer")});
    }
  }
  std::ranges::sort(ports, {}, &NicPort::number);
  return ports;
}

void locate(Nic &nic, const std::string &address, const std::vector<PciDevice> &devices) {
  nic.address = address;
  const auto *const device = find_device(devices, address);
  if (device != nullptr) {
    nic.numa_node = device->numa_node;
    nic.physical_function = device->physical_function;
  }
}

std::vector<std::string> names_of(const std::vector<Interface> &interfaces) {
  std::vector<std::string> names;
  std::ranges::transform(interfaces, std::back_inserter(names), &Interface::name);
  return names;
}

/// Takes the interfaces that belong to an RDMA device out of those that stand alone.
std::vector<std::string> claim(const Hardware &hardware, const Interfaces &interfaces,
                               std::set<Hardware> &claimed) {
  const auto found = interfaces.find(hardware);
  if (found == interfaces.end()) {
    return {};
  }
  claimed.insert(hardware);
  return names_of(found->second);
}

std::vector<Nic> read_rdma_devices(Walker &walker, const std::vector<PciDevice> &devices,
                                   const Interfaces &interfaces, std::set<Hardware> &claimed) {
  std::vector<Nic> nics;
  for (const auto &member : list_class(walker, "infiniband")) {
    if (!walker.enter_listed(member.folder)) {
      continue;
    }
    Nic nic;
    nic.name = member.name;
    nic.rdma = true;
    if (const auto hardware = hardware_here(walker)) {
      locate(nic, hardware->address, devices);
      nic.interfaces = claim(*hardware, interfaces, claimed);
    }
    nic.ports = read_rdma_ports(walker, walker.path());
    nics.push_back(std::move(nic));
  }
  return nics;
}

Nic plain_nic(const Hardware &hardware, const std::vector<Interface> &interfaces,
              const std::vector<PciDevice> &devices) {
  Nic nic;
  nic.name = interfaces.front().name;
  nic.interfaces = names_of(interfaces);
  locate(nic, hardware.address, devices);
  std::ranges::transform(interfaces, std::back_inserter(nic.ports), &Interface::port);
  return nic;
}

/// Whether the function at this address could manage NVSwitches. Boards whose NVSwitches are
/// PCI functions themselves (up to Hopper) have no such NICs; knowing that saves reading vital
/// product data there, which takes milliseconds for each function.
bool may_manage_nvlink(const std::string &address, const std::vector<PciDevice> &devices) {
  const auto *const device = find_device(devices, address);
  return device != nullptr && device->vendor_id == mellanox && !device->physical_function &&
         std::ranges::none_of(devices, is_nvswitch);
}

bool manages_nvlink(Walker &walker, const std::string &address) {
  if (!walker.enter({"sys", "bus", "pci", "devices", address})) {
    return false;
  }
  const auto data = walker.text("vpd", longest_vital_data, Refusal::usual);
  return data && data->find(switch_management_tag) != std::string::npos;
}

} // namespace

std::vector<Nic> read_nics(Walker &walker, const std::vector<PciDevice> &devices) {
  const auto interfaces = read_interfaces(walker);
  std::set<Hardware> claimed;
  auto nics = read_rdma_devices(walker, devices, interfaces, claimed);
  for (auto &nic : nics) {
    nic.nvlink_management = nic.address && may_manage_nvlink(*nic.address, devices) &&
                            manages_nvlink(walker, *nic.address);
  }
  for (const auto &[hardware, members] : interfaces) {
    if (!claimed.contains(hardware)) {
      nics.push_back(plain_nic(hardware, members, devices));
    }
  }
  std::ranges::sort(nics, natural_before, &Nic::name);
  return nics;
}

} // namespace plumbline::topology
