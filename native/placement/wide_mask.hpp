// A set of up to 256 devices, NUMA nodes, sockets or rails.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace plumbline::placement {

/// Behaves like an unsigned number of 256 bits as far as sets need that.
struct WideMask {
  static constexpr std::size_t size = 4;
  std::array<std::uint64_t, size> words{};

  constexpr WideMask() = default;
  /// Not explicit: a mask of 64 bits is one, too.
  constexpr WideMask(std::uint64_t low) : words{low} {}
  constexpr WideMask(std::uint64_t w0, std::uint64_t w1, std::uint64_t w2, std::uint64_t w3)
      : words{w0, w1, w2, w3} {}

  constexpr bool operator==(const WideMask &other) const {
    return ((words[0] ^ other.words[0]) | (words[1] ^ other.words[1]) |
            (words[2] ^ other.words[2]) | (words[3] ^ other.words[3])) == 0;
  }
  constexpr WideMask operator~() const { return {~words[0], ~words[1], ~words[2], ~words[3]}; }
  constexpr WideMask operator&(const WideMask &other) const {
    return {words[0] & other.words[0], words[1] & other.words[1], words[2] & other.words[2],
            words[3] & other.words[3]};
  }
  constexpr WideMask operator|(const WideMask &other) const {
    return {words[0] | other.words[0], words[1] | other.words[1], words[2] | other.words[2],
            words[3] | other.words[3]};
  }
  constexpr WideMask operator^(const WideMask &other) const {
    return {words[0] ^ other.words[0], words[1] ^ other.words[1], words[2] ^ other.words[2],
            words[3] ^ other.words[3]};
  }
  constexpr WideMask &operator&=(const WideMask &other) { return *this = *this & other; }
  constexpr WideMask &operator|=(const WideMask &other) { return *this = *this | other; }
};

/// Every bit there is.
constexpr WideMask every_bit = ~WideMask{};

} // namespace plumbline::placement
