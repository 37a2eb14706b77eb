// MIG mode: Ampere changes it with a reset of the GPU, later architectures at once.
#include "mig_handles.hpp"

namespace plumbline::mocknvml {

namespace {

bool is_divided(const PartitionRecord &partition) {
  return std::ranges::any_of(
      partition.instances, [](const GpuInstanceRecord &instance) { return instance.present != 0; });
}

/// Makes a mode pending, and current where nothing stands in the way; returns what does.
Return change_mode(GpuRecord &gpu, const PartitionRecord &partition, Feature wanted) {
  gpu.mig_pending = wanted;
  if (gpu.mig_mode == wanted) {
    return Return::success;
  }
  if (is_divided(partition) || is_in_use(partition, any_instance, any_instance)) {
    return Return::in_use;
  }
  if (gpu.architecture <= Architecture::ampere) {
    return Return::reset_required;
  }
  gpu.mig_mode = wanted;
  return Return::success;
}

} // namespace

NVML_CALL(nvmlDeviceSetMigMode)(Device device, unsigned mode, Return *activation) {
  return guarded([&] {
    const PartitionQuery query = ask_partition(device);
    need(activation);
    require(mode <= 1, Return::invalid_argument);
    query.of.state->change([&](Draft &draft) {
      GpuRecord &gpu = draft.machine.gpus[query.of.index];
      require(gpu.lost == Answer::no, Return::gpu_is_lost);
      const Feature before = gpu.mig_mode;
      *activation = change_mode(gpu, draft.machine.partitions[query.of.index],
                                mode == 1 ? Feature::on : Feature::off);
      if (gpu.mig_mode != before) {
        draft.emit(static_cast<std::uint32_t>(query.of.index), event_type::mig_config, 0);
      }
    });
  });
}

} // namespace plumbline::mocknvml
