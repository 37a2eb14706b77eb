// The driver library's binary interface: return codes, constants and structures.
//
// Sizes, orders and values are those of NVML 13 as nvidia-ml-py declares them;
// tests/native/test_mocknvml_abi.py compares every field. Field names are
// NVML's, because callers, errors and documentation speak of them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace plumbline::mocknvml {

enum class Return : unsigned {
  success = 0,
  uninitialized = 1,
  invalid_argument = 2,
  not_supported = 3,
  no_permission = 4,
  already_initialized = 5,
  not_found = 6,
  insufficient_size = 7,
  insufficient_power = 8,
  driver_not_loaded = 9,
  timeout = 10,
  irq_issue = 11,
  library_not_found = 12,
  function_not_found = 13,
  corrupted_inforom = 14,
  gpu_is_lost = 15,
  reset_required = 16,
  operating_system = 17,
  lib_rm_version_mismatch = 18,
  in_use = 19,
  memory = 20,
  no_data = 21,
  vgpu_ecc_not_supported = 22,
  insufficient_resources = 23,
  freq_not_supported = 24,
  argument_version_mismatch = 25,
  deprecated = 26,
  not_ready = 27,
  gpu_not_found = 28,
  invalid_state = 29,
  reset_type_not_supported = 30,
  unknown = 999,
};

/// A versioned structure carries its size and its version in its first field.
template <class Struct> constexpr unsigned version_tag(unsigned version) {
  return static_cast<unsigned>(sizeof(Struct)) | (version << 24U);
}

inline constexpr unsigned any_instance = 0xffffffffU;
inline constexpr unsigned init_flags_known = 0x7U;
inline constexpr unsigned init_flag_no_gpus = 0x1U;
inline constexpr unsigned link_count_max = 36;

namespace abi {

struct PciInfoLegacy {
  char busId[16];
  unsigned domain;
  unsigned bus;
  unsigned device;
  unsigned pciDeviceId;
  unsigned pciSubSystemId;
  unsigned reserved0;
  unsigned reserved1;
  unsigned reserved2;
  unsigned reserved3;
};

struct PciInfo {
  char busIdLegacy[16];
  unsigned domain;
  unsigned bus;
  unsigned device;
  unsigned pciDeviceId;
  unsigned pciSubSystemId;
  char busId[32];
};

struct PciInfoExt {
  unsigned version;
  unsigned domain;
  unsigned bus;
  unsigned device;
  unsigned pciDeviceId;
  unsigned pciSubSystemId;
  unsigned baseClass;
  unsigned subClass;
  char busId[32];
};

struct ExcludedDeviceInfo {
  PciInfo pci;
  char uuid[80];
};

struct DriverBranchInfo {
  unsigned version;
  char branch[80];
};

union UuidValue {
  char str[41];
  unsigned char bytes[16];
};

struct Uuid {
  unsigned version;
  unsigned type;
  UuidValue value;
};

inline constexpr unsigned uuid_type_ascii = 1;
inline constexpr unsigned uuid_type_binary = 2;

struct Memory {
  unsigned long long total;
  unsigned long long free;
  unsigned long long used;
};

struct Memory_v2 {
  unsigned version;
  unsigned long long total;
  unsigned long long reserved;
  unsigned long long free;
  unsigned long long used;
};

struct Bar1Memory {
  unsigned long long bar1Total;
  unsigned long long bar1Free;
  unsigned long long bar1Used;
};

struct EccErrorCounts {
  unsigned long long l1Cache;
  unsigned long long l2Cache;
  unsigned long long deviceMemory;
  unsigned long long registerFile;
};

struct Utilization {
  unsigned gpu;
  unsigned memory;
};

struct ProcessInfo_v1 {
  unsigned pid;
  unsigned long long usedGpuMemory;
};

struct ProcessInfo {
  unsigned pid;
  unsigned long long usedGpuMemory;
  unsigned gpuInstanceId;
  unsigned computeInstanceId;
};

struct Temperature {
  unsigned version;
  unsigned sensorType;
  int temperature;
};

struct C2cModeInfo {
  unsigned isC2cEnabled;
};

struct AddressingMode {
  unsigned version;
  unsigned value;
};

union Value {
  double dVal;
  unsigned uiVal;
  unsigned long ulVal;
  unsigned long long ullVal;
  long long sllVal;
  int siVal;
  unsigned short usVal;
};

inline constexpr unsigned value_type_unsigned = 1;
inline constexpr unsigned value_type_unsigned_long_long = 3;

struct FieldValue {
  std::uint32_t fieldId;
  std::uint32_t scopeId;
  std::int64_t timestamp;
  std::int64_t latencyUsec;
  unsigned valueType;
  Return nvmlReturn;
  Value value;
};

struct GpuFabricInfo {
  unsigned char clusterUuid[16];
  Return status;
  std::uint32_t cliqueId;
  unsigned state;
};

struct GpuFabricInfo_v2 {
  unsigned version;
  unsigned char clusterUuid[16];
  Return status;
  std::uint32_t cliqueId;
  unsigned state;
  std::uint32_t healthMask;
};

struct GpuFabricInfo_v3 {
  unsigned version;
  unsigned char clusterUuid[16];
  Return status;
  std::uint32_t cliqueId;
  unsigned state;
  std::uint32_t healthMask;
  std::uint8_t healthSummary;
};

struct PlatformInfo_v1 {
  unsigned version;
  unsigned char ibGuid[16];
  unsigned char rackGuid[16];
  unsigned char chassisPhysicalSlotNumber;
  unsigned char computeSlotIndex;
  unsigned char nodeIndex;
  unsigned char peerType;
  unsigned char moduleId;
};

struct PlatformInfo_v2 {
  unsigned version;
  unsigned char ibGuid[16];
  unsigned char chassisSerialNumber[16];
  unsigned char slotNumber;
  unsigned char trayIndex;
  unsigned char hostId;
  unsigned char peerType;
  unsigned char moduleId;
};

struct PowerValue_v2 {
  unsigned version;
  std::uint8_t powerScope;
  unsigned powerValueMw;
};

struct Placement {
  unsigned start;
  unsigned size;
};

struct GpuInstanceProfileInfo {
  unsigned id;
  unsigned isP2pSupported;
  unsigned sliceCount;
  unsigned instanceCount;
  unsigned multiprocessorCount;
  unsigned copyEngineCount;
  unsigned decoderCount;
  unsigned encoderCount;
  unsigned jpegCount;
  unsigned ofaCount;
  unsigned long long memorySizeMB;
};

struct GpuInstanceProfileInfo_v2 {
  unsigned version;
  unsigned id;
  unsigned isP2pSupported;
  unsigned sliceCount;
  unsigned instanceCount;
  unsigned multiprocessorCount;
  unsigned copyEngineCount;
  unsigned decoderCount;
  unsigned encoderCount;
  unsigned jpegCount;
  unsigned ofaCount;
  unsigned long long memorySizeMB;
  char name[96];
};

struct GpuInstanceProfileInfo_v3 {
  unsigned version;
  unsigned id;
  unsigned sliceCount;
  unsigned instanceCount;
  unsigned multiprocessorCount;
  unsigned copyEngineCount;
  unsigned decoderCount;
  unsigned encoderCount;
  unsigned jpegCount;
  unsigned ofaCount;
  unsigned long long memorySizeMB;
  char name[96];
  unsigned capabilities;
};

inline constexpr unsigned profile_capability_p2p = 0x1;

struct GpuInstanceInfo {
  const void *device;
  unsigned id;
  unsigned profileId;
  Placement placement;
};

struct ComputeInstanceProfileInfo {
  unsigned id;
  unsigned sliceCount;
  unsigned instanceCount;
  unsigned multiprocessorCount;
  unsigned sharedCopyEngineCount;
  unsigned sharedDecoderCount;
  unsigned sharedEncoderCount;
  unsigned sharedJpegCount;
  unsigned sharedOfaCount;
};

struct ComputeInstanceProfileInfo_v2 {
  unsigned version;
  unsigned id;
  unsigned sliceCount;
  unsigned instanceCount;
  unsigned multiprocessorCount;
  unsigned sharedCopyEngineCount;
  unsigned sharedDecoderCount;
  unsigned sharedEncoderCount;
  unsigned sharedJpegCount;
  unsigned sharedOfaCount;
  char name[96];
};

struct ComputeInstanceProfileInfo_v3 {
  unsigned version;
  unsigned id;
  unsigned sliceCount;
  unsigned instanceCount;
  unsigned multiprocessorCount;
  unsigned sharedCopyEngineCount;
  unsigned sharedDecoderCount;
  unsigned sharedEncoderCount;
  unsigned sharedJpegCount;
  unsigned sharedOfaCount;
  char name[96];
  unsigned capabilities;
};

struct ComputeInstanceInfo {
  const void *device;
  const void *gpuInstance;
  unsigned id;
  unsigned profileId;
  Placement placement;
};

struct DeviceAttributes {
  unsigned multiprocessorCount;
  unsigned sharedCopyEngineCount;
  unsigned sharedDecoderCount;
  unsigned sharedEncoderCount;
  unsigned sharedJpegCount;
  unsigned sharedOfaCount;
  unsigned gpuInstanceSliceCount;
  unsigned computeInstanceSliceCount;
  unsigned long long memorySizeMB;
};

struct EventData {
  const void *device;
  unsigned long long eventType;
  unsigned long long eventData;
  unsigned gpuInstanceId;
  unsigned computeInstanceId;
};

} // namespace abi

namespace event_type {
inline constexpr std::uint64_t ecc_single = 0x1;
inline constexpr std::uint64_t ecc_double = 0x2;
inline constexpr std::uint64_t pstate = 0x4;
inline constexpr std::uint64_t xid = 0x8;
inline constexpr std::uint64_t clock = 0x10;
inline constexpr std::uint64_t power_source = 0x80;
inline constexpr std::uint64_t mig_config = 0x100;
inline constexpr std::uint64_t known = 0xff9f; // every type of NVML 13
} // namespace event_type

} // namespace plumbline::mocknvml
