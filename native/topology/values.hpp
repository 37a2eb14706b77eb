// What one look at a sysfs root found: plain values, no behaviour.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace plumbline::topology {

/// How far apart two PCI functions are, nearest first; the values are those of NVML's
/// nvmlGpuTopologyLevel_t.
enum class Distance : std::uint8_t { pix = 10, pxb = 20, phb = 30, node = 40, sys = 50 };

/// What a function is to the PCIe links around it.
enum class PortType : std::uint8_t {
  endpoint,
  root,
  upstream,
  downstream,
  bridge, // to or from conventional PCI
};

/// One end of a PCIe link. Generation 1 is 2.5 GT/s; width counts lanes.
struct LinkCapability {
  std::optional<int> generation;
  std::optional<int> width;
};

struct PciDevice {
  std::string address;
  std::optional<std::string> root;
  /// Addresses from the root port down to the device itself; just the device when the
  /// tree does not show where it is.
  std::vector<std::string> path;
  /// What each member of path is.
  std::vector<PortType> path_ports;
  std::optional<std::string> switch_address;
  std::optional<int> vendor_id;
  std::optional<int> device_id;
  std::optional<int> subsystem_vendor_id;
  std::optional<int> subsystem_device_id;
  std::optional<int> class_code;
  std::optional<int> numa_node;
  LinkCapability max_link;
  LinkCapability current_link;
  LinkCapability path_max_link;
  std::optional<bool> acs_redirect;
  std::optional<int> iommu_group;
  std::optional<std::string> driver;
  std::optional<std::string> physical_function;
  /// From the function's own configuration space, where that is readable.
  std::optional<PortType> port_type;
  std::optional<bool> port_redirects;
};

struct NicPort {
  int number = 0;
  std::optional<std::string> state;
  std::optional<double> rate_gbps;
  std::optional<std::string> link_layer;
};

struct Nic {
  std::string name;
  std::optional<std::string> address;
  bool rdma = false;
  std::vector<std::string> interfaces;
  std::vector<NicPort> ports;
  std::optional<int> numa_node;
  std::optional<std::string> physical_function;
  bool nvlink_management = false;
};

struct NumaNode {
  int id = 0;
  std::vector<int> cpus;
  std::map<int, int> distances;
  std::optional<std::int64_t> memory_bytes;
  std::optional<int> socket;
};

} // namespace plumbline::topology
