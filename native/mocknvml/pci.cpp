// PCI: addresses, link generation and width.
#include "pci.hpp"

#include "boundary.hpp"

#include <cstdio>

namespace plumbline::mocknvml {

namespace {

/// Copies terminated text; what does not fit is cut, as the driver cuts it.
template <std::size_t N> void put(const std::string &text, char (&buffer)[N]) {
  std::snprintf(buffer, N, "%s", text.c_str());
}

std::string formatted(const char *format, const PciAddress &address) {
  char text[40];
  std::snprintf(text, sizeof(text), format, address.domain, address.bus, address.device);
  return text;
}

PciFacts facts_of(const GpuRecord &gpu) {
  return {.address = gpu.pci_address,
          .device_id = static_cast<unsigned>(gpu.pci_device_id.value),
          .subsystem_id = static_cast<unsigned>(gpu.pci_subsystem_id.value)};
}

unsigned known(unsigned value) {
  require(value != 0, Return::not_supported);
  return value;
}

/// Transfers per second and lane of a PCIe generation, in millions.
unsigned megatransfers(unsigned generation) {
  constexpr std::array<unsigned, 8> of_generation{0, 2500, 5000, 8000, 16000, 32000, 64000, 128000};
  require(generation < of_generation.size(), Return::unknown);
  return known(of_generation[generation]);
}

} // namespace

PciFacts unknown_device() {
  return {.address = {.domain = 0xffffffff, .bus = 0xffff, .device = 0xff, .function = 0},
          .device_id = 0xffffffff,
          .subsystem_id = 0xffffffff};
}

std::string bus_id(const PciAddress &address) { return formatted("%08X:%02X:%02X.0", address); }

std::string legacy_bus_id(const PciAddress &address) {
  return formatted("%04X:%02X:%02X.0", address);
}

abi::PciInfo pci_info(const PciFacts &facts) {
  abi::PciInfo info{};
  put(legacy_bus_id(facts.address), info.busIdLegacy);
  info.domain = facts.address.domain;
  info.bus = facts.address.bus;
  info.device = facts.address.device;
  info.pciDeviceId = facts.device_id;
  info.pciSubSystemId = facts.subsystem_id;
  put(bus_id(facts.address), info.busId);
  return info;
}

abi::PciInfoLegacy pci_info_legacy(const PciFacts &facts) {
  abi::PciInfoLegacy info{};
  put(legacy_bus_id(facts.address), info.busId);
  info.domain = facts.address.domain;
  info.bus = facts.address.bus;
  info.device = facts.address.device;
  info.pciDeviceId = facts.device_id;
  info.pciSubSystemId = facts.subsystem_id;
  return info;
}

NVML_CALL(nvmlDeviceGetPciInfo_v3)(Device device, abi::PciInfo *pci) {
  return guarded([&] {
    const Query query = ask(device);
    need(pci) = pci_info(facts_of(query.gpu));
  });
}

NVML_CALL(nvmlDeviceGetPciInfo_v2)(Device device, abi::PciInfoLegacy *pci) {
  return guarded([&] {
    const Query query = ask(device);
    need(pci) = pci_info_legacy(facts_of(query.gpu));
  });
}

NVML_CALL(nvmlDeviceGetPciInfo)(Device device, abi::PciInfoLegacy *pci) {
  return nvmlDeviceGetPciInfo_v2(device, pci);
}

NVML_CALL(nvmlDeviceGetPciInfoExt)(Device device, abi::PciInfoExt *pci) {
  return guarded([&] {
    const Query query = ask(device);
    abi::PciInfoExt &info = need_version(pci, 1);
    const PciFacts facts = facts_of(query.gpu);
    info.domain = facts.address.domain;
    info.bus = facts.address.bus;
    info.device = facts.address.device;
    info.pciDeviceId = facts.device_id;
    info.pciSubSystemId = facts.subsystem_id;
    info.baseClass = static_cast<unsigned>(query.gpu.pci_class.value >> 16U);
    info.subClass = static_cast<unsigned>((query.gpu.pci_class.value >> 8U) & 0xffU);
    put(bus_id(facts.address), info.busId);
  });
}

NVML_CALL(nvmlDeviceGetMaxPcieLinkGeneration)(Device device, unsigned *generation) {
  return tell(device, generation,
              [](const GpuRecord &gpu) { return known(gpu.pcie_max_generation); });
}

NVML_CALL(nvmlDeviceGetGpuMaxPcieLinkGeneration)(Device device, unsigned *generation) {
  return tell(device, generation,
              [](const GpuRecord &gpu) { return known(gpu.pcie_device_max_generation); });
}

NVML_CALL(nvmlDeviceGetMaxPcieLinkWidth)(Device device, unsigned *width) {
  return tell(device, width, [](const GpuRecord &gpu) { return known(gpu.pcie_max_width); });
}

NVML_CALL(nvmlDeviceGetCurrPcieLinkGeneration)(Device device, unsigned *generation) {
  return tell(device, generation,
              [](const GpuRecord &gpu) { return known(gpu.pcie_current_generation); });
}

NVML_CALL(nvmlDeviceGetCurrPcieLinkWidth)(Device device, unsigned *width) {
  return tell(device, width, [](const GpuRecord &gpu) { return known(gpu.pcie_current_width); });
}

NVML_CALL(nvmlDeviceGetPcieSpeed)(Device device, unsigned *speed) {
  return tell(device, speed,
              [](const GpuRecord &gpu) { return megatransfers(gpu.pcie_current_generation); });
}

NVML_CALL(nvmlDeviceGetPcieLinkMaxSpeed)(Device device, unsigned *speed) {
  // NVML numbers the speeds as the generations that have them.
  return tell(device, speed, [](const GpuRecord &gpu) { return known(gpu.pcie_max_generation); });
}

NVML_CALL(nvmlDeviceGetPcieReplayCounter)(Device device, unsigned *count) {
  return tell(device, count, [](const GpuRecord &) { return 0U; });
}

} // namespace plumbline::mocknvml
