// Plain values that live in shared memory: trivially copyable, no pointers, all
// bits zero is a valid value.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace plumbline::mocknvml {

/// Text of at most N - 1 bytes; the rest is zero.
template <std::size_t N> struct Text {
  char data[N];

  [[nodiscard]] std::string_view view() const { return {data, strnlen(data, N)}; }
  [[nodiscard]] bool empty() const { return data[0] == '\0'; }

  bool assign(std::string_view text) {
    if (text.size() >= N) {
      return false;
    }
    std::memset(data, 0, N);
    std::memcpy(data, text.data(), text.size());
    return true;
  }
};

/// Text whose absence is spelled `none` and kept as the empty text.
template <std::size_t N> struct OptionalText {
  Text<N> text;

  [[nodiscard]] bool present() const { return !text.empty(); }
};

/// `GPU-` and 8-4-4-4-12 hexadecimal digits, in lower case.
struct GpuUuid {
  Text<48> text;
};

/// A number that a machine may not have.
struct OptionalNumber {
  std::uint32_t value;
  std::uint32_t present;
};

/// A number that is read and written in hexadecimal, padded to Digits.
template <unsigned Digits> struct Hexadecimal {
  std::uint64_t value;
};

/// A number from 0 to Max.
template <std::uint32_t Max> struct Bounded {
  std::uint32_t value;
};

using Percent = Bounded<100>;
using PerformanceState = Bounded<15>;
using Byte = Bounded<255>;

/// A set of small numbers, written as a list of ranges: `0-55,112-167`.
template <std::size_t Bits> struct NumberSet {
  static_assert(Bits % 64 == 0);
  static constexpr std::size_t size = Bits;
  std::array<std::uint64_t, Bits / 64> words;

  [[nodiscard]] bool has(std::size_t bit) const {
    return bit < Bits && ((words[bit / 64] >> (bit % 64)) & 1U) != 0;
  }
  void add(std::size_t bit) { words[bit / 64] |= std::uint64_t{1} << (bit % 64); }
};

using CpuSet = NumberSet<1024>;
using NodeSet = NumberSet<256>;

/// A PCI address. NVML has no functions: a GPU is always function 0.
struct PciAddress {
  std::uint32_t domain;
  std::uint32_t bus;
  std::uint32_t device;
  std::uint32_t function;

  friend bool operator==(const PciAddress &, const PciAddress &) = default;
};

/// A PCI address that may be unknown.
struct OptionalPciAddress {
  PciAddress address;
  std::uint32_t present;
};

struct ComputeCapability {
  std::uint32_t major;
  std::uint32_t minor;
};

/// The 16 bytes of a UUID, in the order in which they are written.
struct RawUuid {
  std::array<std::uint8_t, 16> bytes;
};

// The enumerators below have NVML's values; words.hpp holds their spelling.

enum class Switch : std::uint32_t { off = 0, on = 1 };
enum class Feature : std::uint32_t { off = 0, on = 1, none = 2 };
enum class Answer : std::uint32_t { no = 0, yes = 1 };

enum class Brand : std::uint32_t {
  unknown = 0,
  quadro = 1,
  tesla = 2,
  nvs = 3,
  grid = 4,
  geforce = 5,
  titan = 6,
  quadro_rtx = 12,
  nvidia_rtx = 13,
  nvidia = 14,
  geforce_rtx = 15,
  titan_rtx = 16,
};

enum class Architecture : std::uint32_t {
  kepler = 2,
  maxwell = 3,
  pascal = 4,
  volta = 5,
  turing = 6,
  ampere = 7,
  ada = 8,
  hopper = 9,
  blackwell = 10,
  unknown = 0xffffffff,
};

enum class ComputeMode : std::uint32_t {
  shared = 0,
  prohibited = 2,
  exclusive_process = 3,
};

enum class FabricState : std::uint32_t {
  not_supported = 0,
  not_started = 1,
  in_progress = 2,
  completed = 3,
};

enum class LinkState : std::uint32_t { down = 0, up = 1 };
enum class RemoteType : std::uint32_t { gpu = 0, npu = 1, nvswitch = 2, unknown = 0xff };

enum class Ancestor : std::uint32_t {
  internal = 0,
  single = 10,
  multiple = 20,
  hostbridge = 30,
  node = 40,
  system = 50,
};

enum class P2pStatus : std::uint32_t {
  ok = 0,
  chipset = 1,
  gpu = 2,
  topology = 3,
  disabled = 4,
  not_supported = 5,
};

} // namespace plumbline::mocknvml
