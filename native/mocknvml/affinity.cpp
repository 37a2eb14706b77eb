// Which CPUs and which memory are near a GPU.
#include "boundary.hpp"

namespace plumbline::mocknvml {

namespace {

constexpr unsigned scope_socket = 1;

/// Fills a caller's array of unsigned longs, as far as it reaches.
template <std::size_t Bits>
void put_set(const NumberSet<Bits> &set, unsigned size, unsigned long *array) {
  require(size > 0 && array != nullptr, Return::invalid_argument);
  static_assert(sizeof(unsigned long) == sizeof(std::uint64_t));
  for (std::size_t word = 0; word < size; ++word) {
    array[word] = word < set.words.size() ? set.words[word] : 0;
  }
}

template <std::size_t Bits>
Return tell_set(Device device, unsigned size, unsigned long *array, unsigned scope,
                NumberSet<Bits> GpuRecord::*node, NumberSet<Bits> GpuRecord::*socket) noexcept {
  return guarded([&] {
    const GpuRecord gpu = ask(device).gpu;
    require(scope <= scope_socket, Return::invalid_argument);
    put_set(scope == scope_socket ? gpu.*socket : gpu.*node, size, array);
  });
}

} // namespace

NVML_CALL(nvmlDeviceGetCpuAffinityWithinScope)
(Device device, unsigned size, unsigned long *cpus, unsigned scope) {
  return tell_set(device, size, cpus, scope, &GpuRecord::cpu_affinity,
                  &GpuRecord::cpu_affinity_socket);
}

NVML_CALL(nvmlDeviceGetCpuAffinity)(Device device, unsigned size, unsigned long *cpus) {
  return nvmlDeviceGetCpuAffinityWithinScope(device, size, cpus, 0);
}

NVML_CALL(nvmlDeviceGetMemoryAffinity)
(Device device, unsigned size, unsigned long *nodes, unsigned scope) {
  return tell_set(device, size, nodes, scope, &GpuRecord::memory_affinity,
                  &GpuRecord::memory_affinity_socket);
}

NVML_CALL(nvmlSystemGetTopologyGpuSet)(unsigned cpu, unsigned *count, Device *devices) {
  return guarded([&] {
    const auto state = Session::get().state();
    std::vector<Device> near;
    for (std::size_t index = 0; index < state->gpu_count(); ++index) {
      const GpuRecord gpu = state->gpu(index);
      if (gpu.lost == Answer::no && gpu.cpu_affinity.has(cpu)) {
        near.push_back(handle_of(index));
      }
    }
    put_list(near, count, devices);
  });
}

} // namespace plumbline::mocknvml
