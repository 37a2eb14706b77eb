// What a GPU is doing: utilisation, power, temperature, clocks.
#include "boundary.hpp"

namespace plumbline::mocknvml {

namespace {

constexpr unsigned sensor_gpu = 0;

/// NVML's clock types in order: graphics, SM, memory, video.
constexpr std::array clock_types{&Clocks::graphics, &Clocks::sm, &Clocks::memory, &Clocks::video};

unsigned clock_of(const Clocks &clocks, unsigned type) {
  require(type < clock_types.size(), Return::invalid_argument);
  return clocks.*clock_types[type];
}

/// A clock that has no maximum does not exist.
unsigned clock_of(const GpuRecord &gpu, const Clocks &clocks, unsigned type) {
  const unsigned value = clock_of(clocks, type);
  require(value != 0 || clock_of(gpu.max_clocks, type) != 0, Return::not_supported);
  return value;
}

unsigned power_limit(const GpuRecord &gpu, unsigned limit) {
  require(gpu.power_max_limit_mw != 0, Return::not_supported);
  return limit;
}

unsigned temperature(const GpuRecord &gpu, unsigned sensor) {
  require(sensor == sensor_gpu, Return::invalid_argument);
  return gpu.temperature_gpu_c;
}

unsigned threshold(const GpuRecord &gpu, unsigned kind) {
  constexpr unsigned shutdown = 0;
  constexpr unsigned slowdown = 1;
  constexpr unsigned gpu_max = 3;
  constexpr unsigned kinds = 8;
  require(kind < kinds, Return::invalid_argument);
  if (kind == shutdown) {
    return gpu.temperature_shutdown_c;
  }
  if (kind == slowdown) {
    return gpu.temperature_slowdown_c;
  }
  require(kind == gpu_max, Return::not_supported);
  return gpu.temperature_max_operating_c;
}

} // namespace

NVML_CALL(nvmlDeviceGetUtilizationRates)(Device device, abi::Utilization *utilization) {
  return guarded([&] {
    const GpuRecord gpu = ask(device).gpu;
    need(utilization);
    require(gpu.mig_mode != Feature::on, Return::not_supported); // only its instances know
    *utilization = {.gpu = gpu.utilization_gpu_percent.value,
                    .memory = gpu.utilization_memory_percent.value};
  });
}

NVML_CALL(nvmlDeviceGetPowerUsage)(Device device, unsigned *milliwatts) {
  return tell(device, milliwatts, [](const GpuRecord &gpu) {
    require(gpu.power_usage_mw != 0 || gpu.power_max_limit_mw != 0, Return::not_supported);
    return gpu.power_usage_mw;
  });
}

NVML_CALL(nvmlDeviceGetPowerManagementMode)(Device device, unsigned *mode) {
  return tell(device, mode, [](const GpuRecord &gpu) { return power_limit(gpu, 1); });
}

NVML_CALL(nvmlDeviceGetPowerManagementLimit)(Device device, unsigned *milliwatts) {
  return tell(device, milliwatts,
              [](const GpuRecord &gpu) { return power_limit(gpu, gpu.power_limit_mw); });
}

NVML_CALL(nvmlDeviceGetEnforcedPowerLimit)(Device device, unsigned *milliwatts) {
  return nvmlDeviceGetPowerManagementLimit(device, milliwatts);
}

NVML_CALL(nvmlDeviceGetPowerManagementDefaultLimit)(Device device, unsigned *milliwatts) {
  return tell(device, milliwatts,
              [](const GpuRecord &gpu) { return power_limit(gpu, gpu.power_default_limit_mw); });
}

NVML_CALL(nvmlDeviceGetPowerManagementLimitConstraints)
(Device device, unsigned *minimum, unsigned *maximum) {
  return guarded([&] {
    const GpuRecord gpu = ask(device).gpu;
    require(minimum != nullptr && maximum != nullptr, Return::invalid_argument);
    *minimum = power_limit(gpu, gpu.power_min_limit_mw);
    *maximum = gpu.power_max_limit_mw;
  });
}

NVML_CALL(nvmlDeviceGetTemperature)(Device device, unsigned sensor, unsigned *celsius) {
  return tell(device, celsius, [&](const GpuRecord &gpu) { return temperature(gpu, sensor); });
}

NVML_CALL(nvmlDeviceGetTemperatureV)(Device device, abi::Temperature *reading) {
  return guarded([&] {
    const GpuRecord gpu = ask(device).gpu;
    abi::Temperature &target = need_version(reading, 1);
    target.temperature = static_cast<int>(temperature(gpu, target.sensorType));
  });
}

NVML_CALL(nvmlDeviceGetTemperatureThreshold)(Device device, unsigned kind, unsigned *celsius) {
  return tell(device, celsius, [&](const GpuRecord &gpu) { return threshold(gpu, kind); });
}

NVML_CALL(nvmlDeviceGetClockInfo)(Device device, unsigned type, unsigned *megahertz) {
  return tell(device, megahertz,
              [&](const GpuRecord &gpu) { return clock_of(gpu, gpu.clocks, type); });
}

NVML_CALL(nvmlDeviceGetMaxClockInfo)(Device device, unsigned type, unsigned *megahertz) {
  return tell(device, megahertz,
              [&](const GpuRecord &gpu) { return clock_of(gpu, gpu.max_clocks, type); });
}

NVML_CALL(nvmlDeviceGetMaxCustomerBoostClock)(Device device, unsigned type, unsigned *megahertz) {
  return nvmlDeviceGetMaxClockInfo(device, type, megahertz);
}

NVML_CALL(nvmlDeviceGetClock)(Device device, unsigned type, unsigned id, unsigned *megahertz) {
  constexpr unsigned current = 0;
  constexpr unsigned customer_boost_max = 3;
  constexpr unsigned ids = 4;
  return tell(device, megahertz, [&](const GpuRecord &gpu) {
    require(id < ids, Return::invalid_argument);
    require(id == current || id == customer_boost_max, Return::not_supported);
    return clock_of(gpu, id == current ? gpu.clocks : gpu.max_clocks, type);
  });
}

NVML_CALL(nvmlDeviceGetPerformanceState)(Device device, unsigned *state) {
  return tell(device, state, [](const GpuRecord &gpu) { return gpu.performance_state.value; });
}

NVML_CALL(nvmlDeviceGetPowerState)(Device device, unsigned *state) {
  return nvmlDeviceGetPerformanceState(device, state);
}

} // namespace plumbline::mocknvml
