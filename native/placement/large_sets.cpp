#include "placement/large_sets.hpp"

#include <algorithm>
#include <ranges>

#include "placement/bits.hpp"
#include "placement/branches.hpp"
#include "placement/large_parents.hpp"
#include "placement/ring_search.hpp"

namespace plumbline::placement {

namespace {

// Work spent on looking for one complete set at one tier.
constexpr int most_steps = 20'000;

/// Finds devices that are all joined at a tier.
template <class Set> class CliqueFinder {
public:
  CliqueFinder(const Machine<Set> &machine, int tier) : machine_(machine), tier_(tier) {}

  bool find(Set candidates, int missing) {
    if (missing == 0) {
      return true;
    }
    for (; popcount(candidates) >= missing; candidates = without_lowest(candidates)) {
      if (--steps_ < 0) {
        return false;
      }
      const int next = lowest(candidates);
      if (find(machine_.near(next, tier_, without_lowest(candidates)), missing - 1)) {
        return true;
      }
    }
    return false;
  }

private:
  const Machine<Set> &machine_;
  int tier_;
  int steps_ = most_steps;
};

/// Splits masks by what a device belongs to, if a set of the size still fits into some part.
template <class Set, typename Group>
std::vector<Set> split(const std::vector<Set> &masks, int size, Group group) {
  std::vector<Set> parts;
  for (Set mask : masks) {
    while (mask != 0) {
      const auto first = group(lowest(mask));
      Set part{};
      each_bit(mask, [&](int i) {
        if (group(i) == first) {
          part |= bit<Set>(i);
        }
      });
      parts.push_back(part);
      mask &= ~part;
    }
  }
  const bool fits =
      std::ranges::any_of(parts, [size](const Set &part) { return popcount(part) >= size; });
  return fits ? parts : masks;
}

/// Which devices have all of a device's places covered. Where a device has more than one place
/// nobody counts as covered by one alone, so everybody is said to be: a bound stays a bound.
template <class Set, typename Of> std::vector<Set> mates_of(const Set &all, Of of) {
  bool single = true;
  each_bit(all, [&](int i) { single = single && popcount(of(i)) <= 1; });
  std::vector<Set> mates(static_cast<std::size_t>(popcount(all)), single ? Set{} : all);
  each_bit(all, [&](int a) {
    each_bit(of(a) == 0 ? Set{} : all, [&](int b) {
      if (of(a) == of(b)) {
        mates[static_cast<std::size_t>(a)] |= bit<Set>(b);
      }
    });
  });
  return mates;
}

} // namespace

template <class Set>
Cells<Set>::Cells(int size, int top, const std::vector<Set> &masks) : size_(size), top_(top) {
  for (const auto &mask : masks) {
    for (std::uint32_t i = 0; i < word_count<Set>; ++i) {
      if (word(mask, i) != 0) {
        parts_.push_back({.bits = word(mask, i), .word = i, .last = false});
      }
    }
    parts_.back().last = true;
  }
}

template <class Set> int Cells<Set>::count(const Set &left) const {
  int count = 0;
  int inside = 0;
  for (const auto &part : parts_) {
    inside += popcount(word(left, part.word) & part.bits);
    if (part.last) {
      // Few cells have room for more than one: a division takes longer than all the rest.
      if (inside >= size_) {
        count += inside < 2 * size_ ? 1 : inside / size_;
      }
      inside = 0;
    }
  }
  return count;
}

template <class Set>
LargeSets<Set>::LargeSets(const Facts &facts)
    : Sets<Set>(facts), components_(components_of(machine())), twins_(twins_of(machine())),
      families_(families_of(machine(), twins_)),
      node_mates_(mates_of(machine().all(), [this](int i) { return machine().numa(i); })),
      socket_mates_(mates_of(machine().all(), [this](int i) { return machine().socket(i); })) {
  for (const auto &expected : expected_requests) {
    cells_.push_back(cells_of(expected.size));
  }
}

template <class Set> Cells<Set> LargeSets<Set>::cells_of(int size) const {
  int top = 0;
  for (const auto &component : components_) {
    if (popcount(component.devices) >= size &&
        CliqueFinder<Set>(machine(), component.tier).find(component.devices, size)) {
      top = component.tier;
      break;
    }
  }
  Set alone = machine().all();
  std::vector<Set> masks;
  // Larger components come later: those of the top tier are the last ones not below it.
  for (const auto &component : std::views::reverse(components_)) {
    if (component.tier >= top && (component.devices & ~alone) == 0) {
      masks.push_back(component.devices);
      alone &= ~component.devices;
    }
  }
  masks = split(masks, size, [this](int i) { return machine().socket(i); });
  masks = split(masks, size, [this](int i) { return machine().numa(i); });
  return Cells<Set>(size, top, masks);
}

template <class Set> Traits LargeSets<Set>::traits(const Set &set) const {
  auto traits = machine().traits_without_ring(set);
  const auto ring = find_ring(machine(), set, ring_bound(machine(), set), int{traits.min_pair});
  traits.ring = static_cast<std::uint16_t>(ring.tier);
  return traits;
}

template <class Set>
int LargeSets<Set>::highest_tier(const Set &must, const Set &within, int size) const {
  for (const auto &component : components_) {
    if ((must & ~component.devices) == 0 && popcount(component.devices & within) >= size) {
      return component.tier;
    }
  }
  return 0;
}

template <class Set> std::uint32_t LargeSets<Set>::fragmentation(const Set &left) const {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < cells_.size(); ++i) {
    const auto &cells = cells_[i];
    if (popcount(left) >= cells.size()) {
      const int best = std::min(highest_tier(Set{}, left, cells.size()), cells.top());
      sum += room(expected_requests[i], machine().gbps(best), machine().gbps(cells.top()),
                  cells.count(left));
    }
  }
  return sum;
}

template <class Set> Rest LargeSets<Set>::rest(const Set &left) const {
  return {.fragmentation = fragmentation(left),
          .sum_gbps = machine().sum_gbps(left),
          .reach_gbps = machine().reach_gbps(left)};
}

template <class Set>
Found<Set> LargeSets<Set>::search(const Ranking &ranking, const Search<Set> &search) const {
  return search_branches(*this, ranking, search);
}

template <class Set>
FoundParents<Set> LargeSets<Set>::find_parents(const ParentSearch<Set> &search) const {
  return search_large_parents(*this, search);
}

template <class Set> Aligned LargeSets<Set>::largest_aligned(const Set &free, int size) const {
  Set witness = free;
  if (size < popcount(free)) {
    const Ranking ranking(Policy::standard, size, 0);
    witness = search(ranking, {.pool = free, .must = {}, .size = size, .free = {}}).best;
  }
  const auto slowest = machine().traits_without_ring(witness).min_pair;
  return {.count = size == 1 ? popcount(free) : count_aligned(free, size),
          .min_pair_gbps = size == 1 ? 0 : machine().gbps(slowest),
          .witness = witness};
}

template <class Set> int LargeSets<Set>::count_aligned(const Set &free, int size) const {
  const auto known = std::ranges::find(cells_, size, &Cells<Set>::size);
  return known == cells_.end() ? cells_of(size).count(free) : known->count(free);
}

template <class Set> std::size_t LargeSets<Set>::bytes() const {
  auto bytes = sizeof(*this) + (components_.capacity() * sizeof(Component<Set>));
  for (const auto &cells : cells_) {
    bytes += cells.bytes();
  }
  return bytes;
}

template class Cells<Mask>;
template class Cells<WideMask>;
template class LargeSets<Mask>;
template class LargeSets<WideMask>;

} // namespace plumbline::placement
