// Handles of MIG: GPU instances, compute instances, and the MIG devices that containers use.
//
// A handle names a place on a GPU. It goes on naming it when the instance there is destroyed,
// and then answers nothing until another one is made.
#pragma once

#include "boundary.hpp"
#include "mig_rules.hpp"

#include <optional>

namespace plumbline::mocknvml {

struct GpuInstanceToken {
  unsigned char unused;
};
struct ComputeInstanceToken {
  unsigned char unused;
};
using GpuInstance = const GpuInstanceToken *;
using ComputeInstance = const ComputeInstanceToken *;

/// Where an instance is: numbers of the GPU, the GPU instance, the compute instance.
struct MigPlace {
  std::size_t gpu;
  std::size_t gpu_instance;
  std::size_t compute_instance; // 0 where only a GPU instance is meant
};

GpuInstance gpu_instance_handle(std::size_t gpu, std::size_t instance);
ComputeInstance compute_instance_handle(const MigPlace &place);
Device mig_device_handle(const MigPlace &place);

/// Throws invalid_argument for what is no such handle of this library's.
MigPlace place_of(GpuInstance handle);
MigPlace place_of(ComputeInstance handle);

/// Nothing for what is no handle of a MIG device.
std::optional<MigPlace> mig_place_of(Device handle);

/// One question about one instance: the GPU around it as it is at this moment.
struct MigQuery {
  std::shared_ptr<State> state;
  MigPlace place;
  GpuRecord gpu;
  PartitionRecord partition;

  [[nodiscard]] const GpuInstanceRecord &instance() const {
    return partition.instances[place.gpu_instance];
  }
  [[nodiscard]] const MigProfileRecord &profile() const {
    return partition.profiles[instance().profile];
  }
  [[nodiscard]] const ComputeInstanceRecord &compute() const {
    return instance().compute[place.compute_instance];
  }
  [[nodiscard]] ComputeProfile compute_profile() const;
};

/// Each throws uninitialized, invalid_argument, gpu_is_lost, or not_found for an instance that
/// has been destroyed.
MigQuery ask_instance(GpuInstance handle);
MigQuery ask_instance(ComputeInstance handle);
MigQuery ask_mig_device(Device handle);

/// How a GPU that can do MIG is divided. Throws what ask() throws, and not_supported.
struct PartitionQuery {
  Query of;
  PartitionRecord partition;
};
PartitionQuery ask_partition(Device device);

/// The UUID of a MIG device: another one whenever it is made again.
std::string mig_uuid(const GpuRecord &gpu, const PartitionRecord &partition, const MigPlace &place);

/// Every compute instance of a GPU, in the order of ids.
std::vector<MigPlace> mig_devices(std::size_t gpu, const PartitionRecord &partition);

} // namespace plumbline::mocknvml
