// From names to handles: index, UUID, PCI address, serial number.
#include "codec.hpp"
#include "mig_handles.hpp"

#include <cstring>
#include <optional>

namespace plumbline::mocknvml {

namespace {

/// The handle of the only GPU that matches. Throws not_found, gpu_is_lost, or
/// invalid_argument when several match.
template <class Matches> Device find(const State &state, const Matches &matches) {
  std::optional<std::size_t> found;
  for (std::size_t index = 0; index < state.gpu_count(); ++index) {
    if (!matches(state.gpu(index))) {
      continue;
    }
    require(!found.has_value(), Return::invalid_argument);
    found = index;
  }
  if (!found) {
    throw Failure(Return::not_found);
  }
  require(state.gpu(*found).lost == Answer::no, Return::gpu_is_lost);
  return handle_of(*found);
}

/// The text of a C string that must not be null or empty.
std::string_view need_name(const char *name) {
  const std::string_view text = &need(name);
  require(!text.empty(), Return::invalid_argument);
  return text;
}

/// Throws not_found, or gpu_is_lost.
Device find_mig_uuid(const State &state, std::string_view uuid) {
  for (std::size_t index = 0; index < state.gpu_count(); ++index) {
    const GpuRecord gpu = state.gpu(index);
    const PartitionRecord partition = state.partition(index);
    for (const MigPlace &place : mig_devices(index, partition)) {
      if (mig_uuid(gpu, partition, place) == uuid) {
        require(gpu.lost == Answer::no, Return::gpu_is_lost);
        return mig_device_handle(place);
      }
    }
  }
  throw Failure(Return::not_found);
}

Device find_uuid(const State &state, std::string_view uuid) {
  if (uuid.starts_with("MIG-")) {
    return find_mig_uuid(state, uuid);
  }
  GpuUuid wanted{};
  require(read(uuid, wanted), Return::not_found);
  return find(state,
              [&](const GpuRecord &gpu) { return gpu.uuid.text.view() == wanted.text.view(); });
}

Device find_uuid_bytes(const State &state, const unsigned char (&bytes)[16]) {
  RawUuid raw{};
  std::memcpy(raw.bytes.data(), bytes, raw.bytes.size());
  std::string text = "GPU-";
  write(raw, text);
  return find_uuid(state, text);
}

/// The address in `0000:1b:00.0`, `00000000:1B:00.0`, or either without the function.
PciAddress need_address(const char *text) {
  std::string address(need_name(text));
  if (address.find('.') == std::string::npos) {
    address += ".0";
  }
  PciAddress parsed{};
  require(read(address, parsed), Return::invalid_argument);
  return parsed;
}

} // namespace

NVML_CALL(nvmlDeviceGetCount_v2)(unsigned *count) {
  return guarded([&] {
    const auto state = Session::get().state();
    need(count) = state->gpu_count();
  });
}

NVML_CALL(nvmlDeviceGetCount)(unsigned *count) { return nvmlDeviceGetCount_v2(count); }

NVML_CALL(nvmlDeviceGetHandleByIndex_v2)(unsigned index, Device *device) {
  return guarded([&] {
    const auto state = Session::get().state();
    Device &handle = need(device);
    require(index < state->gpu_count(), Return::invalid_argument);
    require(state->gpu(index).lost == Answer::no, Return::gpu_is_lost);
    handle = handle_of(index);
  });
}

NVML_CALL(nvmlDeviceGetHandleByIndex)(unsigned index, Device *device) {
  return nvmlDeviceGetHandleByIndex_v2(index, device);
}

NVML_CALL(nvmlDeviceGetHandleByUUID)(const char *uuid, Device *device) {
  return guarded([&] {
    const auto state = Session::get().state();
    Device &handle = need(device);
    handle = find_uuid(*state, need_name(uuid));
  });
}

NVML_CALL(nvmlDeviceGetHandleByUUIDV)(const abi::Uuid *uuid, Device *device) {
  return guarded([&] {
    const auto state = Session::get().state();
    Device &handle = need(device);
    const abi::Uuid &name = need_version(uuid, 1);
    require(name.type == abi::uuid_type_ascii || name.type == abi::uuid_type_binary,
            Return::invalid_argument);
    const std::string_view text(name.value.str, strnlen(name.value.str, sizeof(name.value.str)));
    handle = name.type == abi::uuid_type_ascii ? find_uuid(*state, text)
                                               : find_uuid_bytes(*state, name.value.bytes);
  });
}

NVML_CALL(nvmlDeviceGetHandleByPciBusId_v2)(const char *bus_id, Device *device) {
  return guarded([&] {
    const auto state = Session::get().state();
    Device &handle = need(device);
    const PciAddress wanted = need_address(bus_id);
    handle = find(*state, [&](const GpuRecord &gpu) { return gpu.pci_address == wanted; });
  });
}

NVML_CALL(nvmlDeviceGetHandleByPciBusId)(const char *bus_id, Device *device) {
  return nvmlDeviceGetHandleByPciBusId_v2(bus_id, device);
}

NVML_CALL(nvmlDeviceGetHandleBySerial)(const char *serial, Device *device) {
  return guarded([&] {
    const auto state = Session::get().state();
    Device &handle = need(device);
    const std::string_view wanted = need_name(serial);
    handle = find(*state, [&](const GpuRecord &gpu) {
      return gpu.serial.present() && gpu.serial.text.view() == wanted;
    });
  });
}

} // namespace plumbline::mocknvml
