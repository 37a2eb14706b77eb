// What placement works on and answers with.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "placement/wide_mask.hpp"

namespace plumbline::placement {

/// One bit per device by rank; elsewhere one bit per NUMA node, socket or rail. What comes in
/// and goes out is a WideMask; a machine that has no more than 64 of anything is searched with
/// this. Where code is for both, its parameter is called Set.
using Mask = std::uint64_t;

constexpr int max_devices = 256;
/// Different pair values that are told apart. Of more (180 devices and more, no two pairs alike)
/// every second one counts as the next slower one.
constexpr std::size_t most_tiers = std::size_t{1} << 14U;
/// Up to here, on machines that a Mask is enough for, every set has a place in the tables and
/// every answer is exact.
constexpr int exact_up_to = 16;

/// The places of a key. Every value is an integer, and larger is better.
enum class Term : std::uint8_t {
  ring,          ///< GB/s of the slowest hop of the best ring through the set
  min_pair,      ///< GB/s of the slowest pair
  clique,        ///< 1 when the set lies in one complete NVLink clique
  numa_nodes,    ///< minus the NUMA nodes spanned, an unknown one being one of its own
  sockets,       ///< minus the sockets spanned, likewise
  fragmentation, ///< what can still be placed on the rest of the node
  rest_sum,      ///< GB/s summed over the pairs of the rest of the node
  rest_reach,    ///< GB/s summed over the rest's pairs with every device, also with those in use
  rails,         ///< rails covered up to those wanted, or minus the rails taken from others
  rail_devices,  ///< devices with a rail, counted like rails
  sum_pair,      ///< GB/s summed over the pairs of the set
  penalty,       ///< minus the penalties
  order,         ///< the set's ranks as a number, the lowest rank in its highest bit
};
constexpr int term_count = 13;

/// How the terms are ordered; Ranking says precisely.
enum class Policy : std::uint8_t { standard, numa_first, rdma, pack, spread };

/// What the caller knows of the machine, by rank. Machine checks it.
struct Facts {
  std::vector<std::vector<std::int64_t>> pair_gbps;
  std::vector<WideMask> numa; ///< nodes of each device, 0 when unknown
  std::vector<WideMask> socket;
  std::vector<std::int64_t> clique; ///< id of a complete NVLink clique, -1 for none
  std::vector<WideMask> rails;      ///< usable NICs near each device, free or not
  std::vector<std::int64_t> penalty;
};

/// What a set is by itself. Pair values are tiers: positions in Machine::tiers.
struct Traits {
  std::uint32_t sum_gbps = 0;
  std::uint32_t penalty = 0;
  std::uint16_t ring = 0;
  std::uint16_t min_pair = 0;
  std::uint8_t complete = 1;
  std::uint16_t nodes = 0;
  std::uint16_t unknown_nodes = 0;
  std::uint16_t sockets = 0;
  std::uint16_t unknown_sockets = 0;
  std::uint16_t rails = 0;
  std::uint16_t rail_devices = 0;
};

/// What a set leaves behind.
struct Rest {
  std::uint32_t fragmentation = 0;
  std::uint32_t sum_gbps = 0;
  std::uint64_t reach_gbps = 0; ///< with every device: what is in use now comes free again
};

struct Request {
  WideMask available;
  WideMask must; ///< may lie outside of available
  int size = 0;
  WideMask free; ///< what is free on the node; available is added
  Policy policy = Policy::standard;
  int rails_wanted = 0;
  WideMask rails_free = every_bit; ///< the only ones that count where rails are liked
};

struct Key {
  std::array<std::int64_t, term_count - 1> values{};
  WideMask order; ///< the last place

  bool operator==(const Key &) const = default;
};

struct Choice {
  WideMask chosen;
  Key key{};
  std::array<Term, term_count> terms{};
  std::optional<WideMask> runner_up;
  Key runner_up_key{};
  std::optional<std::int64_t> ring_gbps;
  std::optional<std::int64_t> min_pair_gbps;
  std::int64_t sum_pair_gbps = 0;
  std::optional<std::pair<int, int>> limiting_pair;
  bool exact = true;
  std::int64_t examined = 0;
};

/// What is left for requests of one size.
struct Aligned {
  int count = 0;                  ///< disjoint sets as good as the best on the whole machine
  std::int64_t min_pair_gbps = 0; ///< of the best single one
  WideMask witness;               ///< that one; 0 when no set of the size is left
};

} // namespace plumbline::placement
