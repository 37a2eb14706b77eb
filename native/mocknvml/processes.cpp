// Processes on a GPU. The simulated machine runs none.
#include "boundary.hpp"

namespace plumbline::mocknvml {

namespace {

Return none(Device device, unsigned *count) noexcept {
  return tell(device, count, [](const GpuRecord &) { return 0U; });
}

} // namespace

#define PROCESS_LIST(kind)                                                                         \
  NVML_CALL(nvmlDeviceGet##kind##RunningProcesses)                                                 \
  (Device device, unsigned *count, abi::ProcessInfo_v1 * /*infos*/) {                              \
    return none(device, count);                                                                    \
  }                                                                                                \
  NVML_CALL(nvmlDeviceGet##kind##RunningProcesses_v2)                                              \
  (Device device, unsigned *count, abi::ProcessInfo * /*infos*/) { return none(device, count); }   \
  NVML_CALL(nvmlDeviceGet##kind##RunningProcesses_v3)                                              \
  (Device device, unsigned *count, abi::ProcessInfo * /*infos*/) { return none(device, count); }

PROCESS_LIST(Compute)
PROCESS_LIST(Graphics)
PROCESS_LIST(MPSCompute)

} // namespace plumbline::mocknvml
