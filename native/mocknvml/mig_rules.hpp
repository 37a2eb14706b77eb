// How a GPU may be divided: what lies where, what still fits, what a new instance gets.
#pragma once

#include "records.hpp"

#include <optional>
#include <vector>

namespace plumbline::mocknvml {

/// A size of compute instance that fits into GPU instances of one profile.
struct ComputeProfile {
  std::uint32_t number; // in NVML's enumeration; the driver reports the same as its id
  std::uint32_t slices;
  std::uint32_t multiprocessors;
  std::uint32_t most;
};

/// The GPU instance profile that the driver reports by this id.
std::optional<std::uint32_t> profile_with_id(const PartitionRecord &partition, std::uint32_t id);

/// Every size of compute instance of a GPU instance profile, in the order of their numbers.
std::vector<ComputeProfile> compute_profiles(const PartitionRecord &partition,
                                             const MigProfileRecord &around);
std::optional<ComputeProfile> compute_profile(const PartitionRecord &partition,
                                              const MigProfileRecord &around, std::uint32_t number);

/// Where compute instances of a size may begin, in compute slices of their GPU instance.
std::vector<std::uint32_t> compute_starts(const MigProfileRecord &around,
                                          const ComputeProfile &profile);

/// The id of a GPU instance follows from where it lies: the places are numbered as a binary
/// tree is, from the whole axis (0) down to its leaves.
std::uint32_t slot_of(const PartitionRecord &partition, std::uint32_t start, std::uint32_t size);

/// True when no GPU instance takes any of these memory slices.
bool is_free(const PartitionRecord &partition, std::uint32_t start, std::uint32_t size);

/// How many more GPU instances of a profile fit beside those there are.
std::uint32_t room_for(const PartitionRecord &partition, std::uint32_t profile);

/// Where the driver puts a GPU instance that may go anywhere: where the most legal places of
/// all profiles stay free, the first of them. Nothing when it fits nowhere.
std::optional<std::uint32_t> best_start(const PartitionRecord &partition, std::uint32_t profile);

/// Compute slices of a GPU instance that are taken, one bit each.
std::uint32_t taken_slices(const PartitionRecord &partition, const GpuInstanceRecord &instance);

/// True when any compute instance has been made in it.
bool has_compute(const GpuInstanceRecord &instance);

/// True when a process is at work on what the ids name; any_instance stands for all.
bool is_in_use(const PartitionRecord &partition, std::uint32_t gpu_instance,
               std::uint32_t compute_instance);

} // namespace plumbline::mocknvml
