// Text of kernel files to values. Pure; each function names the kernel's own wording.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace plumbline::topology {

/// What a text says: a value, that the kernel does not know it, or nothing usable.
template <typename T> struct Parsed {
  bool usable = false;
  std::optional<T> value;

  static Parsed known(T known_value) { return {true, std::move(known_value)}; }
  static Parsed unknown() { return {true, std::nullopt}; }
  static Parsed absurd() { return {false, std::nullopt}; }
};

/// A whole decimal number from least to most; nothing else in the text.
std::optional<std::int64_t> decimal(std::string_view text, std::int64_t least, std::int64_t most);

/// dddd:bb:dd.f in lower-case hexadecimal; the domain has four to eight digits.
bool is_pci_address(std::string_view text);

/// pcidddd:bb, the directory of a host bridge.
bool is_host_bridge(std::string_view text);

/// Orders addresses as the bus does: longer domains after shorter ones.
bool address_before(std::string_view a, std::string_view b);

/// mlx5_2 before mlx5_10.
bool natural_before(std::string_view a, std::string_view b);

Parsed<int> parse_id16(std::string_view text);                   // 0x10de
Parsed<int> parse_class_code(std::string_view text);             // 0x030200
Parsed<int> parse_numa_node(std::string_view text);              // 0, or -1 for unknown
Parsed<int> parse_link_generation(std::string_view text);        // 16.0 GT/s PCIe, Unknown
Parsed<int> parse_link_width(std::string_view text);             // 16; 0 and 255 for unknown
Parsed<int> parse_iommu_group(std::string_view text);            // 42
Parsed<int> parse_package(std::string_view text);                // 1, or -1 for unknown
Parsed<std::vector<int>> parse_cpu_list(std::string_view text);  // 0-55,112-167
Parsed<std::vector<int>> parse_distances(std::string_view text); // 10 21
Parsed<std::int64_t> parse_memory_total(std::string_view text);  // Node 0 MemTotal: 1024 kB
Parsed<std::string> parse_port_state(std::string_view text);     // 4: ACTIVE
Parsed<double> parse_port_rate(std::string_view text);           // 400 Gb/sec (4X NDR)
Parsed<std::string> parse_word(std::string_view text);           // InfiniBand
Parsed<std::string> parse_operstate(std::string_view text);      // up -> ACTIVE
Parsed<double> parse_interface_speed(std::string_view text);     // 100000 Mb/s, -1 for unknown
Parsed<int> parse_port_index(std::string_view text);             // 0
Parsed<std::string> parse_interface_type(std::string_view text); // 1 -> Ethernet

} // namespace plumbline::topology
