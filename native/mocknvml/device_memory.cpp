// Memory: how much, and what went wrong in it.
#include "mig_handles.hpp"

#include <span>

namespace plumbline::mocknvml {

namespace {

constexpr unsigned corrected = 0;
constexpr unsigned uncorrected = 1;
constexpr unsigned counter_kinds = 2; // since the driver was loaded, and since manufacture

std::uint64_t free_bytes(const GpuRecord &gpu) {
  return gpu.memory_total_bytes - gpu.memory_reserved_bytes - gpu.memory_used_bytes;
}

/// The memory of a MIG device is that of its GPU instance: compute instances share it.
abi::Memory mig_memory(const MigQuery &query) {
  const std::uint64_t total = std::uint64_t{query.profile().memory_mib} << 20U;
  std::uint64_t used = 0;
  for (const ProcessRecord &process : query.partition.processes) {
    if (process.present != 0 && process.gpu_instance == query.place.gpu_instance) {
      used += process.memory_bytes;
    }
  }
  used = std::min(used, total);
  return {.total = total, .free = total - used, .used = used};
}

/// Rows are remapped since Ampere; before, pages were retired.
bool remaps_rows(const GpuRecord &gpu) { return gpu.architecture >= Architecture::ampere; }

std::uint64_t ecc_errors(const GpuRecord &gpu, unsigned error_kind, unsigned counter_kind) {
  require(error_kind <= uncorrected && counter_kind < counter_kinds, Return::invalid_argument);
  require(gpu.ecc_mode == Feature::on, Return::not_supported);
  return error_kind == corrected ? gpu.ecc_errors_corrected : gpu.ecc_errors_uncorrected;
}

} // namespace

NVML_CALL(nvmlDeviceGetMemoryInfo)(Device device, abi::Memory *memory) {
  if (mig_place_of(device)) {
    return guarded([&] { need(memory) = mig_memory(ask_mig_device(device)); });
  }
  return guarded([&] {
    const GpuRecord gpu = ask(device).gpu;
    // The first version has no word for reserved memory and counts it as used.
    need(memory) = {.total = gpu.memory_total_bytes,
                    .free = free_bytes(gpu),
                    .used = gpu.memory_reserved_bytes + gpu.memory_used_bytes};
  });
}

NVML_CALL(nvmlDeviceGetMemoryInfo_v2)(Device device, abi::Memory_v2 *memory) {
  if (mig_place_of(device)) {
    return guarded([&] {
      const abi::Memory found = mig_memory(ask_mig_device(device));
      abi::Memory_v2 &target = need_version(memory, 2);
      target.total = found.total;
      target.reserved = 0;
      target.free = found.free;
      target.used = found.used;
    });
  }
  return guarded([&] {
    const GpuRecord gpu = ask(device).gpu;
    abi::Memory_v2 &target = need_version(memory, 2);
    target.total = gpu.memory_total_bytes;
    target.reserved = gpu.memory_reserved_bytes;
    target.free = free_bytes(gpu);
    target.used = gpu.memory_used_bytes;
  });
}

NVML_CALL(nvmlDeviceGetBAR1MemoryInfo)(Device device, abi::Bar1Memory *memory) {
  return guarded([&] {
    const GpuRecord gpu = ask(device).gpu;
    require(gpu.bar1_total_bytes != 0, Return::not_supported);
    need(memory) = {.bar1Total = gpu.bar1_total_bytes,
                    .bar1Free = gpu.bar1_total_bytes - gpu.bar1_used_bytes,
                    .bar1Used = gpu.bar1_used_bytes};
  });
}

NVML_CALL(nvmlDeviceGetTotalEccErrors)
(Device device, unsigned error_kind, unsigned counter_kind, unsigned long long *count) {
  return tell(device, count,
              [&](const GpuRecord &gpu) { return ecc_errors(gpu, error_kind, counter_kind); });
}

NVML_CALL(nvmlDeviceGetMemoryErrorCounter)
(Device device, unsigned error_kind, unsigned counter_kind, unsigned location,
 unsigned long long *count) {
  constexpr unsigned dram = 2;
  constexpr unsigned locations = 8;
  return tell(device, count, [&](const GpuRecord &gpu) {
    require(location < locations, Return::invalid_argument);
    const std::uint64_t errors = ecc_errors(gpu, error_kind, counter_kind);
    return location == dram ? errors : 0; // the model's errors all happen in device memory
  });
}

NVML_CALL(nvmlDeviceGetDetailedEccErrors)
(Device device, unsigned error_kind, unsigned counter_kind, abi::EccErrorCounts *counts) {
  return guarded([&] {
    const GpuRecord gpu = ask(device).gpu;
    need(counts) = {.l1Cache = 0,
                    .l2Cache = 0,
                    .deviceMemory = ecc_errors(gpu, error_kind, counter_kind),
                    .registerFile = 0};
  });
}

NVML_CALL(nvmlDeviceGetRemappedRows)
(Device device, unsigned *correctable, unsigned *uncorrectable, unsigned *pending,
 unsigned *failed) {
  return guarded([&] {
    const GpuRecord gpu = ask(device).gpu;
    require(correctable != nullptr && uncorrectable != nullptr && pending != nullptr &&
                failed != nullptr,
            Return::invalid_argument);
    require(remaps_rows(gpu), Return::not_supported);
    *correctable = *uncorrectable = *pending = *failed = 0;
  });
}

NVML_CALL(nvmlDeviceGetRetiredPagesPendingStatus)(Device device, unsigned *pending) {
  return tell(device, pending, [](const GpuRecord &gpu) {
    require(!remaps_rows(gpu), Return::not_supported);
    return 0U;
  });
}

NVML_CALL(nvmlDeviceGetRetiredPages)
(Device device, unsigned /*cause*/, unsigned *count, unsigned long long * /*addresses*/) {
  return nvmlDeviceGetRetiredPagesPendingStatus(device, count);
}

NVML_CALL(nvmlDeviceGetRetiredPages_v2)
(Device device, unsigned /*cause*/, unsigned *count, unsigned long long * /*addresses*/,
 unsigned long long * /*times*/) {
  return nvmlDeviceGetRetiredPagesPendingStatus(device, count);
}

} // namespace plumbline::mocknvml
