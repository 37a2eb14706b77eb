// The layout of every structure of nvml_abi.hpp as text, for the test that
// compares it with what callers compile against.
#include "nvml_abi.hpp"

#include <cstring>
#include <string>

namespace plumbline::mocknvml {

namespace {

using namespace abi;

void add(std::string &out, const char *structure, const char *field, std::size_t offset,
         std::size_t size) {
  out.append(structure).append(" ").append(field).append(" ");
  out.append(std::to_string(offset)).append(" ").append(std::to_string(size)).append("\n");
}

#define EXPAND(...) EXPAND1(EXPAND1(EXPAND1(EXPAND1(__VA_ARGS__))))
#define EXPAND1(...) EXPAND2(EXPAND2(EXPAND2(EXPAND2(__VA_ARGS__))))
#define EXPAND2(...) __VA_ARGS__
#define PARENTHESES ()
#define FIELD(type, name) add(out, #type, #name, offsetof(type, name), sizeof(type::name));
#define EACH(type, name, ...)                                                                      \
  FIELD(type, name) __VA_OPT__(EACH_AGAIN PARENTHESES(type, __VA_ARGS__))
#define EACH_AGAIN() EACH
#define LAYOUT(type, ...)                                                                          \
  add(out, #type, "-", 0, sizeof(type));                                                           \
  EXPAND(EACH(type, __VA_ARGS__))

std::string layout() {
  std::string out;
  LAYOUT(PciInfoLegacy, busId, domain, bus, device, pciDeviceId, pciSubSystemId, reserved0,
         reserved1, reserved2, reserved3)
  LAYOUT(PciInfo, busIdLegacy, domain, bus, device, pciDeviceId, pciSubSystemId, busId)
  LAYOUT(PciInfoExt, version, domain, bus, device, pciDeviceId, pciSubSystemId, baseClass, subClass,
         busId)
  LAYOUT(ExcludedDeviceInfo, pci, uuid)
  LAYOUT(DriverBranchInfo, version, branch)
  LAYOUT(UuidValue, str, bytes)
  LAYOUT(Uuid, version, type, value)
  LAYOUT(Memory, total, free, used)
  LAYOUT(Memory_v2, version, total, reserved, free, used)
  LAYOUT(Bar1Memory, bar1Total, bar1Free, bar1Used)
  LAYOUT(EccErrorCounts, l1Cache, l2Cache, deviceMemory, registerFile)
  LAYOUT(Utilization, gpu, memory)
  LAYOUT(ProcessInfo, pid, usedGpuMemory, gpuInstanceId, computeInstanceId)
  LAYOUT(Temperature, version, sensorType, temperature)
  LAYOUT(C2cModeInfo, isC2cEnabled)
  LAYOUT(AddressingMode, version, value)
  LAYOUT(Value, dVal, uiVal, ulVal, ullVal, sllVal, siVal, usVal)
  LAYOUT(FieldValue, fieldId, scopeId, timestamp, latencyUsec, valueType, nvmlReturn, value)
  LAYOUT(GpuFabricInfo, clusterUuid, status, cliqueId, state)
  LAYOUT(GpuFabricInfo_v2, version, clusterUuid, status, cliqueId, state, healthMask)
  LAYOUT(GpuFabricInfo_v3, version, clusterUuid, status, cliqueId, state, healthMask, healthSummary)
  LAYOUT(PlatformInfo_v1, version, ibGuid, rackGuid, chassisPhysicalSlotNumber, computeSlotIndex,
         nodeIndex, peerType, moduleId)
  LAYOUT(PlatformInfo_v2, version, ibGuid, chassisSerialNumber, slotNumber, trayIndex, hostId,
         peerType, moduleId)
  LAYOUT(PowerValue_v2, version, powerScope, powerValueMw)
  LAYOUT(Placement, start, size)
  LAYOUT(GpuInstanceProfileInfo, id, isP2pSupported, sliceCount, instanceCount, multiprocessorCount,
         copyEngineCount, decoderCount, encoderCount, jpegCount, ofaCount, memorySizeMB)
  LAYOUT(GpuInstanceProfileInfo_v2, version, id, isP2pSupported, sliceCount, instanceCount,
         multiprocessorCount, copyEngineCount, decoderCount, encoderCount, jpegCount, ofaCount,
         memorySizeMB, name)
  LAYOUT(GpuInstanceInfo, device, id, profileId, placement)
  LAYOUT(ComputeInstanceProfileInfo, id, sliceCount, instanceCount, multiprocessorCount,
         sharedCopyEngineCount, sharedDecoderCount, sharedEncoderCount, sharedJpegCount,
         sharedOfaCount)
  LAYOUT(ComputeInstanceProfileInfo_v2, version, id, sliceCount, instanceCount, multiprocessorCount,
         sharedCopyEngineCount, sharedDecoderCount, sharedEncoderCount, sharedJpegCount,
         sharedOfaCount, name)
  LAYOUT(ComputeInstanceInfo, device, gpuInstance, id, profileId, placement)
  LAYOUT(DeviceAttributes, multiprocessorCount, sharedCopyEngineCount, sharedDecoderCount,
         sharedEncoderCount, sharedJpegCount, sharedOfaCount, gpuInstanceSliceCount,
         computeInstanceSliceCount, memorySizeMB)
  LAYOUT(EventData, device, eventType, eventData, gpuInstanceId, computeInstanceId)
  return out;
}

} // namespace

/// Writes lines of `structure field offset size`, `-` for the structure itself. Returns the
/// bytes needed, the terminator included; writes nothing when there is less room.
extern "C" __attribute__((visibility("default"))) std::size_t
plumbline_abi_layout(char *buffer, std::size_t size) noexcept {
  try {
    const std::string text = layout();
    if (buffer != nullptr && size > text.size()) {
      std::memcpy(buffer, text.c_str(), text.size() + 1);
    }
    return text.size() + 1;
  } catch (...) {
    return 0;
  }
}

} // namespace plumbline::mocknvml
