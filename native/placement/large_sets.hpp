// Sets of a machine of more than exact_up_to devices: worked out when they are asked for.
#pragma once

#include "placement/components.hpp"
#include "placement/families.hpp"
#include "placement/packing.hpp"
#include "placement/sets.hpp"

namespace plumbline::placement {

/// Where the best sets of one size lie: counting them is then counting devices per cell. A cell
/// may hang together without being complete, so that the count is an upper bound on such machines.
template <class Set> class Cells {
public:
  Cells(int size, int top, const std::vector<Set> &masks);

  [[nodiscard]] int size() const { return size_; }
  /// Tier of the slowest pair in the best set.
  [[nodiscard]] int top() const { return top_; }
  [[nodiscard]] int count(const Set &left) const;
  [[nodiscard]] std::size_t bytes() const { return sizeof(*this) + (parts_.size() * sizeof(Part)); }

private:
  /// What a cell has in one word of a mask.
  struct Part {
    std::uint64_t bits;
    std::uint32_t word;
    bool last; ///< of its cell
  };

  int size_;
  int top_;
  std::vector<Part> parts_;
};

template <class Set> class LargeSets : public Sets<Set> {
public:
  explicit LargeSets(const Facts &facts);

  using Sets<Set>::machine;

  [[nodiscard]] Traits traits(const Set &set) const override;
  [[nodiscard]] Rest rest(const Set &left) const override;
  [[nodiscard]] Found<Set> search(const Ranking &ranking, const Search<Set> &search) const override;
  [[nodiscard]] FoundParents<Set> find_parents(const ParentSearch<Set> &search) const override;
  [[nodiscard]] Aligned largest_aligned(const Set &free, int size) const override;
  [[nodiscard]] std::size_t bytes() const override;

  [[nodiscard]] std::uint32_t fragmentation(const Set &left) const;
  /// The highest tier at which a set of `size` around `must` hangs together within a mask.
  [[nodiscard]] int highest_tier(const Set &must, const Set &within, int size) const;
  /// Devices that can be exchanged for this one without changing anything but the order.
  [[nodiscard]] const Set &twins(int device) const {
    return twins_[static_cast<std::size_t>(device)];
  }
  [[nodiscard]] const std::vector<Family> &families() const { return families_; }
  /// Devices that span no node, or no socket, beyond those of this one.
  [[nodiscard]] const Set &node_mates(int device) const {
    return node_mates_[static_cast<std::size_t>(device)];
  }
  [[nodiscard]] const Set &socket_mates(int device) const {
    return socket_mates_[static_cast<std::size_t>(device)];
  }

private:
  [[nodiscard]] Cells<Set> cells_of(int size) const;
  [[nodiscard]] int count_aligned(const Set &free, int size) const;

  std::vector<Component<Set>> components_;
  std::vector<Cells<Set>> cells_; // in the order of expected_requests
  Twins<Set> twins_;
  std::vector<Family> families_;
  std::vector<Set> node_mates_;
  std::vector<Set> socket_mates_;
};

} // namespace plumbline::placement
