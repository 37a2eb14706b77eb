// Sets of a machine of more than exact_up_to devices: worked out when they are asked for.
#pragma once

#include "placement/components.hpp"
#include "placement/packing.hpp"
#include "placement/sets.hpp"
#include "placement/twins.hpp"

namespace plumbline::placement {

/// Where the best sets of one size lie: counting them is then counting devices per cell. A cell
/// may hang together without being complete, so that the count is an upper bound on such machines.
struct Cells {
  int size = 0;
  int top = 0; ///< tier of the slowest pair in the best set
  std::vector<Mask> masks;

  [[nodiscard]] int count(Mask left) const;
};

class LargeSets : public Sets {
public:
  explicit LargeSets(const Facts &facts);

  [[nodiscard]] Traits traits(Mask set) const override;
  [[nodiscard]] Rest rest(Mask left) const override;
  [[nodiscard]] Found search(const Ranking &ranking, const Search &search) const override;
  [[nodiscard]] FoundParents find_parents(const ParentSearch &search) const override;
  [[nodiscard]] Aligned largest_aligned(Mask free, int size) const override;
  [[nodiscard]] std::size_t bytes() const override;

  [[nodiscard]] std::uint32_t fragmentation(Mask left) const;
  /// The highest tier at which a set of `size` around `must` hangs together within a mask.
  [[nodiscard]] int highest_tier(Mask must, Mask within, int size) const;
  /// Devices that can be exchanged for this one without changing anything but the order.
  [[nodiscard]] Mask twins(int device) const { return twins_[static_cast<std::size_t>(device)]; }

private:
  [[nodiscard]] Cells cells_of(int size) const;

  std::vector<Component> components_;
  std::vector<Cells> cells_; // in the order of expected_requests
  Twins twins_;
};

} // namespace plumbline::placement
