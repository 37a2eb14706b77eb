// Processes on a GPU: those that machine commands set to work.
#include "mig_handles.hpp"

namespace plumbline::mocknvml {

namespace {

/// The processes of a GPU, or of the instance behind a MIG device's handle.
std::vector<ProcessRecord> processes_of(Device device) {
  const auto place = mig_place_of(device);
  const PartitionRecord partition = place ? ask_mig_device(device).partition : [&] {
    const Query query = ask(device);
    return query.state->partition(query.index);
  }();
  std::vector<ProcessRecord> found;
  for (const ProcessRecord &process : partition.processes) {
    const bool there = !place || (process.gpu_instance == place->gpu_instance &&
                                  process.compute_instance == place->compute_instance);
    if (process.present != 0 && there) {
      found.push_back(process);
    }
  }
  return found;
}

abi::ProcessInfo_v1 first_version(const ProcessRecord &process) {
  return {.pid = process.pid, .usedGpuMemory = process.memory_bytes};
}

abi::ProcessInfo later_version(const ProcessRecord &process) {
  return {.pid = process.pid,
          .usedGpuMemory = process.memory_bytes,
          .gpuInstanceId = process.gpu_instance,
          .computeInstanceId = process.compute_instance};
}

/// Unlike other lists, this one answers a question about the number as a buffer too small.
template <class Info, class Convert>
Return list(Device device, unsigned *count, Info *infos, const Convert &convert) noexcept {
  return guarded([&] {
    std::vector<Info> found;
    for (const ProcessRecord &process : processes_of(device)) {
      found.push_back(convert(process));
    }
    const unsigned room = need(count);
    *count = static_cast<unsigned>(found.size());
    require(room >= found.size(), Return::insufficient_size);
    require(found.empty() || infos != nullptr, Return::invalid_argument);
    std::ranges::copy(found, infos);
  });
}

/// The simulated machine's processes all compute, and none through MPS.
Return none(Device device, unsigned *count) noexcept {
  return guarded([&] {
    processes_of(device);
    need(count) = 0;
  });
}

} // namespace

NVML_CALL(nvmlDeviceGetComputeRunningProcesses)
(Device device, unsigned *count, abi::ProcessInfo_v1 *infos) {
  return list(device, count, infos, first_version);
}
NVML_CALL(nvmlDeviceGetComputeRunningProcesses_v2)
(Device device, unsigned *count, abi::ProcessInfo *infos) {
  return list(device, count, infos, later_version);
}
NVML_CALL(nvmlDeviceGetComputeRunningProcesses_v3)
(Device device, unsigned *count, abi::ProcessInfo *infos) {
  return list(device, count, infos, later_version);
}

#define NO_PROCESSES(kind)                                                                         \
  NVML_CALL(nvmlDeviceGet##kind##RunningProcesses)                                                 \
  (Device device, unsigned *count, abi::ProcessInfo_v1 * /*infos*/) {                              \
    return none(device, count);                                                                    \
  }                                                                                                \
  NVML_CALL(nvmlDeviceGet##kind##RunningProcesses_v2)                                              \
  (Device device, unsigned *count, abi::ProcessInfo * /*infos*/) { return none(device, count); }   \
  NVML_CALL(nvmlDeviceGet##kind##RunningProcesses_v3)                                              \
  (Device device, unsigned *count, abi::ProcessInfo * /*infos*/) { return none(device, count); }

NO_PROCESSES(Graphics)
NO_PROCESSES(MPSCompute)

} // namespace plumbline::mocknvml
