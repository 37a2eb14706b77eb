// Modes of a GPU: persistence, compute, ECC, MIG.
#include "boundary.hpp"

namespace plumbline::mocknvml {

namespace {

/// Changes a GPU that answers. Throws what ask() throws, and no_permission.
template <class Edit> Return change(Device device, const Edit &edit) noexcept {
  return guarded([&] {
    const Query query = ask(device);
    query.state->change([&](Draft &draft) {
      GpuRecord &gpu = draft.machine.gpus[query.index];
      require(gpu.lost == Answer::no, Return::gpu_is_lost);
      edit(gpu);
    });
  });
}

Feature need_feature(unsigned mode) {
  require(mode <= 1, Return::invalid_argument);
  return mode == 1 ? Feature::on : Feature::off;
}

/// A mode now, and after the reset that makes the pending one current.
Return tell_modes(Device device, unsigned *current, unsigned *pending, Feature GpuRecord::*mode,
                  Feature GpuRecord::*next) noexcept {
  return guarded([&] {
    const GpuRecord gpu = ask(device).gpu;
    require(current != nullptr && pending != nullptr, Return::invalid_argument);
    require(gpu.*mode != Feature::none, Return::not_supported);
    *current = static_cast<unsigned>(gpu.*mode);
    *pending = static_cast<unsigned>(gpu.*next);
  });
}

} // namespace

NVML_CALL(nvmlDeviceGetPersistenceMode)(Device device, unsigned *mode) {
  return tell(device, mode, [](const GpuRecord &gpu) { return gpu.persistence_mode; });
}

NVML_CALL(nvmlDeviceSetPersistenceMode)(Device device, unsigned mode) {
  return change(device, [mode](GpuRecord &gpu) {
    gpu.persistence_mode = need_feature(mode) == Feature::on ? Switch::on : Switch::off;
  });
}

NVML_CALL(nvmlDeviceGetComputeMode)(Device device, unsigned *mode) {
  return tell(device, mode, [](const GpuRecord &gpu) { return gpu.compute_mode; });
}

NVML_CALL(nvmlDeviceSetComputeMode)(Device device, unsigned mode) {
  constexpr unsigned exclusive_thread = 1; // withdrawn by the driver long ago
  constexpr unsigned modes = 4;
  return change(device, [mode](GpuRecord &gpu) {
    require(mode < modes, Return::invalid_argument);
    require(mode != exclusive_thread, Return::not_supported);
    gpu.compute_mode = static_cast<ComputeMode>(mode);
  });
}

NVML_CALL(nvmlDeviceGetEccMode)(Device device, unsigned *current, unsigned *pending) {
  return tell_modes(device, current, pending, &GpuRecord::ecc_mode, &GpuRecord::ecc_pending);
}

NVML_CALL(nvmlDeviceSetEccMode)(Device device, unsigned mode) {
  return change(device, [mode](GpuRecord &gpu) {
    const Feature wanted = need_feature(mode);
    require(gpu.ecc_mode != Feature::none, Return::not_supported);
    gpu.ecc_pending = wanted; // current only after a reset
  });
}

NVML_CALL(nvmlDeviceGetDefaultEccMode)(Device device, unsigned *mode) {
  return tell(device, mode, [](const GpuRecord &gpu) {
    require(gpu.ecc_mode != Feature::none, Return::not_supported);
    return Feature::on;
  });
}

NVML_CALL(nvmlDeviceClearEccErrorCounts)(Device device, unsigned counter_kind) {
  return change(device, [counter_kind](GpuRecord &gpu) {
    require(counter_kind <= 1, Return::invalid_argument);
    require(gpu.ecc_mode == Feature::on, Return::not_supported);
    gpu.ecc_errors_corrected = 0;
    gpu.ecc_errors_uncorrected = 0;
  });
}

NVML_CALL(nvmlDeviceGetMigMode)(Device device, unsigned *current, unsigned *pending) {
  return tell_modes(device, current, pending, &GpuRecord::mig_mode, &GpuRecord::mig_pending);
}

NVML_CALL(nvmlDeviceSetPowerManagementLimit)(Device device, unsigned limit_mw) {
  return change(device, [limit_mw](GpuRecord &gpu) {
    require(gpu.power_max_limit_mw != 0, Return::not_supported);
    require(limit_mw >= gpu.power_min_limit_mw && limit_mw <= gpu.power_max_limit_mw,
            Return::invalid_argument);
    gpu.power_limit_mw = limit_mw;
  });
}

NVML_CALL(nvmlDeviceSetPowerManagementLimit_v2)(Device device, abi::PowerValue_v2 *value) {
  constexpr std::uint8_t whole_gpu = 0;
  const Return checked = guarded([&] {
    ask(device);
    require(need_version(value, 2).powerScope == whole_gpu, Return::not_supported);
  });
  if (checked != Return::success) {
    return checked;
  }
  return nvmlDeviceSetPowerManagementLimit(device, value->powerValueMw);
}

} // namespace plumbline::mocknvml
