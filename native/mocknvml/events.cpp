// Events: sets, registration and waiting.
#include "events.hpp"
#include "boundary.hpp"
#include "event_sets.hpp"

namespace plumbline::mocknvml {

std::uint64_t supported_events(const GpuRecord &gpu) {
  std::uint64_t types =
      event_type::xid | event_type::clock | event_type::pstate | event_type::power_source;
  if (gpu.ecc_mode != Feature::none) {
    types |= event_type::ecc_single | event_type::ecc_double;
  }
  if (gpu.mig_mode != Feature::none) {
    types |= event_type::mig_config;
  }
  return types;
}

namespace {

void wait(void *handle, abi::EventData *data, unsigned timeout_ms) {
  Session::get().state(); // uninitialized comes before any other complaint
  const std::shared_ptr<EventSet> set = EventSets::get().find(handle);
  abi::EventData &target = need(data);
  const std::optional<EventRecord> event = set->wait(std::chrono::milliseconds{timeout_ms});
  if (!event) {
    throw Failure(Return::timeout);
  }
  target = {.device = handle_of(event->gpu),
            .eventType = event->type,
            .eventData = event->data,
            .gpuInstanceId = event->gpu_instance,
            .computeInstanceId = event->compute_instance};
}

} // namespace

NVML_CALL(nvmlEventSetCreate)(void **set) {
  return guarded([&] {
    auto state = Session::get().state();
    need(set) = EventSets::get().create(std::move(state));
  });
}

NVML_CALL(nvmlEventSetFree)(void *set) {
  return guarded([&] {
    Session::get().state();
    EventSets::get().remove(set)->close();
  });
}

NVML_CALL(nvmlDeviceGetSupportedEventTypes)(Device device, unsigned long long *types) {
  return tell(device, types, supported_events);
}

NVML_CALL(nvmlDeviceRegisterEvents)(Device device, unsigned long long types, void *set) {
  return guarded([&] {
    const Query query = ask(device);
    const std::shared_ptr<EventSet> target = EventSets::get().find(set);
    require((types & ~event_type::known) == 0, Return::invalid_argument);
    require((types & ~supported_events(query.gpu)) == 0, Return::not_supported);
    target->add(query.index, types);
  });
}

NVML_CALL(nvmlEventSetWait_v2)(void *set, abi::EventData *data, unsigned timeout_ms) {
  return guarded([&] { wait(set, data, timeout_ms); });
}

NVML_CALL(nvmlEventSetWait)(void *set, abi::EventData *data, unsigned timeout_ms) {
  return guarded([&] { wait(set, data, timeout_ms); });
}

} // namespace plumbline::mocknvml
