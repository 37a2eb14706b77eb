// MIG devices: a compute instance with the GPU instance around it, as containers see it.
#include "mig_handles.hpp"
#include "mig_profile_info.hpp"

namespace plumbline::mocknvml {

NVML_CALL(nvmlDeviceIsMigDeviceHandle)(Device device, unsigned *is_mig) {
  return guarded([&] {
    const bool mig = mig_place_of(device).has_value();
    if (!mig) {
      ask(device);
    }
    Session::get().state();
    need(is_mig) = mig ? 1 : 0;
  });
}

NVML_CALL(nvmlDeviceGetMaxMigDeviceCount)(Device device, unsigned *count) {
  return guarded([&] {
    const Query query = ask(device);
    const PartitionRecord partition = query.state->partition(query.index);
    const auto slices = std::ranges::max(partition.profiles, {}, &MigProfileRecord::slices).slices;
    need(count) = query.gpu.mig_mode == Feature::on ? slices : 0;
  });
}

NVML_CALL(nvmlDeviceGetMigDeviceHandleByIndex)(Device device, unsigned index, Device *found) {
  return guarded([&] {
    const PartitionQuery query = ask_partition(device);
    Device &handle = need(found);
    const std::vector<MigPlace> devices = mig_devices(query.of.index, query.partition);
    require(index < devices.size(), Return::not_found);
    handle = mig_device_handle(devices[index]);
  });
}

NVML_CALL(nvmlDeviceGetDeviceHandleFromMigDeviceHandle)(Device mig, Device *device) {
  return guarded([&] {
    const MigQuery query = ask_mig_device(mig);
    need(device) = handle_of(query.place.gpu);
  });
}

NVML_CALL(nvmlDeviceGetGpuInstanceId)(Device mig, unsigned *id) {
  return guarded([&] { need(id) = static_cast<unsigned>(ask_mig_device(mig).place.gpu_instance); });
}

NVML_CALL(nvmlDeviceGetComputeInstanceId)(Device mig, unsigned *id) {
  return guarded(
      [&] { need(id) = static_cast<unsigned>(ask_mig_device(mig).place.compute_instance); });
}

NVML_CALL(nvmlDeviceGetAttributes_v2)(Device mig, abi::DeviceAttributes *attributes) {
  return guarded([&] {
    const MigQuery query = ask_mig_device(mig);
    const ComputeProfile profile = query.compute_profile();
    abi::DeviceAttributes &target = need(attributes);
    target.multiprocessorCount = profile.multiprocessors;
    put_engines(query.profile(), target);
    target.gpuInstanceSliceCount = query.profile().slices;
    target.computeInstanceSliceCount = profile.slices;
    target.memorySizeMB = query.profile().memory_mib;
  });
}

NVML_CALL(nvmlDeviceGetAttributes)(Device mig, abi::DeviceAttributes *attributes) {
  return nvmlDeviceGetAttributes_v2(mig, attributes);
}

} // namespace plumbline::mocknvml
