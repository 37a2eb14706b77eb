// The GPU's place beyond its machine: NVLink fabric, rack, link to the CPU.
#include "boundary.hpp"

#include <cstring>

namespace plumbline::mocknvml {

namespace {

/// Fabrics came with Hopper.
const FabricRecord &need_fabric(const GpuRecord &gpu) {
  require(gpu.architecture >= Architecture::hopper, Return::not_supported);
  return gpu.fabric;
}

/// The fields that every version of the structure has.
void put_fabric(const FabricRecord &fabric, auto &info) {
  std::memcpy(info.clusterUuid, fabric.cluster_uuid.bytes.data(), sizeof(info.clusterUuid));
  info.status = static_cast<Return>(fabric.status);
  info.cliqueId = fabric.clique_id;
  info.state = static_cast<unsigned>(fabric.state);
}

/// What the health mask amounts to. A degraded link or a bad route is a fault; the other
/// facts of the mask do not stop the fabric.
std::uint8_t health_summary(std::uint32_t mask) {
  constexpr std::uint8_t not_supported = 0;
  constexpr std::uint8_t healthy = 1;
  constexpr std::uint8_t unhealthy = 2;
  constexpr std::uint8_t limited_capacity = 3;
  constexpr std::uint32_t yes = 1;
  const auto fact = [mask](unsigned shift) { return (mask >> shift) & 0x3U; };
  if (mask == 0) {
    return not_supported;
  }
  const bool misconfigured = ((mask >> 8U) & 0xfU) > 1;
  if (fact(4) == yes || misconfigured) { // a route is unhealthy
    return unhealthy;
  }
  return fact(0) == yes ? limited_capacity : healthy; // bandwidth is degraded
}

const PlatformRecord &need_platform(const GpuRecord &gpu) {
  require(gpu.platform.chassis_serial.present(), Return::not_supported);
  return gpu.platform;
}

/// The GUID in the order in which it is written, as on the wire.
void put_guid(std::uint64_t guid, unsigned char (&bytes)[16]) {
  std::memset(bytes, 0, sizeof(bytes));
  for (unsigned i = 0; i < 8; ++i) {
    bytes[i] = static_cast<unsigned char>(guid >> (56U - 8U * i));
  }
}

void put_serial(std::string_view serial, unsigned char (&bytes)[16]) {
  std::memset(bytes, 0, sizeof(bytes));
  std::memcpy(bytes, serial.data(), std::min(serial.size(), sizeof(bytes)));
}

unsigned char byte_of(std::uint32_t value) { return static_cast<unsigned char>(value); }

void put_platform(const GpuRecord &gpu, abi::PlatformInfo_v2 &info) {
  const PlatformRecord &platform = need_platform(gpu);
  put_guid(platform.fabric_guid.value, info.ibGuid);
  put_serial(platform.chassis_serial.text.view(), info.chassisSerialNumber);
  info.slotNumber = byte_of(platform.slot_number.value);
  info.trayIndex = byte_of(platform.tray_index.value);
  info.hostId = byte_of(platform.host_id.value);
  info.peerType = byte_of(platform.peer_type.value);
  info.moduleId = byte_of(gpu.module_id.value);
}

} // namespace

NVML_CALL(nvmlDeviceGetGpuFabricInfo)(Device device, abi::GpuFabricInfo *info) {
  return guarded([&] {
    const GpuRecord gpu = ask(device).gpu;
    put_fabric(need_fabric(gpu), need(info));
  });
}

NVML_CALL(nvmlDeviceGetGpuFabricInfoV)(Device device, abi::GpuFabricInfo_v2 *info) {
  return guarded([&] {
    const GpuRecord gpu = ask(device).gpu;
    const FabricRecord &fabric = need_fabric(gpu);
    const unsigned version = need(info).version;
    if (version == version_tag<abi::GpuFabricInfo_v2>(2)) {
      put_fabric(fabric, *info);
      info->healthMask = fabric.health_mask;
    } else {
      // One entry point for all versions: the tag says which structure this really is.
      auto &newer = need_version(reinterpret_cast<abi::GpuFabricInfo_v3 *>(info), 3);
      put_fabric(fabric, newer);
      newer.healthMask = fabric.health_mask;
      newer.healthSummary = health_summary(fabric.health_mask);
    }
  });
}

NVML_CALL(nvmlDeviceGetPlatformInfo)(Device device, abi::PlatformInfo_v2 *info) {
  return guarded([&] {
    const GpuRecord gpu = ask(device).gpu;
    // Both versions have the same shape and the same facts, the first under other names.
    const unsigned version = need(info).version;
    require(version == version_tag<abi::PlatformInfo_v2>(2) ||
                version == version_tag<abi::PlatformInfo_v1>(1),
            Return::argument_version_mismatch);
    put_platform(gpu, *info);
  });
}

NVML_CALL(nvmlDeviceGetC2cModeInfoV)(Device device, abi::C2cModeInfo *info) {
  return guarded([&] {
    const GpuRecord gpu = ask(device).gpu;
    need(info).isC2cEnabled = gpu.c2c_links > 0 ? 1 : 0;
  });
}

NVML_CALL(nvmlDeviceGetAddressingMode)(Device device, abi::AddressingMode *mode) {
  constexpr unsigned none = 0;
  constexpr unsigned address_translation_services = 2;
  return guarded([&] {
    const GpuRecord gpu = ask(device).gpu;
    abi::AddressingMode &target = need_version(mode, 1);
    target.value = gpu.numa_node_id.present != 0 ? address_translation_services : none;
  });
}

} // namespace plumbline::mocknvml
