// What a GPU is: names, numbers and sizes that never change.
#include "mig_handles.hpp"
#include "mig_profile_info.hpp"

namespace plumbline::mocknvml {

namespace {

/// Writes the text that `get` finds in the GPU.
template <class Get>
Return tell_text(Device device, char *buffer, unsigned length, const Get &get) noexcept {
  return guarded([&] {
    const Query query = ask(device);
    put_text(get(query.gpu), buffer, length);
  });
}

template <std::size_t N> std::string_view known(const OptionalText<N> &text) {
  require(text.present(), Return::not_supported);
  return text.text.view();
}

unsigned known(const OptionalNumber &number) {
  require(number.present != 0, Return::not_supported);
  return number.value;
}

unsigned known(unsigned number) {
  require(number != 0, Return::not_supported);
  return number;
}

} // namespace

NVML_CALL(nvmlDeviceGetName)(Device device, char *name, unsigned length) {
  if (mig_place_of(device)) {
    return guarded([&] {
      const MigQuery query = ask_mig_device(device);
      put_text(std::string(query.gpu.name.view()) + " " +
                   compute_name(query.compute_profile(), query.profile()),
               name, length);
    });
  }
  return tell_text(device, name, length, [](const GpuRecord &gpu) { return gpu.name.view(); });
}

NVML_CALL(nvmlDeviceGetUUID)(Device device, char *uuid, unsigned length) {
  if (mig_place_of(device)) {
    return guarded([&] {
      const MigQuery query = ask_mig_device(device);
      put_text(mig_uuid(query.gpu, query.partition, query.place), uuid, length);
    });
  }
  return tell_text(device, uuid, length, [](const GpuRecord &gpu) { return gpu.uuid.text.view(); });
}

NVML_CALL(nvmlDeviceGetSerial)(Device device, char *serial, unsigned length) {
  return tell_text(device, serial, length, [](const GpuRecord &gpu) { return known(gpu.serial); });
}

NVML_CALL(nvmlDeviceGetBoardPartNumber)(Device device, char *number, unsigned length) {
  return tell_text(device, number, length,
                   [](const GpuRecord &gpu) { return known(gpu.board_part_number); });
}

NVML_CALL(nvmlDeviceGetVbiosVersion)(Device device, char *version, unsigned length) {
  return tell_text(device, version, length,
                   [](const GpuRecord &gpu) { return known(gpu.vbios_version); });
}

NVML_CALL(nvmlDeviceGetBrand)(Device device, unsigned *brand) {
  return tell(device, brand, [](const GpuRecord &gpu) { return gpu.brand; });
}

NVML_CALL(nvmlDeviceGetArchitecture)(Device device, unsigned *architecture) {
  return tell(device, architecture, [](const GpuRecord &gpu) { return gpu.architecture; });
}

NVML_CALL(nvmlDeviceGetCudaComputeCapability)(Device device, int *major, int *minor) {
  return guarded([&] {
    const Query query = ask(device);
    need(major) = static_cast<int>(query.gpu.compute_capability.major);
    need(minor) = static_cast<int>(query.gpu.compute_capability.minor);
  });
}

NVML_CALL(nvmlDeviceGetIndex)(Device device, unsigned *index) {
  return guarded([&] {
    const Query query = ask(device);
    need(index) = static_cast<unsigned>(query.index);
  });
}

NVML_CALL(nvmlDeviceGetMinorNumber)(Device device, unsigned *minor) {
  return tell(device, minor, [](const GpuRecord &gpu) { return gpu.minor; });
}

NVML_CALL(nvmlDeviceGetModuleId)(Device device, unsigned *module) {
  return tell(device, module, [](const GpuRecord &gpu) { return known(gpu.module_id); });
}

NVML_CALL(nvmlDeviceGetBoardId)(Device device, unsigned *board) {
  return tell(device, board, [](const GpuRecord &gpu) { return gpu.board_id; });
}

NVML_CALL(nvmlDeviceGetMultiGpuBoard)(Device device, unsigned *several) {
  return guarded([&] {
    const Query query = ask(device);
    unsigned on_board = 0;
    for (std::size_t other = 0; other < query.state->gpu_count(); ++other) {
      on_board += query.state->gpu(other).board_id == query.gpu.board_id ? 1 : 0;
    }
    need(several) = on_board > 1 ? 1 : 0;
  });
}

NVML_CALL(nvmlDeviceGetNumGpuCores)(Device device, unsigned *cores) {
  return tell(device, cores, [](const GpuRecord &gpu) { return known(gpu.gpu_cores); });
}

NVML_CALL(nvmlDeviceGetMemoryBusWidth)(Device device, unsigned *bits) {
  return tell(device, bits, [](const GpuRecord &gpu) { return known(gpu.memory_bus_width_bits); });
}

NVML_CALL(nvmlDeviceGetNumaNodeId)(Device device, unsigned *node) {
  return tell(device, node, [](const GpuRecord &gpu) { return known(gpu.numa_node_id); });
}

NVML_CALL(nvmlDeviceGetBusType)(Device device, unsigned *type) {
  constexpr unsigned pcie = 2;
  return tell(device, type, [](const GpuRecord &) { return pcie; });
}

NVML_CALL(nvmlDeviceGetVirtualizationMode)(Device device, unsigned *mode) {
  constexpr unsigned bare_metal = 0;
  return tell(device, mode, [](const GpuRecord &) { return bare_metal; });
}

} // namespace plumbline::mocknvml
