// The functions below sys/bus/pci/devices: each with its own facts and its place in the tree.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "topology/values.hpp"
#include "topology/walker.hpp"

namespace plumbline::topology {

/// All functions, by address. Facts that depend on other functions (ports, switches,
/// bottlenecks) are left for place_devices in ports.hpp.
std::vector<PciDevice> read_pci(Walker &walker);

/// The function with this address in a list ordered by address.
const PciDevice *find_device(const std::vector<PciDevice> &devices, std::string_view address);

/// Where a function counts as being: a virtual function is where its physical one is.
const PciDevice &position_of(const std::vector<PciDevice> &devices, const PciDevice &device);
const PciDevice &position_of(const std::vector<PciDevice> &devices, PciDevice &&device) = delete;

/// How many members the paths of two functions share, from the host bridge down.
std::size_t shared_bridges(const PciDevice &a, const PciDevice &b);

/// True for PCI-to-PCI bridges, which all PCIe ports are (class 0x0604).
bool is_bridge(const PciDevice &device);
/// True for NVSwitches that are PCI functions (up to Hopper boards).
bool is_nvswitch(const PciDevice &device);
/// True for NVMe controllers (class 0x0108).
bool is_nvme(const PciDevice &device);

} // namespace plumbline::topology
