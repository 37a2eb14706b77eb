// Everything about every set of a machine of up to exact_up_to devices.
#pragma once

#include "placement/ranking.hpp"
#include "placement/twins.hpp"

namespace plumbline::placement {

struct Tables {
  explicit Tables(const Machine<Mask> &machine);

  std::vector<Traits> traits;      ///< by mask
  std::vector<Rest> rest;          ///< by the mask of what is left
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
