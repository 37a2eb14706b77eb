#include "rules.hpp"

#include "codec.hpp"

#include <algorithm>
#include <span>

namespace plumbline::mocknvml {

namespace {

bool leads_to(const LinkRecord &link, const GpuRecord &gpu) {
  return link.present != 0 && link.state == LinkState::up && link.remote_type == RemoteType::gpu &&
         link.remote_pci_address.present != 0 && link.remote_pci_address.address == gpu.pci_address;
}

bool leads_to_switch(const LinkRecord &link) {
  return link.present != 0 && link.state == LinkState::up &&
         link.remote_type == RemoteType::nvswitch;
}

std::string described(std::string_view field, const auto &value) {
  std::string text(field);
  text += " '";
  write(value, text);
  return text + "'";
}

/// A mode and its pending mode: both or neither can be none.
std::string mode_contradiction(std::string_view name, Feature mode, Feature pending) {
  if ((mode == Feature::none) == (pending == Feature::none)) {
    return {};
  }
  return described(std::string(name) + "_mode", mode) + " and " +
         described(std::string(name) + "_pending", pending) + ": both are none or neither is";
}

std::string at_most(std::string_view name, std::uint64_t value, std::string_view limit_name,
                    std::uint64_t limit) {
  if (value <= limit) {
    return {};
  }
  return described(name, value) + " is more than " + described(limit_name, limit);
}

std::string memory_contradiction(const GpuRecord &gpu) {
  if (gpu.memory_used_bytes <= gpu.memory_total_bytes &&
      gpu.memory_reserved_bytes <= gpu.memory_total_bytes - gpu.memory_used_bytes) {
    return {};
  }
  return described("memory_used_bytes", gpu.memory_used_bytes) + " and " +
         described("memory_reserved_bytes", gpu.memory_reserved_bytes) + " are more than " +
         described("memory_total_bytes", gpu.memory_total_bytes);
}

std::string power_contradiction(const GpuRecord &gpu) {
  const bool limited = gpu.power_max_limit_mw > 0;
  if (!limited || (gpu.power_limit_mw >= gpu.power_min_limit_mw &&
                   gpu.power_limit_mw <= gpu.power_max_limit_mw)) {
    return {};
  }
  return described("power_limit_mw", gpu.power_limit_mw) + " is not between " +
         described("power_min_limit_mw", gpu.power_min_limit_mw) + " and " +
         described("power_max_limit_mw", gpu.power_max_limit_mw);
}

std::string gpu_contradiction(const GpuRecord &gpu) {
  if (gpu.pci_address.function != 0) {
    return described("pci_address", gpu.pci_address) + ": a GPU is function 0 of its device";
  }
  for (std::string complaint :
       {memory_contradiction(gpu), power_contradiction(gpu),
        at_most("bar1_used_bytes", gpu.bar1_used_bytes, "bar1_total_bytes", gpu.bar1_total_bytes),
        at_most("pcie_current_generation", gpu.pcie_current_generation, "pcie_max_generation",
                gpu.pcie_max_generation),
        at_most("pcie_current_width", gpu.pcie_current_width, "pcie_max_width", gpu.pcie_max_width),
        mode_contradiction("ecc", gpu.ecc_mode, gpu.ecc_pending),
        mode_contradiction("mig", gpu.mig_mode, gpu.mig_pending)}) {
    if (!complaint.empty()) {
      return complaint;
    }
  }
  return {};
}

/// What two GPUs must not share but do.
std::string shared_identity(const GpuRecord &a, const GpuRecord &b) {
  if (a.uuid.text.view() == b.uuid.text.view()) {
    return described("uuid", a.uuid);
  }
  if (a.pci_address == b.pci_address) {
    return described("pci_address", a.pci_address);
  }
  if (a.minor == b.minor) {
    return described("minor", a.minor);
  }
  return {};
}

} // namespace

bool joined_by_nvlink(const GpuRecord &a, const GpuRecord &b) {
  const auto some = [](const GpuRecord &gpu, const auto &leads) {
    return std::ranges::any_of(gpu.links, leads);
  };
  const auto to = [](const GpuRecord &gpu) {
    return [&gpu](const LinkRecord &link) { return leads_to(link, gpu); };
  };
  return (some(a, to(b)) && some(b, to(a))) ||
         (some(a, leads_to_switch) && some(b, leads_to_switch));
}

void derive(MachineRecord &machine, const Given &given) {
  if (!given("system", 0, 0, "nvml_version")) {
    machine.system.nvml_version.assign(
        ("12." + std::string(machine.system.driver_version.view())).substr(0, 79));
  }
  for (std::uint32_t i = 0; i < machine.gpu_count; ++i) {
    GpuRecord &gpu = machine.gpus[i];
    if (!given("gpu", i, 0, "minor")) {
      gpu.minor = i;
    }
    if (!given("gpu", i, 0, "board_id")) {
      gpu.board_id = 256 * gpu.pci_address.bus;
    }
  }
  for (std::uint32_t b = 1; b < machine.gpu_count; ++b) {
    for (std::uint32_t a = 0; a < b; ++a) {
      const GpuRecord &first = machine.gpus[a];
      const GpuRecord &second = machine.gpus[b];
      PairRecord &pair = machine.pairs[pair_index(a, b)];
      if (!given("pair", a, b, "same_board")) {
        pair.same_board = first.board_id == second.board_id ? Answer::yes : Answer::no;
      }
      const bool reachable = pair.ancestor < Ancestor::node || joined_by_nvlink(first, second);
      if (!given("pair", a, b, "p2p")) {
        pair.p2p = reachable ? P2pStatus::ok : P2pStatus::topology;
      }
    }
  }
}

std::string contradiction(const MachineRecord &machine) {
  const std::span gpus(machine.gpus.data(), machine.gpu_count);
  for (std::size_t b = 0; b < gpus.size(); ++b) {
    if (std::string complaint = gpu_contradiction(gpus[b]); !complaint.empty()) {
      return "gpu " + std::to_string(b) + " " + complaint;
    }
    for (std::size_t a = 0; a < b; ++a) {
      if (std::string shared = shared_identity(gpus[a], gpus[b]); !shared.empty()) {
        return "gpu " + std::to_string(b) + " " + shared + ": that is gpu " + std::to_string(a) +
               "'s";
      }
    }
  }
  return {};
}

} // namespace plumbline::mocknvml
