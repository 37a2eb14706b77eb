// The checked facts, with pair values as tiers.
#pragma once

#include <algorithm>

#include "placement/bits.hpp"

namespace plumbline::placement {

/// What joins one device to others.
struct Joint {
  int slowest = 0; ///< tier; the fastest there is for no others
  std::uint32_t sum_gbps = 0;
};

/// Set is Mask or WideMask: what has room for all there is of the machine.
template <class Set> class Machine {
public:
  /// Throws std::invalid_argument that names the argument, the index and the value.
  explicit Machine(const Facts &facts);

  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] Set all() const { return below<Set>(size_); }
  [[nodiscard]] std::uint16_t tier(int a, int b) const {
    return tier_[(static_cast<std::size_t>(a) * row) + static_cast<std::size_t>(b)];
  }
  /// The tiers of a device's pairs, by the other device.
  [[nodiscard]] const std::uint16_t *tier_row(int device) const {
    return &tier_[static_cast<std::size_t>(device) * row];
  }
  [[nodiscard]] std::int64_t gbps(int tier) const { return tiers_[static_cast<std::size_t>(tier)]; }
  [[nodiscard]] int tier_count() const { return static_cast<int>(tiers_.size()); }
  [[nodiscard]] std::int64_t pair_gbps(int a, int b) const { return gbps(tier(a, b)); }
  [[nodiscard]] Set numa(int device) const { return numa_[static_cast<std::size_t>(device)]; }
  [[nodiscard]] Set socket(int device) const { return socket_[static_cast<std::size_t>(device)]; }
  [[nodiscard]] Set rails(int device) const { return rails_[static_cast<std::size_t>(device)]; }
  [[nodiscard]] std::int64_t clique(int device) const {
    return clique_[static_cast<std::size_t>(device)];
  }
  [[nodiscard]] std::uint32_t penalty(int device) const {
    return static_cast<std::uint32_t>(penalty_[static_cast<std::size_t>(device)]);
  }

  [[nodiscard]] Set all_rails() const { return all_rails_; }

  /// The traits of any set but for the ring, which costs more than all others.
  [[nodiscard]] Traits traits_without_ring(Set set) const;
  /// Counts a set's rails once more, those that are free only.
  void count_free_rails(Set set, Set rails_free, Traits &traits) const;
  [[nodiscard]] std::uint32_t sum_gbps(Set set) const;
  /// Summed over the pairs of a set's devices with every device.
  [[nodiscard]] std::uint64_t reach_gbps(Set set) const;
  [[nodiscard]] Joint joint(int device, const Set &others) const;
  /// Those of the others that a device is joined to at a tier or faster.
  [[nodiscard]] Set near(int device, int tier, const Set &others) const;
  /// Whether pairs are counted by tier, because there are few, and not one by one.
  [[nodiscard]] bool counts_pairs() const { return !near_.empty(); }
  /// The fastest tier, up to one, at which a device has so many pairs with others; 0 if at none.
  [[nodiscard]] int tier_with(int needed, int device, const Set &others, int at_most) const;

private:
  static constexpr std::size_t row = capacity<Set>;

  int size_;
  std::vector<Set> numa_;
  std::vector<Set> socket_;
  std::vector<Set> rails_;
  std::vector<std::int64_t> clique_;
  std::vector<std::int64_t> penalty_;
  Set all_rails_;
  std::vector<std::int64_t> tiers_; // the values there are, slowest first
  std::array<std::uint16_t, row * row> tier_{};
  /// Of each device, one after the other the devices it is joined to at each tier and faster:
  /// pairs are counted instead of walked. Empty where there are many tiers.
  std::vector<Set> near_;
  std::vector<std::uint32_t> reach_; // GB/s summed over the pairs of each device

  [[nodiscard]] const Set *near_by_tier(int device) const {
    return &near_[static_cast<std::size_t>(device) * tiers_.size()];
  }
  void fill_near();
};

// Here because searches spend their time in them.

template <class Set> Joint Machine<Set>::joint(int device, const Set &others) const {
  Joint joint{.slowest = tier_count() - 1};
  if (near_.empty()) {
    each_bit(others, [&](int other) {
      joint.slowest = std::min<int>(joint.slowest, tier(device, other));
      joint.sum_gbps += static_cast<std::uint32_t>(pair_gbps(device, other));
    });
    return joint;
  }
  const Set *const near_at = near_by_tier(device);
  const int all = popcount(others);
  std::int64_t below = 0; // the value of the tier before
  for (int at = 0; at < tier_count(); ++at) {
    const int count = at == 0 ? all : popcount(near_at[at] & others);
    joint.slowest = count < all ? std::min(joint.slowest, at - 1) : joint.slowest;
    joint.sum_gbps += static_cast<std::uint32_t>((gbps(at) - below) * count);
    below = gbps(at);
  }
  return joint;
}

template <class Set> Set Machine<Set>::near(int device, int tier, const Set &others) const {
  if (!near_.empty()) {
    return near_by_tier(device)[tier] & others;
  }
  Set found{};
  each_bit(others & ~bit<Set>(device), [&](int other) {
    if (int{this->tier(device, other)} >= tier) {
      found |= bit<Set>(other);
    }
  });
  return found;
}

template <class Set>
int Machine<Set>::tier_with(int needed, int device, const Set &others, int at_most) const {
  if (near_.empty()) {
    std::array<int, 2> best{-1, -1};
    each_bit(others, [&](int other) {
      const int found = tier(device, other);
      best[1] = std::max(best[1], std::min(best[0], found));
      best[0] = std::max(best[0], found);
    });
    return std::clamp(best[static_cast<std::size_t>(needed - 1)], 0, at_most);
  }
  const Set *const near_at = near_by_tier(device);
  int found = at_most;
  while (found > 0 && popcount(near_at[found] & others) < needed) {
    --found;
  }
  return found;
}

} // namespace plumbline::placement
