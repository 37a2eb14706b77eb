// Which blocks can change places in one search, and what that saves.
#pragma once

#include "placement/classes.hpp"

namespace plumbline::placement {

/// Two blocks of which exchanging the one for the other turns any set that is searched into one
/// that is as good: of both only the one of lower ranks is worth a look.
template <class Set> struct Mirror {
  /// Devices of the pool that change places, the lower rank of each pair first, the lowest pair
  /// first.
  std::vector<std::pair<int, int>> pairs;
  Set seconds; ///< those of the second block

  /// The set with the blocks exchanged.
  [[nodiscard]] Set image(const Set &set) const;
  /// Whether its image would come first, by so many pairs from the lowest on.
  [[nodiscard]] bool comes_second(const Set &set, std::size_t decided) const;
};

/// Mirrors of neighbours in each family: blocks of which the same devices are in the pool, in
/// must, free, and have as many free rails.
template <class Set>
std::vector<Mirror<Set>> mirrors_of(const LargeSets<Set> &sets, const Search<Set> &search);

} // namespace plumbline::placement
