#include "placement/components.hpp"

#include "placement/bits.hpp"

namespace plumbline::placement {

namespace {

/// Joins what pairs of one tier join; returns whether anything was.
bool join_at(const Machine &machine, int tier, std::vector<Mask> &group) {
  bool joined = false;
  for (int a = 0; a < machine.size(); ++a) {
    for (int b = 0; b < a; ++b) {
      const Mask left = group[static_cast<std::size_t>(a)];
      if (int{machine.tier(a, b)} != tier || (left & bit(b)) != 0) {
        continue;
      }
      const Mask both = left | group[static_cast<std::size_t>(b)];
      each_bit(both, [&](int i) { group[static_cast<std::size_t>(i)] = both; });
      joined = true;
    }
  }
  return joined;
}

} // namespace

std::vector<Component> components_of(const Machine &machine) {
  std::vector<Component> found;
  std::vector<Mask> group;
  group.reserve(max_devices);
  for (int i = 0; i < machine.size(); ++i) {
    group.push_back(bit(i));
  }
  for (int tier = machine.tier_count() - 1; tier >= 0; --tier) {
    const auto before = group;
    if (!join_at(machine, tier, group)) {
      continue;
    }
    for (int i = 0; i < machine.size(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (group[at] != before[at] && lowest(group[at]) == i) {
        found.push_back({.tier = tier, .devices = group[at]});
      }
    }
  }
  return found;
}

} // namespace plumbline::placement
