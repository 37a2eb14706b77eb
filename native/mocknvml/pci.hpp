// How NVML writes PCI addresses and fills its PCI structures.
#pragma once

#include "nvml_abi.hpp"
#include "values.hpp"

#include <string>

namespace plumbline::mocknvml {

/// What NVML says of one PCI device.
struct PciFacts {
  PciAddress address;
  unsigned device_id;
  unsigned subsystem_id;
};

/// A device NVML cannot name: every number all ones.
PciFacts unknown_device();

/// `00000000:1B:00.0`
std::string bus_id(const PciAddress &address);
/// `0000:1B:00.0`
std::string legacy_bus_id(const PciAddress &address);

abi::PciInfo pci_info(const PciFacts &facts);
abi::PciInfoLegacy pci_info_legacy(const PciFacts &facts);

} // namespace plumbline::mocknvml
