#include "mig_handles.hpp"

#include "codec.hpp"

#include <array>
#include <functional>

namespace plumbline::mocknvml {

namespace {

constexpr std::size_t all_gpu_instances = max_gpus * max_gpu_instances;
constexpr std::size_t all_compute_instances = all_gpu_instances * max_compute_instances;

// Handles are addresses in here, as those of GPUs are.
constexpr std::array<GpuInstanceToken, all_gpu_instances> gpu_instance_tokens{};
constexpr std::array<ComputeInstanceToken, all_compute_instances> compute_instance_tokens{};
constexpr std::array<DeviceToken, all_compute_instances> mig_device_tokens{};

template <class Token, std::size_t Count>
std::optional<std::size_t> position(const Token *handle, const std::array<Token, Count> &tokens) {
  const std::less<> before;
  if (before(handle, tokens.data()) || !before(handle, tokens.data() + Count)) {
    return std::nullopt;
  }
  return static_cast<std::size_t>(handle - tokens.data());
}

std::size_t compute_position(const MigPlace &place) {
  return (place.gpu * max_gpu_instances + place.gpu_instance) * max_compute_instances +
         place.compute_instance;
}

MigPlace compute_place(std::size_t position) {
  const std::size_t instance = position / max_compute_instances;
  return {.gpu = instance / max_gpu_instances,
          .gpu_instance = instance % max_gpu_instances,
          .compute_instance = position % max_compute_instances};
}

MigQuery ask_place(const MigPlace &place) {
  std::shared_ptr<State> state = Session::get().state();
  require(place.gpu < state->gpu_count(), Return::invalid_argument);
  const GpuRecord gpu = state->gpu(place.gpu);
  require(gpu.lost == Answer::no, Return::gpu_is_lost);
  const PartitionRecord partition = state->partition(place.gpu);
  require(partition.instances[place.gpu_instance].present != 0, Return::not_found);
  return {.state = std::move(state), .place = place, .gpu = gpu, .partition = partition};
}

MigQuery ask_compute_place(const MigPlace &place) {
  MigQuery query = ask_place(place);
  require(query.compute().present != 0, Return::not_found);
  return query;
}

/// One step of FNV-1a, 64 bits.
std::uint64_t mixed(std::uint64_t hash, std::string_view text) {
  constexpr std::uint64_t prime = 0x100000001b3;
  for (const char letter : text) {
    hash = (hash ^ static_cast<unsigned char>(letter)) * prime;
  }
  return hash;
}

} // namespace

GpuInstance gpu_instance_handle(std::size_t gpu, std::size_t instance) {
  return &gpu_instance_tokens.at(gpu * max_gpu_instances + instance);
}

ComputeInstance compute_instance_handle(const MigPlace &place) {
  return &compute_instance_tokens.at(compute_position(place));
}

Device mig_device_handle(const MigPlace &place) {
  return &mig_device_tokens.at(compute_position(place));
}

MigPlace place_of(GpuInstance handle) {
  const std::size_t found =
      required_of(position(handle, gpu_instance_tokens), Return::invalid_argument);
  return {.gpu = found / max_gpu_instances,
          .gpu_instance = found % max_gpu_instances,
          .compute_instance = 0};
}

MigPlace place_of(ComputeInstance handle) {
  return compute_place(
      required_of(position(handle, compute_instance_tokens), Return::invalid_argument));
}

std::optional<MigPlace> mig_place_of(Device handle) {
  const auto found = position(handle, mig_device_tokens);
  return found ? std::optional(compute_place(*found)) : std::nullopt;
}

ComputeProfile MigQuery::compute_profile() const {
  return required_of(mocknvml::compute_profile(partition, profile(), compute().profile),
                     Return::unknown);
}

MigQuery ask_instance(GpuInstance handle) {
  Session::get().state(); // uninitialized comes before any other complaint
  return ask_place(place_of(handle));
}

MigQuery ask_instance(ComputeInstance handle) {
  Session::get().state();
  return ask_compute_place(place_of(handle));
}

MigQuery ask_mig_device(Device handle) {
  Session::get().state();
  return ask_compute_place(required_of(mig_place_of(handle), Return::invalid_argument));
}

PartitionQuery ask_partition(Device device) {
  Query query = ask(device);
  require(query.gpu.mig_mode != Feature::none, Return::not_supported);
  const PartitionRecord partition = query.state->partition(query.index);
  return {.of = std::move(query), .partition = partition};
}

std::string mig_uuid(const GpuRecord &gpu, const PartitionRecord &partition,
                     const MigPlace &place) {
  const auto serial =
      partition.instances[place.gpu_instance].compute[place.compute_instance].serial;
  const std::string name = std::string(gpu.uuid.text.view()) + "/" +
                           std::to_string(place.gpu_instance) + "/" +
                           std::to_string(place.compute_instance) + "/" + std::to_string(serial);
  constexpr std::uint64_t basis = 0xcbf29ce484222325;
  const std::uint64_t first = mixed(basis, name);
  const std::uint64_t second = mixed(first, name);
  RawUuid raw{};
  for (std::size_t i = 0; i < 8; ++i) {
    raw.bytes[i] = static_cast<std::uint8_t>(first >> (8 * i));
    raw.bytes[8 + i] = static_cast<std::uint8_t>(second >> (8 * i));
  }
  raw.bytes[6] = static_cast<std::uint8_t>((raw.bytes[6] & 0x0fU) | 0x50U); // version 5: by name
  raw.bytes[8] = static_cast<std::uint8_t>((raw.bytes[8] & 0x3fU) | 0x80U); // variant of RFC 9562
  std::string text = "MIG-";
  write(raw, text);
  return text;
}

std::vector<MigPlace> mig_devices(std::size_t gpu, const PartitionRecord &partition) {
  std::vector<MigPlace> found;
  for (std::size_t instance = 0; instance < max_gpu_instances; ++instance) {
    for (std::size_t compute = 0; compute < max_compute_instances; ++compute) {
      const GpuInstanceRecord &around = partition.instances[instance];
      if (around.present != 0 && around.compute[compute].present != 0) {
        found.push_back({.gpu = gpu, .gpu_instance = instance, .compute_instance = compute});
      }
    }
  }
  return found;
}

} // namespace plumbline::mocknvml
