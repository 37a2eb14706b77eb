#include "topology/config_space.hpp"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include <unistd.h>

namespace plumbline::topology {

namespace {

// Offsets and bits: PCI Express Base Specification, chapter 7; names as in the kernel's
// include/uapi/linux/pci_regs.h.
constexpr off_t header_size = 64;
constexpr off_t capability_pointer = 0x34;
constexpr std::uint8_t capability_pci_express = 0x10;
constexpr off_t express_flags = 0x02;
constexpr off_t extended_start = 0x100;
constexpr std::uint16_t extended_acs = 0x000d;
constexpr off_t acs_control = 0x06;
constexpr std::uint32_t acs_redirects = 0x4U | 0x8U; // of requests, of completions
// As many as fit: (256 - 64) / 4 and (4096 - 256) / 8. A list that is longer is a loop.
constexpr int most_capabilities = 48;
constexpr int most_extended_capabilities = 480;

/// Reads single registers: every byte of a real device is a bus access, so that reading all
/// 4096 of them for each bridge would cost more than everything else together.
class ConfigSpace {
public:
  explicit ConfigSpace(const Descriptor &file) : fd_(file.get()) {}

  /// A little-endian register; nothing where the file ends or the kernel refuses.
  template <typename T> [[nodiscard]] std::optional<T> at(off_t offset) const {
    std::array<std::uint8_t, sizeof(T)> bytes{};
    ssize_t count = 0;
    do {
      count = ::pread(fd_, bytes.data(), bytes.size(), offset);
    } while (count < 0 && errno == EINTR);
    if (count != static_cast<ssize_t>(bytes.size())) {
      return std::nullopt;
    }
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      value |= static_cast<std::uint32_t>(bytes.at(i)) << (8U * i);
    }
    return static_cast<T>(value);
  }

private:
  int fd_;
};

enum class Search : std::uint8_t { found, none, unreadable, endless };

struct Capability {
  Search outcome = Search::none;
  off_t offset = 0;
};

Capability find_express(const ConfigSpace &config) {
  auto pointer = config.at<std::uint8_t>(capability_pointer);
  for (int i = 0; i < most_capabilities; ++i) {
    if (!pointer) {
      return {.outcome = Search::unreadable};
    }
    const off_t offset = *pointer & 0xfcU;
    if (offset < header_size) {
      return {.outcome = Search::none};
    }
    const auto header = config.at<std::uint16_t>(offset);
    if (header && (*header & 0xffU) == capability_pci_express) {
      return {.outcome = Search::found, .offset = offset};
    }
    pointer = header ? std::optional{static_cast<std::uint8_t>(*header >> 8U)} : std::nullopt;
  }
  return {.outcome = Search::endless};
}

Capability find_acs(const ConfigSpace &config) {
  off_t offset = extended_start;
  for (int i = 0; i < most_extended_capabilities; ++i) {
    const auto header = config.at<std::uint32_t>(offset);
    if (!header) {
      return {.outcome = Search::unreadable};
    }
    // All zeros ends an empty list; all ones is how a device that is gone reads.
    if (*header == 0 || *header == 0xffffffffU) {
      return {.outcome = *header == 0 ? Search::none : Search::unreadable};
    }
    if ((*header & 0xffffU) == extended_acs) {
      return {.outcome = Search::found, .offset = offset};
    }
    offset = static_cast<off_t>((*header >> 20U) & 0xffcU);
    if (offset < extended_start) {
      return {.outcome = Search::none};
    }
  }
  return {.outcome = Search::endless};
}

std::optional<PortType> port_type(std::uint32_t flags) {
  switch ((flags >> 4U) & 0xfU) {
  case 0x4:
    return PortType::root;
  case 0x5:
    return PortType::upstream;
  case 0x6:
    return PortType::downstream;
  case 0x7:
  case 0x8:
    return PortType::bridge;
  default:
    return std::nullopt;
  }
}

std::optional<bool> redirects(const ConfigSpace &config, const Capability &acs) {
  if (acs.outcome != Search::found) {
    return acs.outcome == Search::none ? std::optional{false} : std::nullopt;
  }
  const auto control = config.at<std::uint16_t>(acs.offset + acs_control);
  if (!control) {
    return std::nullopt;
  }
  return (std::uint32_t{*control} & acs_redirects) != 0;
}

} // namespace

PortFacts read_port(Walker &walker) {
  const auto file = walker.open_file("config");
  if (!file.is_open()) {
    return {};
  }
  const ConfigSpace config{file};
  if (!config.at<std::uint32_t>(header_size - 4)) {
    walker.warn("config", "is shorter than a configuration header of 64 bytes.");
    return {};
  }
  const auto express = find_express(config);
  if (express.outcome == Search::none) {
    return {.type = PortType::bridge, .redirects = false}; // conventional PCI has no access control
  }
  const auto acs = express.outcome == Search::found ? find_acs(config)
                                                    : Capability{.outcome = Search::unreadable};
  if (express.outcome == Search::endless || acs.outcome == Search::endless) {
    walker.warn("config", "has a list of capabilities that does not end.");
  }
  if (express.outcome != Search::found) {
    return {};
  }
  const auto flags = config.at<std::uint16_t>(express.offset + express_flags);
  return {.type = flags ? port_type(*flags) : std::nullopt, .redirects = redirects(config, acs)};
}

} // namespace plumbline::topology
