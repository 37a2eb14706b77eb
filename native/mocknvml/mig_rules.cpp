#include "mig_rules.hpp"

#include "nvml_abi.hpp"

#include <algorithm>
#include <array>

namespace plumbline::mocknvml {

namespace {

/// Compute slices by number in NVML's enumeration of compute instance profiles.
constexpr std::array<std::uint32_t, 7> compute_sizes{1, 2, 3, 4, 7, 8, 6};

/// What GPU instances share out beside memory: nothing of it can be given twice.
constexpr std::array shared_engines{
    &MigProfileRecord::slices, &MigProfileRecord::decoders, &MigProfileRecord::encoders,
    &MigProfileRecord::jpegs,  &MigProfileRecord::ofas,
};

const MigProfileRecord &profile_of(const PartitionRecord &partition,
                                   const GpuInstanceRecord &instance) {
  return partition.profiles[instance.profile];
}

/// The profile that takes the whole GPU: the one of the most slices.
const MigProfileRecord &whole(const PartitionRecord &partition) {
  return *std::ranges::max_element(partition.profiles, {}, &MigProfileRecord::slices);
}

std::uint32_t axis(const PartitionRecord &partition) {
  return std::ranges::max_element(partition.profiles, {}, &MigProfileRecord::size)->size;
}

/// How often what is left of the shared engines is enough for a profile, at most `limit` times.
std::uint32_t times_fed(const PartitionRecord &partition, const MigProfileRecord &profile,
                        std::uint32_t limit) {
  const MigProfileRecord &all = whole(partition);
  for (const auto engine : shared_engines) {
    if (profile.*engine == 0) {
      continue;
    }
    std::uint32_t used = 0;
    for (const GpuInstanceRecord &instance : partition.instances) {
      used += instance.present != 0 ? profile_of(partition, instance).*engine : 0;
    }
    const std::uint32_t left = all.*engine > used ? all.*engine - used : 0;
    limit = std::min(limit, left / (profile.*engine));
  }
  return limit;
}

std::uint32_t free_places(const PartitionRecord &partition, const MigProfileRecord &profile) {
  std::uint32_t found = 0;
  for (std::uint32_t start = 0; start < decltype(profile.starts)::size; ++start) {
    found += profile.starts.has(start) && is_free(partition, start, profile.size) ? 1 : 0;
  }
  return found;
}

} // namespace

std::optional<std::uint32_t> profile_with_id(const PartitionRecord &partition, std::uint32_t id) {
  for (std::uint32_t number = 0; number < max_mig_profiles; ++number) {
    if (partition.profiles[number].present != 0 && partition.profiles[number].id == id) {
      return number;
    }
  }
  return std::nullopt;
}

std::vector<ComputeProfile> compute_profiles(const PartitionRecord &partition,
                                             const MigProfileRecord &around) {
  // A slice's multiprocessors are those of the smallest GPU instance: a larger one, and one
  // with more memory, can have some that only the whole of it can use.
  std::uint32_t of_slice = around.multiprocessors / around.slices;
  for (const MigProfileRecord &other : partition.profiles) {
    if (other.present != 0) {
      of_slice = std::min(of_slice, other.multiprocessors / other.slices);
    }
  }
  std::vector<ComputeProfile> found;
  for (std::uint32_t number = 0; number < compute_sizes.size(); ++number) {
    const std::uint32_t slices = compute_sizes[number];
    // No driver offers four slices out of six, or six out of seven.
    const bool offered = slices == around.slices || (slices <= 3 && slices < around.slices);
    if (offered) {
      found.push_back(
          {.number = number,
           .slices = slices,
           .multiprocessors = slices == around.slices ? around.multiprocessors : slices * of_slice,
           .most = 0});
      found.back().most = static_cast<std::uint32_t>(compute_starts(around, found.back()).size());
    }
  }
  // 3c.4g does not exist.
  if (around.slices == 4) {
    std::erase_if(found, [](const ComputeProfile &each) { return each.slices == 3; });
  }
  return found;
}

std::optional<ComputeProfile> compute_profile(const PartitionRecord &partition,
                                              const MigProfileRecord &around,
                                              std::uint32_t number) {
  for (const ComputeProfile &each : compute_profiles(partition, around)) {
    if (each.number == number) {
      return each;
    }
  }
  return std::nullopt;
}

std::vector<std::uint32_t> compute_starts(const MigProfileRecord &around,
                                          const ComputeProfile &profile) {
  const std::uint32_t step = profile.slices == 3 ? 4 : profile.slices;
  std::vector<std::uint32_t> starts;
  for (std::uint32_t start = 0; start + profile.slices <= around.slices; start += step) {
    starts.push_back(start);
  }
  return starts;
}

std::uint32_t slot_of(const PartitionRecord &partition, std::uint32_t start, std::uint32_t size) {
  return axis(partition) / size - 1 + start / size;
}

bool is_free(const PartitionRecord &partition, std::uint32_t start, std::uint32_t size) {
  return std::ranges::none_of(partition.instances, [&](const GpuInstanceRecord &instance) {
    return instance.present != 0 && instance.start < start + size &&
           start < instance.start + profile_of(partition, instance).size;
  });
}

std::uint32_t room_for(const PartitionRecord &partition, std::uint32_t profile) {
  const MigProfileRecord &wanted = partition.profiles[profile];
  const auto there =
      std::ranges::count_if(partition.instances, [profile](const GpuInstanceRecord &instance) {
        return instance.present != 0 && instance.profile == profile;
      });
  const auto same = static_cast<std::uint32_t>(there);
  const std::uint32_t more = wanted.most > same ? wanted.most - same : 0;
  // The places of one profile do not overlap each other.
  return times_fed(partition, wanted, std::min(more, free_places(partition, wanted)));
}

std::optional<std::uint32_t> best_start(const PartitionRecord &partition, std::uint32_t profile) {
  if (room_for(partition, profile) == 0) {
    return std::nullopt;
  }
  const MigProfileRecord &wanted = partition.profiles[profile];
  std::optional<std::uint32_t> best;
  std::uint32_t most_left = 0;
  for (std::uint32_t start = 0; start < decltype(wanted.starts)::size; ++start) {
    if (!wanted.starts.has(start) || !is_free(partition, start, wanted.size)) {
      continue;
    }
    PartitionRecord after = partition;
    after.instances[slot_of(partition, start, wanted.size)] = {
        .present = 1,
        .profile = static_cast<std::uint8_t>(profile),
        .start = static_cast<std::uint8_t>(start),
        .reserved = {},
        .compute = {}};
    std::uint32_t left = 0;
    for (const MigProfileRecord &other : after.profiles) {
      left += other.present != 0 ? free_places(after, other) : 0;
    }
    if (!best || left > most_left) {
      best = start;
      most_left = left;
    }
  }
  return best;
}

std::uint32_t taken_slices(const PartitionRecord &partition, const GpuInstanceRecord &instance) {
  std::uint32_t taken = 0;
  for (const ComputeInstanceRecord &compute : instance.compute) {
    if (compute.present != 0) {
      const auto profile =
          compute_profile(partition, profile_of(partition, instance), compute.profile);
      taken |= ((1U << (profile ? profile->slices : 0U)) - 1U) << compute.start;
    }
  }
  return taken;
}

bool has_compute(const GpuInstanceRecord &instance) {
  return std::ranges::any_of(
      instance.compute, [](const ComputeInstanceRecord &compute) { return compute.present != 0; });
}

bool is_in_use(const PartitionRecord &partition, std::uint32_t gpu_instance,
               std::uint32_t compute_instance) {
  const auto is = [](std::uint32_t asked, std::uint32_t id) {
    return asked == any_instance || asked == id;
  };
  return std::ranges::any_of(partition.processes, [&](const ProcessRecord &process) {
    return process.present != 0 && is(gpu_instance, process.gpu_instance) &&
           is(compute_instance, process.compute_instance);
  });
}

} // namespace plumbline::mocknvml
