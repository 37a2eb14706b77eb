// Everything about every set of a machine of up to exact_up_to devices.
#pragma once

#include "placement/machine.hpp"

namespace plumbline::placement {

struct Tables {
  explicit Tables(const Machine &machine);

  std::vector<Traits> traits; ///< by mask
  std::vector<Rest> rest;     ///< by the mask of what is left

  std::size_t bytes() const;
};

} // namespace plumbline::placement
