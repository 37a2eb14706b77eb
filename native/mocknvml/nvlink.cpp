// NVLink: the links of a GPU and what is at their far ends.
#include "nvlink.hpp"

#include "boundary.hpp"
#include "pci.hpp"

namespace plumbline::mocknvml {

LinkRecord need_link(const GpuRecord &gpu, unsigned link) {
  require(link < max_links, Return::invalid_argument);
  require(link_count(gpu) > 0, Return::not_supported);
  require(gpu.links[link].present != 0, Return::invalid_argument);
  return gpu.links[link];
}

unsigned link_count(const GpuRecord &gpu) {
  unsigned count = 0;
  for (const LinkRecord &link : gpu.links) {
    count += link.present;
  }
  return count;
}

namespace {

enum class Capability : unsigned {
  p2p,
  system_memory_access,
  p2p_atomics,
  system_memory_atomics,
  sli_bridge,
  valid,
  count
};

unsigned capability(const LinkRecord &link, Capability wanted) {
  const bool to_processor = link.remote_type == RemoteType::npu;
  switch (wanted) {
  case Capability::p2p:
  case Capability::p2p_atomics:
    return to_processor ? 0 : 1;
  case Capability::system_memory_access:
  case Capability::system_memory_atomics:
    return to_processor ? 1 : 0;
  case Capability::valid:
    return 1;
  default:
    return 0;
  }
}

/// A link whose far end can be asked for: a link that is down has none.
LinkRecord need_remote(const GpuRecord &gpu, unsigned number) {
  const LinkRecord link = need_link(gpu, number);
  require(link.state == LinkState::up, Return::not_supported);
  return link;
}

/// The far end: one of the machine's GPUs with its ids, a device beside them, or unknown.
PciFacts remote_facts(const State &state, const LinkRecord &link) {
  if (link.remote_pci_address.present == 0) {
    return unknown_device();
  }
  const PciAddress &address = link.remote_pci_address.address;
  for (std::size_t index = 0; index < state.gpu_count(); ++index) {
    const GpuRecord gpu = state.gpu(index);
    if (gpu.pci_address == address) {
      return {.address = address,
              .device_id = static_cast<unsigned>(gpu.pci_device_id.value),
              .subsystem_id = static_cast<unsigned>(gpu.pci_subsystem_id.value)};
    }
  }
  return {.address = address, .device_id = 0, .subsystem_id = 0};
}

} // namespace

NVML_CALL(nvmlDeviceGetNvLinkState)(Device device, unsigned link, unsigned *active) {
  return tell(device, active, [&](const GpuRecord &gpu) { return need_link(gpu, link).state; });
}

NVML_CALL(nvmlDeviceGetNvLinkVersion)(Device device, unsigned link, unsigned *version) {
  return tell(device, version, [&](const GpuRecord &gpu) { return need_link(gpu, link).version; });
}

NVML_CALL(nvmlDeviceGetNvLinkCapability)
(Device device, unsigned link, unsigned wanted, unsigned *has) {
  return tell(device, has, [&](const GpuRecord &gpu) {
    require(wanted < static_cast<unsigned>(Capability::count), Return::invalid_argument);
    return capability(need_link(gpu, link), static_cast<Capability>(wanted));
  });
}

NVML_CALL(nvmlDeviceGetNvLinkRemotePciInfo_v2)(Device device, unsigned link, abi::PciInfo *pci) {
  return guarded([&] {
    const Query query = ask(device);
    const LinkRecord record = need_remote(query.gpu, link);
    need(pci) = pci_info(remote_facts(*query.state, record));
  });
}

NVML_CALL(nvmlDeviceGetNvLinkRemotePciInfo)
(Device device, unsigned link, abi::PciInfoLegacy *pci) {
  return guarded([&] {
    const Query query = ask(device);
    const LinkRecord record = need_remote(query.gpu, link);
    need(pci) = pci_info_legacy(remote_facts(*query.state, record));
  });
}

NVML_CALL(nvmlDeviceGetNvLinkRemoteDeviceType)(Device device, unsigned link, unsigned *type) {
  return tell(device, type,
              [&](const GpuRecord &gpu) { return need_remote(gpu, link).remote_type; });
}

NVML_CALL(nvmlDeviceGetNvLinkErrorCounter)
(Device device, unsigned link, unsigned counter, unsigned long long *count) {
  constexpr unsigned counters = 5;
  return tell(device, count, [&](const GpuRecord &gpu) {
    require(counter < counters, Return::invalid_argument);
    need_link(gpu, link);
    return 0ULL;
  });
}

NVML_CALL(nvmlDeviceResetNvLinkErrorCounters)(Device device, unsigned link) {
  return guarded([&] { need_link(ask(device).gpu, link); });
}

} // namespace plumbline::mocknvml
