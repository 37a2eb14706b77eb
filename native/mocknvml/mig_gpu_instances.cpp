// GPU instances: what a GPU offers, making them and destroying them.
#include "mig_files.hpp"
#include "mig_handles.hpp"
#include "mig_profile_info.hpp"

namespace plumbline::mocknvml {

namespace {

const MigProfileRecord &need_profile(const PartitionRecord &partition, unsigned number) {
  require(number < max_mig_profiles, Return::invalid_argument);
  require(partition.profiles[number].present != 0, Return::not_supported);
  return partition.profiles[number];
}

std::uint32_t need_profile_id(const PartitionRecord &partition, unsigned id) {
  return required_of(profile_with_id(partition, id), Return::invalid_argument);
}

void require_on(const GpuRecord &gpu) {
  require(gpu.mig_mode == Feature::on, Return::not_supported);
}

/// Fills in version 2 or 3, whichever the caller's structure says it is.
void put_versioned(const MigProfileRecord &profile, abi::GpuInstanceProfileInfo_v2 *info) {
  const unsigned version = need(info).version;
  const std::string name = "MIG " + std::string(profile.name.view());
  const bool p2p = profile.p2p == Answer::yes;
  if (version == version_tag<abi::GpuInstanceProfileInfo_v2>(2)) {
    put_profile(profile, *info);
    info->isP2pSupported = p2p ? 1 : 0;
    put_name(name, *info);
    return;
  }
  require(version == version_tag<abi::GpuInstanceProfileInfo_v3>(3),
          Return::argument_version_mismatch);
  auto &third = *reinterpret_cast<abi::GpuInstanceProfileInfo_v3 *>(info);
  put_profile(profile, third);
  third.capabilities = p2p ? abi::profile_capability_p2p : 0;
  put_name(name, third);
}

/// Makes an instance where `where` says, and returns its id.
template <class Where>
std::size_t make(const PartitionQuery &query, unsigned profile_id, const Where &where) {
  std::size_t id = 0;
  query.of.state->change([&](Draft &draft) {
    const GpuRecord &gpu = draft.machine.gpus[query.of.index];
    PartitionRecord &partition = draft.machine.partitions[query.of.index];
    require(gpu.lost == Answer::no, Return::gpu_is_lost);
    require_on(gpu);
    const std::uint32_t number = need_profile_id(partition, profile_id);
    const MigProfileRecord &profile = partition.profiles[number];
    const std::uint32_t start = where(partition, number);
    require(room_for(partition, number) > 0 && is_free(partition, start, profile.size),
            Return::insufficient_resources);
    id = slot_of(partition, start, profile.size);
    GpuInstanceRecord &instance = partition.instances.at(id);
    instance = {};
    instance.present = 1;
    instance.profile = static_cast<std::uint8_t>(number);
    instance.start = static_cast<std::uint8_t>(start);
    draft.emit(static_cast<std::uint32_t>(query.of.index), event_type::mig_config, 0,
               static_cast<std::uint32_t>(id));
  });
  show_instances(*query.of.state, query.of.index);
  return id;
}

void destroy(const MigQuery &query) {
  query.state->change([&](Draft &draft) {
    PartitionRecord &partition = draft.machine.partitions[query.place.gpu];
    GpuInstanceRecord &instance = partition.instances[query.place.gpu_instance];
    const auto id = static_cast<std::uint32_t>(query.place.gpu_instance);
    require(draft.machine.gpus[query.place.gpu].lost == Answer::no, Return::gpu_is_lost);
    require(instance.present != 0, Return::not_found);
    require(!has_compute(instance) && !is_in_use(partition, id, any_instance), Return::in_use);
    instance = {};
    draft.emit(static_cast<std::uint32_t>(query.place.gpu), event_type::mig_config, 0, id);
  });
  show_instances(*query.state, query.place.gpu);
}

std::vector<abi::Placement> placements(const MigProfileRecord &profile) {
  std::vector<abi::Placement> found;
  for (std::uint32_t start = 0; start < decltype(profile.starts)::size; ++start) {
    if (profile.starts.has(start)) {
      found.push_back({.start = start, .size = profile.size});
    }
  }
  return found;
}

} // namespace

NVML_CALL(nvmlDeviceGetGpuInstanceProfileInfo)
(Device device, unsigned number, abi::GpuInstanceProfileInfo *info) {
  return guarded([&] {
    const PartitionQuery query = ask_partition(device);
    const MigProfileRecord &profile = need_profile(query.partition, number);
    put_profile(profile, need(info));
    info->isP2pSupported = profile.p2p == Answer::yes ? 1 : 0;
  });
}

NVML_CALL(nvmlDeviceGetGpuInstanceProfileInfoV)
(Device device, unsigned number, abi::GpuInstanceProfileInfo_v2 *info) {
  return guarded([&] {
    const PartitionQuery query = ask_partition(device);
    put_versioned(need_profile(query.partition, number), info);
  });
}

NVML_CALL(nvmlDeviceGetGpuInstanceProfileInfoByIdV)
(Device device, unsigned id, abi::GpuInstanceProfileInfo_v2 *info) {
  return guarded([&] {
    const PartitionQuery query = ask_partition(device);
    put_versioned(query.partition.profiles[need_profile_id(query.partition, id)], info);
  });
}

// All there are, whether taken or not, and also while MIG is off.
NVML_CALL(nvmlDeviceGetGpuInstancePossiblePlacements_v2)
(Device device, unsigned id, abi::Placement *places, unsigned *count) {
  return guarded([&] {
    const PartitionQuery query = ask_partition(device);
    const auto number = need_profile_id(query.partition, id);
    if (places == nullptr) {
      need(count) = 0; // asks for the number there is
    }
    put_list(placements(query.partition.profiles[number]), count, places);
  });
}

NVML_CALL(nvmlDeviceGetGpuInstancePossiblePlacements)
(Device device, unsigned id, abi::Placement *places, unsigned *count) {
  return nvmlDeviceGetGpuInstancePossiblePlacements_v2(device, id, places, count);
}

NVML_CALL(nvmlDeviceGetGpuInstanceRemainingCapacity)(Device device, unsigned id, unsigned *count) {
  return guarded([&] {
    const PartitionQuery query = ask_partition(device);
    require_on(query.of.gpu);
    need(count) = room_for(query.partition, need_profile_id(query.partition, id));
  });
}

NVML_CALL(nvmlDeviceCreateGpuInstance)(Device device, unsigned id, GpuInstance *instance) {
  return guarded([&] {
    const PartitionQuery query = ask_partition(device);
    GpuInstance &handle = need(instance);
    const auto anywhere = [](const PartitionRecord &partition, std::uint32_t number) {
      return required_of(best_start(partition, number), Return::insufficient_resources);
    };
    handle = gpu_instance_handle(query.of.index, make(query, id, anywhere));
  });
}

NVML_CALL(nvmlDeviceCreateGpuInstanceWithPlacement)
(Device device, unsigned id, const abi::Placement *place, GpuInstance *instance) {
  return guarded([&] {
    const PartitionQuery query = ask_partition(device);
    GpuInstance &handle = need(instance);
    const abi::Placement wanted = need(place);
    const auto there = [&](const PartitionRecord &partition, std::uint32_t number) {
      const MigProfileRecord &profile = partition.profiles[number];
      require(profile.starts.has(wanted.start) && wanted.size == profile.size,
              Return::invalid_argument);
      return wanted.start;
    };
    handle = gpu_instance_handle(query.of.index, make(query, id, there));
  });
}

NVML_CALL(nvmlGpuInstanceDestroy)(GpuInstance instance) {
  return guarded([&] { destroy(ask_instance(instance)); });
}

// The caller has room for as many as the profile allows.
NVML_CALL(nvmlDeviceGetGpuInstances)
(Device device, unsigned id, GpuInstance *instances, unsigned *count) {
  return guarded([&] {
    const PartitionQuery query = ask_partition(device);
    require_on(query.of.gpu);
    const std::uint32_t number = need_profile_id(query.partition, id);
    require(instances != nullptr && count != nullptr, Return::invalid_argument);
    *count = 0;
    for (std::size_t i = 0; i < max_gpu_instances; ++i) {
      const GpuInstanceRecord &each = query.partition.instances[i];
      if (each.present != 0 && each.profile == number) {
        instances[(*count)++] = gpu_instance_handle(query.of.index, i);
      }
    }
  });
}

NVML_CALL(nvmlDeviceGetGpuInstanceById)(Device device, unsigned id, GpuInstance *instance) {
  return guarded([&] {
    const PartitionQuery query = ask_partition(device);
    require_on(query.of.gpu);
    GpuInstance &handle = need(instance);
    require(id < max_gpu_instances && query.partition.instances[id].present != 0,
            Return::not_found);
    handle = gpu_instance_handle(query.of.index, id);
  });
}

NVML_CALL(nvmlGpuInstanceGetInfo)(GpuInstance instance, abi::GpuInstanceInfo *info) {
  return guarded([&] {
    const MigQuery query = ask_instance(instance);
    need(info) = {.device = handle_of(query.place.gpu),
                  .id = static_cast<unsigned>(query.place.gpu_instance),
                  .profileId = query.profile().id,
                  .placement = {.start = query.instance().start, .size = query.profile().size}};
  });
}

} // namespace plumbline::mocknvml
