#include "topology/parse.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <ranges>
#include <utility>

namespace plumbline::topology {

namespace {

// MAX_NUMNODES is 1024 and NR_CPUS at most 8192 in any kernel configuration; the CPU bound
// leaves room without letting one line of text ask for gigabytes.
constexpr int highest_numa_node = 1023;
constexpr int highest_cpu = 65535;
// SLIT distances are one byte; 255 is "unreachable" (ACPI 6.5, 5.2.17).
constexpr int highest_distance = 255;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_lower_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); }

bool all_lower_hex(std::string_view text) { return std::ranges::all_of(text, is_lower_hex); }

/// Cuts the text before the separator off and returns it; all of it when there is none.
std::string_view cut(std::string_view &text, char separator) {
  const auto end = text.find(separator);
  const auto head = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  return head;
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

Parsed<int> bounded(std::string_view text, int least, int most) {
  const auto number = decimal(text, least, most);
  return number ? Parsed<int>::known(static_cast<int>(*number)) : Parsed<int>::absurd();
}

Parsed<int> bounded_or_minus_one(std::string_view text, int most) {
  return text == "-1" ? Parsed<int>::unknown() : bounded(text, 0, most);
}

/// 0x and exactly this many hexadecimal digits.
Parsed<int> hexadecimal(std::string_view text, std::size_t digits) {
  int number = 0;
  if (!text.starts_with("0x") || text.size() != digits + 2) {
    return Parsed<int>::absurd();
  }
  const auto [end, error] = std::from_chars(text.data() + 2, text.data() + text.size(), number, 16);
  const bool whole = error == std::errc{} && end == text.data() + text.size() && number >= 0;
  return whole ? Parsed<int>::known(number) : Parsed<int>::absurd();
}

/// One member of a CPU list, appended to cpus: a number or a range, above all before it.
bool append_cpu_range(std::string_view item, std::vector<int> &cpus) {
  const auto least = cpus.empty() ? 0 : cpus.back() + 1;
  const auto first = decimal(cut(item, '-'), least, highest_cpu);
  const auto last = item.data() == nullptr ? first : decimal(item, first.value_or(0), highest_cpu);
  if (!first || !last) {
    return false;
  }
  for (auto cpu = *first; cpu <= *last; ++cpu) {
    cpus.push_back(static_cast<int>(cpu));
  }
  return true;
}

std::optional<double> fraction(std::string_view text) {
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  // 100 Tb/s bounds what a port could ever say, and keeps inf and nan out.
  return whole && number >= 0 && number <= 100'000 ? std::optional{number} : std::nullopt;
}

/// Compares two runs of digits by value, without a limit on their length.
std::strong_ordering compare_digits(std::string_view a, std::string_view b) {
  a.remove_prefix(std::min(a.find_first_not_of('0'), a.size()));
  b.remove_prefix(std::min(b.find_first_not_of('0'), b.size()));
  return a.size() != b.size() ? a.size() <=> b.size() : a.compare(b) <=> 0;
}

std::string_view cut_digits(std::string_view &text) {
  const auto end =
      static_cast<std::size_t>(std::ranges::find_if_not(text, is_digit) - text.begin());
  const auto digits = text.substr(0, end);
  text.remove_prefix(end);
  return digits;
}

} // namespace

std::optional<std::int64_t> decimal(std::string_view text, std::int64_t least, std::int64_t most) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  return whole && number >= least && number <= most ? std::optional{number} : std::nullopt;
}

bool is_pci_address(std::string_view text) {
  const auto domain = cut(text, ':');
  return domain.size() >= 4 && domain.size() <= 8 && all_lower_hex(domain) && text.size() == 7 &&
         all_lower_hex(text.substr(0, 2)) && text[2] == ':' && all_lower_hex(text.substr(3, 2)) &&
         text[5] == '.' && text[6] >= '0' && text[6] <= '7';
}

bool is_host_bridge(std::string_view text) {
  if (!text.starts_with("pci")) {
    return false;
  }
  text.remove_prefix(3);
  const auto domain = cut(text, ':');
  return domain.size() >= 4 && domain.size() <= 8 && all_lower_hex(domain) && text.size() == 2 &&
         all_lower_hex(text);
}

bool address_before(std::string_view a, std::string_view b) {
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

bool natural_before(std::string_view a, std::string_view b) {
  auto rest_a = a;
  auto rest_b = b;
  while (!rest_a.empty() && !rest_b.empty()) {
    if (is_digit(rest_a.front()) && is_digit(rest_b.front())) {
      const auto order = compare_digits(cut_digits(rest_a), cut_digits(rest_b));
      if (order != 0) {
        return order < 0;
      }
      continue;
    }
    if (rest_a.front() != rest_b.front()) {
      return rest_a.front() < rest_b.front();
    }
    rest_a.remove_prefix(1);
    rest_b.remove_prefix(1);
  }
  // "a01" and "a1" are equal so far: the texts themselves decide, so that the order is total.
  return rest_a.size() != rest_b.size() ? rest_a.size() < rest_b.size() : a < b;
}

Parsed<int> parse_id16(std::string_view text) { return hexadecimal(text, 4); }

Parsed<int> parse_class_code(std::string_view text) { return hexadecimal(text, 6); }

Parsed<int> parse_numa_node(std::string_view text) {
  return bounded_or_minus_one(text, highest_numa_node);
}

Parsed<int> parse_link_generation(std::string_view text) {
  // pci_speed_string() in drivers/pci/probe.c; before Linux 5.13 without " PCIe".
  static constexpr std::array<std::pair<std::string_view, int>, 10> generations{{
      {"2.5 GT/s", 1},
      {"5.0 GT/s", 2},
      {"8.0 GT/s", 3},
      {"16.0 GT/s", 4},
      {"32.0 GT/s", 5},
      {"64.0 GT/s", 6},
      {"128.0 GT/s", 7},
      {"5 GT/s", 2}, // older kernels print whole numbers
      {"8 GT/s", 3},
      {"16 GT/s", 4},
  }};
  if (text == "Unknown" || text == "Unknown speed") {
    return Parsed<int>::unknown();
  }
  if (text.ends_with(" PCIe")) {
    text.remove_suffix(5);
  }
  const auto *const found =
      std::ranges::find(generations, text, &std::pair<std::string_view, int>::first);
  return found == generations.end() ? Parsed<int>::absurd() : Parsed<int>::known(found->second);
}

Parsed<int> parse_link_width(std::string_view text) {
  static constexpr std::array widths{1, 2, 4, 8, 12, 16, 32};
  const auto width = decimal(text, 0, 255);
  if (!width) {
    return Parsed<int>::absurd();
  }
  if (*width == 0 || *width == 255) {
    return Parsed<int>::unknown();
  }
  const bool legal = std::ranges::find(widths, *width) != widths.end();
  return legal ? Parsed<int>::known(static_cast<int>(*width)) : Parsed<int>::absurd();
}

Parsed<int> parse_iommu_group(std::string_view text) {
  return bounded(text, 0, std::numeric_limits<int>::max());
}

Parsed<int> parse_package(std::string_view text) {
  return bounded_or_minus_one(text, std::numeric_limits<int>::max());
}

Parsed<std::vector<int>> parse_cpu_list(std::string_view text) {
  std::vector<int> cpus;
  for (const auto item : std::views::split(text, ',')) {
    if (!append_cpu_range(std::string_view{item.begin(), item.end()}, cpus)) {
      return Parsed<std::vector<int>>::absurd();
    }
  }
  return Parsed<std::vector<int>>::known(std::move(cpus));
}

Parsed<std::vector<int>> parse_distances(std::string_view text) {
  std::vector<int> distances;
  for (const auto item : std::views::split(text, ' ')) {
    const auto distance = decimal(std::string_view{item.begin(), item.end()}, 1, highest_distance);
    if (!distance) {
      return Parsed<std::vector<int>>::absurd();
    }
    distances.push_back(static_cast<int>(*distance));
  }
  return Parsed<std::vector<int>>::known(std::move(distances));
}

Parsed<std::int64_t> parse_memory_total(std::string_view text) {
  static constexpr std::string_view key = "MemTotal:";
  const auto at = text.find(key);
  if (at == std::string_view::npos) {
    return Parsed<std::int64_t>::absurd();
  }
  text.remove_prefix(at + key.size());
  auto amount = trimmed(cut(text, '\n'));
  if (!amount.ends_with(" kB")) {
    return Parsed<std::int64_t>::absurd();
  }
  amount.remove_suffix(3);
  const auto kibibytes = decimal(amount, 0, std::numeric_limits<std::int64_t>::max() / 1024);
  return kibibytes ? Parsed<std::int64_t>::known(*kibibytes * 1024)
                   : Parsed<std::int64_t>::absurd();
}

Parsed<std::string> parse_port_state(std::string_view text) {
  if (!decimal(cut(text, ':'), 0, 255)) {
    return Parsed<std::string>::absurd();
  }
  return parse_word(trimmed(text));
}

Parsed<double> parse_port_rate(std::string_view text) {
  const auto amount = cut(text, ' ');
  const auto rate = fraction(amount);
  const bool usable = rate && text.starts_with("Gb/sec");
  return usable ? Parsed<double>::known(*rate) : Parsed<double>::absurd();
}

Parsed<std::string> parse_word(std::string_view text) {
  const auto legal = [](char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
  };
  const bool usable = !text.empty() && text.size() <= 64 && std::ranges::all_of(text, legal);
  return usable ? Parsed<std::string>::known(std::string{text}) : Parsed<std::string>::absurd();
}

Parsed<std::string> parse_operstate(std::string_view text) {
  // RFC 2863 states as net/core/net-sysfs.c prints them, in the words of an RDMA port.
  if (text == "unknown") {
    return Parsed<std::string>::unknown();
  }
  if (text == "up") {
    return Parsed<std::string>::known("ACTIVE");
  }
  static constexpr std::array down{"down", "lowerlayerdown", "notpresent", "dormant", "testing"};
  const bool is_down = std::ranges::find(down, text) != down.end();
  return is_down ? Parsed<std::string>::known("DOWN") : Parsed<std::string>::absurd();
}

Parsed<double> parse_interface_speed(std::string_view text) {
  // SPEED_UNKNOWN is -1, which some drivers print as an unsigned number.
  if (text == "-1" || text == "4294967295" || text == "0") {
    return Parsed<double>::unknown();
  }
  const auto megabits = decimal(text, 1, std::numeric_limits<int>::max());
  return megabits ? Parsed<double>::known(static_cast<double>(*megabits) / 1000.0)
                  : Parsed<double>::absurd();
}

Parsed<int> parse_port_index(std::string_view text) { return bounded(text, 0, 255); }

Parsed<std::string> parse_interface_type(std::string_view text) {
  // ARPHRD_ETHER and ARPHRD_INFINIBAND of linux/if_arp.h; the rest is no link layer of ours.
  const auto type = decimal(text, 0, 65535);
  if (!type) {
    return Parsed<std::string>::absurd();
  }
  if (*type == 1) {
    return Parsed<std::string>::known("Ethernet");
  }
  return *type == 32 ? Parsed<std::string>::known("InfiniBand") : Parsed<std::string>::unknown();
}

} // namespace plumbline::topology
