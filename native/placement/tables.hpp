// Everything about every set of a machine of up to exact_up_to devices.
#pragma once

#include "placement/packing.hpp"
#include "placement/ranking.hpp"
#include "placement/sums.hpp"
#include "placement/twins.hpp"

namespace plumbline::placement {

struct Tables {
  explicit Tables(const Machine<Mask> &machine);

  /// What a search knows of a set that is left.
  [[nodiscard]] Rest rest(Mask left) const {
    const auto &there = room[left];
    return {.fragmentation = there.fragmentation,
            .sum_gbps = there.sum_gbps,
            .reach_gbps = reach(static_cast<std::uint32_t>(left))};
  }

  /// The part of a Rest that is no sum over devices.
  struct Room {
    std::uint32_t fragmentation = 0;
    std::uint32_t sum_gbps = 0;
  };

  std::vector<Traits> traits; ///< by mask
  std::vector<Room> room;     ///< by the mask of what is left
  Sums<std::uint64_t> reach;  ///< GB/s with every device, by mask
  /// Most disjoint sets of the top grade within, by mask, for each of expected_requests; empty
  /// for a size that the machine has not.
  std::array<std::vector<std::uint8_t>, expected_requests.size()> counts;
  std::vector<std::uint64_t> sums; ///< by mask; apart from traits, that a search reads little
  std::vector<Fields> fields;      ///< by mask, unknown nodes counted
  Twins<Mask> twins;
  std::vector<Fields> known; ///< by mask, unknown nodes not counted; empty when there are none

  [[nodiscard]] const std::vector<Fields> &fields_for(const Ranking &ranking) const {
    return ranking.counts_known_only() && !known.empty() ? known : fields;
  }

  [[nodiscard]] std::size_t bytes() const;
};

} // namespace plumbline::placement
