#include "codec.hpp"

#include <charconv>
#include <limits>

namespace plumbline::mocknvml {

namespace {

bool is_hexadecimal(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// 8-4-4-4-12 hexadecimal digits.
bool is_uuid(std::string_view text) {
  if (text.size() != 36) {
    return false;
  }
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !is_hexadecimal(text[i])) {
      return false;
    }
  }
  return true;
}

bool read_digits(std::string_view text, int base, std::uint64_t limit, std::uint64_t &value) {
  std::uint64_t number = 0;
  const char *end = text.data() + text.size();
  // NOLINTNEXTLINE(bugprone-suspicious-stringview-data-usage): its end is given
  const auto result = std::from_chars(text.data(), end, number, base);
  if (text.empty() || result.ec != std::errc{} || result.ptr != end || number > limit) {
    return false;
  }
  value = number;
  return true;
}

/// Reads hexadecimal digits up to `separator` and removes both from the text.
bool take_hexadecimal(std::string_view &text, char separator, std::uint64_t limit,
                      std::uint32_t &value) {
  const std::size_t length = text.find(separator);
  std::uint64_t number = 0;
  if (length == std::string_view::npos || !read_digits(text.substr(0, length), 16, limit, number)) {
    return false;
  }
  value = static_cast<std::uint32_t>(number);
  text.remove_prefix(length + 1);
  return true;
}

} // namespace

bool read_number(std::string_view text, std::uint64_t limit, std::uint64_t &value) {
  if (text.starts_with("0x")) {
    return read_digits(text.substr(2), 16, limit, value);
  }
  return read_digits(text, 10, limit, value);
}

bool read(std::string_view text, std::uint32_t &value) {
  std::uint64_t number = 0;
  if (!read_number(text, std::numeric_limits<std::uint32_t>::max(), number)) {
    return false;
  }
  value = static_cast<std::uint32_t>(number);
  return true;
}

bool read(std::string_view text, std::uint64_t &value) {
  return read_number(text, std::numeric_limits<std::uint64_t>::max(), value);
}

bool read(std::string_view text, OptionalNumber &value) {
  OptionalNumber number{.value = 0, .present = 1};
  if (text == "none") {
    number.present = 0;
  } else if (!read(text, number.value)) {
    return false;
  }
  value = number;
  return true;
}

bool read(std::string_view text, GpuUuid &value) {
  constexpr std::string_view prefix = "GPU-";
  if (!text.starts_with(prefix) || !is_uuid(text.substr(prefix.size()))) {
    return false;
  }
  std::string canonical(prefix);
  for (const char c : text.substr(prefix.size())) {
    canonical += lower(c);
  }
  return value.text.assign(canonical);
}

bool read(std::string_view text, RawUuid &value) {
  if (!is_uuid(text)) {
    return false;
  }
  std::size_t position = 0;
  for (std::uint8_t &byte : value.bytes) {
    position += text[position] == '-' ? 1 : 0;
    std::from_chars(text.data() + position, text.data() + position + 2, byte, 16);
    position += 2;
  }
  return true;
}

bool read(std::string_view text, PciAddress &value) {
  const std::size_t domain_digits = text.find(':');
  if (domain_digits == std::string_view::npos || domain_digits < 4 || domain_digits > 8) {
    return false;
  }
  PciAddress address{};
  if (!take_hexadecimal(text, ':', 0xffffffff, address.domain) ||
      !take_hexadecimal(text, ':', 0xff, address.bus) ||
      !take_hexadecimal(text, '.', 0x1f, address.device)) {
    return false;
  }
  std::uint64_t function = 0;
  if (text.size() != 1 || !read_digits(text, 16, 7, function)) {
    return false;
  }
  address.function = static_cast<std::uint32_t>(function);
  value = address;
  return true;
}

bool read(std::string_view text, OptionalPciAddress &value) {
  OptionalPciAddress optional{.address = {}, .present = 1};
  if (text == "none") {
    optional.present = 0;
  } else if (!read(text, optional.address)) {
    return false;
  }
  value = optional;
  return true;
}

bool read(std::string_view text, ComputeCapability &value) {
  const std::size_t dot = text.find('.');
  std::uint64_t major = 0;
  std::uint64_t minor = 0;
  if (dot == std::string_view::npos || !read_digits(text.substr(0, dot), 10, 999, major) ||
      !read_digits(text.substr(dot + 1), 10, 999, minor)) {
    return false;
  }
  value = {.major = static_cast<std::uint32_t>(major), .minor = static_cast<std::uint32_t>(minor)};
  return true;
}

void write(std::uint32_t value, std::string &out) { out += std::to_string(value); }

void write(std::uint64_t value, std::string &out) { out += std::to_string(value); }

void write(const OptionalNumber &value, std::string &out) {
  out += value.present != 0 ? std::to_string(value.value) : "none";
}

void write(const GpuUuid &value, std::string &out) { out += value.text.view(); }

void write(const RawUuid &value, std::string &out) {
  for (std::size_t i = 0; i < value.bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) {
      out += '-';
    }
    out += "0123456789abcdef"[value.bytes[i] >> 4U];
    out += "0123456789abcdef"[value.bytes[i] & 0xfU];
  }
}

void write(const PciAddress &value, std::string &out) {
  char text[32];
  std::snprintf(text, sizeof(text), "%04x:%02x:%02x.%x", value.domain, value.bus, value.device,
                value.function);
  out += text;
}

void write(const OptionalPciAddress &value, std::string &out) {
  if (value.present != 0) {
    write(value.address, out);
  } else {
    out += "none";
  }
}

void write(const ComputeCapability &value, std::string &out) {
  out += std::to_string(value.major) + "." + std::to_string(value.minor);
}

void write_hexadecimal(std::uint64_t value, unsigned digits, std::string &out) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%0*llx", static_cast<int>(digits),
                static_cast<unsigned long long>(value));
  out += text;
}

std::string expectation(As<std::uint32_t> /*type*/) { return "a number from 0 to 4294967295"; }
std::string expectation(As<std::uint64_t> /*type*/) { return "a number from 0 to 2^64 - 1"; }
std::string expectation(As<OptionalNumber> /*type*/) {
  return "a number from 0 to 4294967295, or none";
}
std::string expectation(As<GpuUuid> /*type*/) { return "GPU- and 8-4-4-4-12 hexadecimal digits"; }
std::string expectation(As<RawUuid> /*type*/) { return "8-4-4-4-12 hexadecimal digits"; }
std::string expectation(As<PciAddress> /*type*/) {
  return "a PCI address dddd:bb:dd.f, its domain of 4 to 8 digits";
}
std::string expectation(As<OptionalPciAddress> /*type*/) {
  return expectation(As<PciAddress>{}) + ", or none";
}
std::string expectation(As<ComputeCapability> /*type*/) { return "two numbers like 9.0"; }

bool read_ranges(std::string_view text, std::size_t size, std::uint64_t *bits) {
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view range = text.substr(0, comma);
    const std::size_t dash = range.find('-');
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    if (!read_digits(range.substr(0, dash), 10, size - 1, first)) {
      return false;
    }
    if (dash == std::string_view::npos) {
      last = first;
    } else if (!read_digits(range.substr(dash + 1), 10, size - 1, last) || last < first) {
      return false;
    }
    for (std::uint64_t bit = first; bit <= last; ++bit) {
      bits[bit / 64] |= std::uint64_t{1} << (bit % 64);
    }
    if (comma == std::string_view::npos) {
      return true;
    }
    text.remove_prefix(comma + 1);
    if (text.empty()) {
      return false;
    }
  }
  return true;
}

void write_ranges(std::size_t size, const std::uint64_t *bits, std::string &out) {
  const auto has = [&](std::size_t bit) {
    return bit < size && ((bits[bit / 64] >> (bit % 64)) & 1U) != 0;
  };
  const char *separator = "";
  for (std::size_t first = 0; first < size; ++first) {
    if (!has(first)) {
      continue;
    }
    std::size_t last = first;
    while (has(last + 1)) {
      ++last;
    }
    out += separator + std::to_string(first);
    if (last > first) {
      out += "-" + std::to_string(last);
    }
    separator = ",";
    first = last;
  }
}

} // namespace plumbline::mocknvml
