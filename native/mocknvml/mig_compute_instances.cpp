// Compute instances: what a GPU instance offers, making them and destroying them.
#include "mig_files.hpp"
#include "mig_handles.hpp"
#include "mig_profile_info.hpp"

namespace plumbline::mocknvml {

namespace {

constexpr unsigned engine_profiles = 1; // engines are shared, no other profile exists

ComputeProfile need_compute_profile(const PartitionRecord &partition,
                                    const MigProfileRecord &around, unsigned number) {
  return required_of(compute_profile(partition, around, number), Return::not_supported);
}

/// The profile that the driver reports by an id; the ids are the numbers.
ComputeProfile need_compute_id(const PartitionRecord &partition, const MigProfileRecord &around,
                               unsigned id) {
  return required_of(compute_profile(partition, around, id), Return::invalid_argument);
}

std::vector<std::uint32_t> free_starts(const PartitionRecord &partition,
                                       const GpuInstanceRecord &instance,
                                       const ComputeProfile &profile) {
  const std::uint32_t taken = taken_slices(partition, instance);
  std::vector<std::uint32_t> starts = compute_starts(partition.profiles[instance.profile], profile);
  std::erase_if(starts, [&](std::uint32_t start) {
    return (taken & (((1U << profile.slices) - 1U) << start)) != 0;
  });
  return starts;
}

void put_versioned(const ComputeProfile &profile, const MigProfileRecord &around,
                   abi::ComputeInstanceProfileInfo_v2 *info) {
  const unsigned version = need(info).version;
  const std::string name = compute_name(profile, around);
  if (version == version_tag<abi::ComputeInstanceProfileInfo_v2>(2)) {
    put_compute_profile(profile, around, *info);
    put_name(name, *info);
    return;
  }
  require(version == version_tag<abi::ComputeInstanceProfileInfo_v3>(3),
          Return::argument_version_mismatch);
  auto &third = *reinterpret_cast<abi::ComputeInstanceProfileInfo_v3 *>(info);
  put_compute_profile(profile, around, third);
  third.capabilities = 0;
  put_name(name, third);
}

/// Makes a compute instance at `start`, or at the first free place.
MigPlace make(const MigQuery &query, unsigned id, std::optional<std::uint32_t> start) {
  MigPlace place = query.place;
  query.state->change([&](Draft &draft) {
    PartitionRecord &partition = draft.machine.partitions[place.gpu];
    GpuInstanceRecord &instance = partition.instances[place.gpu_instance];
    require(draft.machine.gpus[place.gpu].lost == Answer::no, Return::gpu_is_lost);
    require(instance.present != 0, Return::not_found);
    const ComputeProfile profile =
        need_compute_id(partition, partition.profiles[instance.profile], id);
    const std::vector<std::uint32_t> starts = free_starts(partition, instance, profile);
    require(!starts.empty(), Return::insufficient_resources);
    require(!start || std::ranges::find(starts, *start) != starts.end(),
            Return::insufficient_resources);
    auto *const slot = std::ranges::find(instance.compute, 0, &ComputeInstanceRecord::present);
    require(slot != instance.compute.end(), Return::insufficient_resources);
    *slot = {.present = 1,
             .profile = static_cast<std::uint8_t>(profile.number),
             .start = static_cast<std::uint8_t>(start.value_or(starts.front())),
             .reserved = 0,
             .serial = static_cast<std::uint32_t>(++partition.made)};
    place.compute_instance = static_cast<std::size_t>(slot - instance.compute.begin());
    draft.emit(static_cast<std::uint32_t>(place.gpu), event_type::mig_config, 0,
               static_cast<std::uint32_t>(place.gpu_instance),
               static_cast<std::uint32_t>(place.compute_instance));
  });
  show_instances(*query.state, place.gpu);
  return place;
}

void destroy(const MigQuery &query) {
  query.state->change([&](Draft &draft) {
    PartitionRecord &partition = draft.machine.partitions[query.place.gpu];
    ComputeInstanceRecord &compute =
        partition.instances[query.place.gpu_instance].compute[query.place.compute_instance];
    const auto around = static_cast<std::uint32_t>(query.place.gpu_instance);
    const auto id = static_cast<std::uint32_t>(query.place.compute_instance);
    require(draft.machine.gpus[query.place.gpu].lost == Answer::no, Return::gpu_is_lost);
    require(compute.present != 0, Return::not_found);
    require(!is_in_use(partition, around, id), Return::in_use);
    compute = {};
    draft.emit(static_cast<std::uint32_t>(query.place.gpu), event_type::mig_config, 0, around, id);
  });
  show_instances(*query.state, query.place.gpu);
}

} // namespace

NVML_CALL(nvmlGpuInstanceGetComputeInstanceProfileInfo)
(GpuInstance instance, unsigned number, unsigned engines, abi::ComputeInstanceProfileInfo *info) {
  return guarded([&] {
    const MigQuery query = ask_instance(instance);
    require(engines < engine_profiles, Return::invalid_argument);
    put_compute_profile(need_compute_profile(query.partition, query.profile(), number),
                        query.profile(), need(info));
  });
}

NVML_CALL(nvmlGpuInstanceGetComputeInstanceProfileInfoV)
(GpuInstance instance, unsigned number, unsigned engines,
 abi::ComputeInstanceProfileInfo_v2 *info) {
  return guarded([&] {
    const MigQuery query = ask_instance(instance);
    require(engines < engine_profiles, Return::invalid_argument);
    put_versioned(need_compute_profile(query.partition, query.profile(), number), query.profile(),
                  info);
  });
}

NVML_CALL(nvmlGpuInstanceGetComputeInstanceRemainingCapacity)
(GpuInstance instance, unsigned id, unsigned *count) {
  return guarded([&] {
    const MigQuery query = ask_instance(instance);
    const ComputeProfile profile = need_compute_id(query.partition, query.profile(), id);
    need(count) =
        static_cast<unsigned>(free_starts(query.partition, query.instance(), profile).size());
  });
}

NVML_CALL(nvmlGpuInstanceGetComputeInstancePossiblePlacements)
(GpuInstance instance, unsigned id, abi::Placement *places, unsigned *count) {
  return guarded([&] {
    const MigQuery query = ask_instance(instance);
    const ComputeProfile profile = need_compute_id(query.partition, query.profile(), id);
    std::vector<abi::Placement> found;
    for (const std::uint32_t start : compute_starts(query.profile(), profile)) {
      found.push_back({.start = start, .size = profile.slices});
    }
    if (places == nullptr) {
      need(count) = 0; // asks for the number there is
    }
    put_list(found, count, places);
  });
}

NVML_CALL(nvmlGpuInstanceCreateComputeInstance)
(GpuInstance instance, unsigned id, ComputeInstance *made) {
  return guarded([&] {
    const MigQuery query = ask_instance(instance);
    ComputeInstance &handle = need(made);
    handle = compute_instance_handle(make(query, id, std::nullopt));
  });
}

NVML_CALL(nvmlGpuInstanceCreateComputeInstanceWithPlacement)
(GpuInstance instance, unsigned id, const abi::Placement *place, ComputeInstance *made) {
  return guarded([&] {
    const MigQuery query = ask_instance(instance);
    ComputeInstance &handle = need(made);
    const abi::Placement wanted = need(place);
    const ComputeProfile profile = need_compute_id(query.partition, query.profile(), id);
    const std::vector<std::uint32_t> starts = compute_starts(query.profile(), profile);
    require(wanted.size == profile.slices &&
                std::ranges::find(starts, wanted.start) != starts.end(),
            Return::invalid_argument);
    handle = compute_instance_handle(make(query, id, wanted.start));
  });
}

NVML_CALL(nvmlComputeInstanceDestroy)(ComputeInstance instance) {
  return guarded([&] { destroy(ask_instance(instance)); });
}

NVML_CALL(nvmlGpuInstanceGetComputeInstances)
(GpuInstance instance, unsigned id, ComputeInstance *found, unsigned *count) {
  return guarded([&] {
    const MigQuery query = ask_instance(instance);
    const ComputeProfile profile = need_compute_id(query.partition, query.profile(), id);
    require(found != nullptr && count != nullptr, Return::invalid_argument);
    *count = 0;
    MigPlace place = query.place;
    for (place.compute_instance = 0; place.compute_instance < max_compute_instances;
         ++place.compute_instance) {
      const auto &each = query.instance().compute[place.compute_instance];
      if (each.present != 0 && each.profile == profile.number) {
        found[(*count)++] = compute_instance_handle(place);
      }
    }
  });
}

NVML_CALL(nvmlGpuInstanceGetComputeInstanceById)
(GpuInstance instance, unsigned id, ComputeInstance *found) {
  return guarded([&] {
    const MigQuery query = ask_instance(instance);
    ComputeInstance &handle = need(found);
    require(id < max_compute_instances && query.instance().compute[id].present != 0,
            Return::not_found);
    handle = compute_instance_handle(
        {.gpu = query.place.gpu, .gpu_instance = query.place.gpu_instance, .compute_instance = id});
  });
}

NVML_CALL(nvmlComputeInstanceGetInfo_v2)
(ComputeInstance instance, abi::ComputeInstanceInfo *info) {
  return guarded([&] {
    const MigQuery query = ask_instance(instance);
    const ComputeProfile profile = query.compute_profile();
    need(info) = {.device = handle_of(query.place.gpu),
                  .gpuInstance = gpu_instance_handle(query.place.gpu, query.place.gpu_instance),
                  .id = static_cast<unsigned>(query.place.compute_instance),
                  .profileId = profile.number,
                  .placement = {.start = query.compute().start, .size = profile.slices}};
  });
}

NVML_CALL(nvmlComputeInstanceGetInfo)(ComputeInstance instance, abi::ComputeInstanceInfo *info) {
  return nvmlComputeInstanceGetInfo_v2(instance, info);
}

} // namespace plumbline::mocknvml
