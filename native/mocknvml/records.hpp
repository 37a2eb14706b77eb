// What the simulated driver knows: one plain MachineRecord, kept in shared memory.
//
// Arrays are ordered so that what a machine of n GPUs uses lies at their start.
#pragma once

#include "values.hpp"

#include <type_traits>

namespace plumbline::mocknvml {

inline constexpr std::size_t max_gpus = 64;
inline constexpr std::size_t max_links = 36; // NVML's own limit, Rubin included
inline constexpr std::size_t max_pairs = max_gpus * (max_gpus - 1) / 2;
inline constexpr std::size_t max_mig_profiles = 18;     // NVML_GPU_INSTANCE_PROFILE_COUNT
inline constexpr std::size_t max_gpu_instances = 15;    // of a GPU: the driver's own table
inline constexpr std::size_t max_compute_instances = 8; // of a GPU instance: likewise
inline constexpr std::size_t max_processes = 32;

struct SystemRecord {
  Text<80> driver_version;
  Text<80> nvml_version;
  std::uint32_t cuda_version;
};

struct LinkRecord {
  std::uint32_t present;
  LinkState state;
  std::uint32_t version;
  RemoteType remote_type;
  OptionalPciAddress remote_pci_address;
  std::uint32_t speed_mbps;
};

/// Clocks in MHz, in the order of NVML's clock types.
struct Clocks {
  std::uint32_t graphics;
  std::uint32_t sm;
  std::uint32_t memory;
  std::uint32_t video;
};

struct FabricRecord {
  FabricState state;
  std::uint32_t status;
  RawUuid cluster_uuid;
  std::uint32_t clique_id;
  std::uint32_t health_mask;
};

struct PlatformRecord {
  OptionalText<17> chassis_serial;
  Byte slot_number;
  Byte tray_index;
  Byte host_id;
  Byte peer_type;
  Hexadecimal<16> fabric_guid;
};

struct alignas(8) GpuRecord {
  GpuUuid uuid;
  Text<96> name;
  Brand brand;
  Architecture architecture;
  ComputeCapability compute_capability;
  OptionalText<30> serial;
  OptionalText<80> board_part_number;
  OptionalText<32> vbios_version;
  std::uint32_t minor;
  std::uint32_t board_id;
  OptionalNumber module_id;
  PciAddress pci_address;
  Hexadecimal<8> pci_device_id;
  Hexadecimal<8> pci_subsystem_id;
  Hexadecimal<6> pci_class;
  std::uint64_t memory_total_bytes;
  std::uint64_t memory_reserved_bytes;
  std::uint64_t memory_used_bytes;
  std::uint64_t bar1_total_bytes;
  std::uint64_t bar1_used_bytes;
  std::uint32_t memory_bus_width_bits;
  std::uint32_t gpu_cores;
  Feature ecc_mode;
  Feature ecc_pending;
  Switch persistence_mode;
  ComputeMode compute_mode;
  Feature mig_mode;
  Feature mig_pending;
  Percent utilization_gpu_percent;
  Percent utilization_memory_percent;
  std::uint32_t power_usage_mw;
  std::uint32_t power_limit_mw;
  std::uint32_t power_default_limit_mw;
  std::uint32_t power_min_limit_mw;
  std::uint32_t power_max_limit_mw;
  std::uint32_t temperature_gpu_c;
  std::uint32_t temperature_shutdown_c;
  std::uint32_t temperature_slowdown_c;
  std::uint32_t temperature_max_operating_c;
  Clocks clocks;
  Clocks max_clocks;
  PerformanceState performance_state;
  std::uint32_t pcie_max_generation;
  std::uint32_t pcie_max_width;
  std::uint32_t pcie_device_max_generation;
  std::uint32_t pcie_current_generation;
  std::uint32_t pcie_current_width;
  OptionalNumber numa_node_id;
  CpuSet cpu_affinity;
  CpuSet cpu_affinity_socket;
  NodeSet memory_affinity;
  NodeSet memory_affinity_socket;
  FabricRecord fabric;
  PlatformRecord platform;
  std::uint32_t c2c_links;
  std::uint32_t c2c_max_bandwidth_mbps;
  std::uint64_t ecc_errors_corrected;
  std::uint64_t ecc_errors_uncorrected;
  Answer lost;
  std::array<LinkRecord, max_links> links;
};

/// A size of GPU instance that the GPU offers; its position in the array is its number in
/// NVML's enumeration of profiles.
struct alignas(8) MigProfileRecord {
  std::uint32_t present;
  std::uint32_t id;
  Text<24> name;
  std::uint32_t slices;
  std::uint32_t memory_mib;
  std::uint32_t multiprocessors;
  std::uint32_t copy_engines;
  std::uint32_t decoders;
  std::uint32_t encoders;
  std::uint32_t jpegs;
  std::uint32_t ofas;
  std::uint32_t most;
  Answer p2p;
  /// Where it may begin on the axis of memory slices, and how many of them it takes.
  NumberSet<64> starts;
  std::uint32_t size;
};

struct ComputeInstanceRecord {
  std::uint8_t present;
  std::uint8_t profile; // in NVML's enumeration
  std::uint8_t start;
  std::uint8_t reserved;
  /// Never used before on this GPU: what makes the UUID a new one.
  std::uint32_t serial;
};

/// Its position in the array is its id.
struct GpuInstanceRecord {
  std::uint8_t present;
  std::uint8_t profile; // position in PartitionRecord::profiles
  std::uint8_t start;
  std::array<std::uint8_t, 5> reserved;
  std::array<ComputeInstanceRecord, max_compute_instances> compute;
};

/// A process at work on the GPU, or on one of its instances.
struct ProcessRecord {
  std::uint32_t present;
  std::uint32_t pid;
  std::uint64_t memory_bytes;
  std::uint32_t gpu_instance; // any_instance for the whole GPU
  std::uint32_t compute_instance;
};

/// How a GPU can be divided, how it is, and who is at work on it.
struct alignas(8) PartitionRecord {
  std::array<MigProfileRecord, max_mig_profiles> profiles;
  std::array<GpuInstanceRecord, max_gpu_instances> instances;
  std::array<ProcessRecord, max_processes> processes;
  /// Compute instances ever made.
  std::uint64_t made;
};

struct PairRecord {
  Ancestor ancestor;
  Answer same_board;
  P2pStatus p2p;
};

struct alignas(8) MachineRecord {
  /// Number of events ever published; committed together with the facts they tell of.
  std::uint64_t events_published;
  std::uint32_t gpu_count;
  SystemRecord system;
  std::array<GpuRecord, max_gpus> gpus;
  std::array<PartitionRecord, max_gpus> partitions;
  std::array<PairRecord, max_pairs> pairs;
};

static_assert(std::is_trivially_copyable_v<MachineRecord>);
static_assert(std::is_standard_layout_v<MachineRecord>);

/// Where the pair of GPUs a and b (a != b, in any order) stands in MachineRecord::pairs.
constexpr std::size_t pair_index(std::size_t a, std::size_t b) {
  const std::size_t low = a < b ? a : b;
  const std::size_t high = a < b ? b : a;
  return high * (high - 1) / 2 + low;
}

} // namespace plumbline::mocknvml
