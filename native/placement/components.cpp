#include "placement/components.hpp"

#include "placement/bits.hpp"

namespace plumbline::placement {

namespace {

/// Joins what pairs of one tier join; returns whether anything was.
template <class Set> bool join_at(const Machine<Set> &machine, int tier, std::vector<Set> &group) {
  bool joined = false;
  for (int a = 0; a < machine.size(); ++a) {
    for (int b = 0; b < a; ++b) {
      const Set left = group[static_cast<std::size_t>(a)];
      if (int{machine.tier(a, b)} != tier || (left & bit<Set>(b)) != 0) {
        continue;
      }
      const Set both = left | group[static_cast<std::size_t>(b)];
      each_bit(both, [&](int i) { group[static_cast<std::size_t>(i)] = both; });
      joined = true;
    }
  }
  return joined;
}

} // namespace

template <class Set> std::vector<Component<Set>> components_of(const Machine<Set> &machine) {
  std::vector<Component<Set>> found;
  std::vector<Set> group;
  group.reserve(static_cast<std::size_t>(machine.size()));
  for (int i = 0; i < machine.size(); ++i) {
    group.push_back(bit<Set>(i));
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

template std::vector<Component<Mask>> components_of(const Machine<Mask> &machine);
template std::vector<Component<WideMask>> components_of(const Machine<WideMask> &machine);

} // namespace plumbline::placement
