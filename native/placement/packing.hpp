// How many requests of one size still fit, well placed, into every set of devices.
#pragma once

#include "placement/machine.hpp"

namespace plumbline::placement {

/// How good a set is for a job of its size: slowest pair, then NUMA nodes, then sockets.
/// Larger is better; the tier of the slowest pair is grade >> grade_shift.
using Grade = std::uint32_t;
constexpr unsigned grade_shift = 16;
Grade grade_of(const Traits &traits);

/// Sets of one size in a machine of up to exact_up_to devices, by mask.
struct Packing {
  Grade top = 0;                   ///< of the best set on the whole machine
  std::vector<Grade> best;         ///< of the best set within; 0 when none fits
  std::vector<std::uint8_t> count; ///< most disjoint sets of the top grade within
};

/// Exact. Takes the traits of every set, by mask, and 1 <= size <= the number of devices.
Packing pack_sets(const Machine<Mask> &machine, const std::vector<Traits> &traits, int size);

/// Sizes of the requests to come and what one of each is worth: size times its share of the
/// jobs (1 : 2 : 4 : 8 as .5 : .25 : .2 : .05), in twentieths.
struct Expected {
  int size;
  std::uint32_t weight;
};
constexpr std::array<Expected, 3> expected_requests{
    {{.size = 2, .weight = 10}, {.size = 4, .weight = 16}, {.size = 8, .weight = 8}}};

/// One expected size's part of the fragmentation: in thousandths, the best slowest pair left
/// against the machine's best, and the number of best sets left.
std::uint32_t room(const Expected &expected, std::int64_t best_gbps, std::int64_t top_gbps,
                   int count);

} // namespace plumbline::placement
