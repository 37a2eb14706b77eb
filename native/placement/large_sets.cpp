#include "placement/large_sets.hpp"

#include <algorithm>
#include <ranges>

#include "placement/bits.hpp"
#include "placement/branches.hpp"
#include "placement/ring_search.hpp"

namespace plumbline::placement {

namespace {

// Work spent on looking for one complete set at one tier.
constexpr int most_steps = 20'000;

/// Finds devices that are all joined at a tier.
class CliqueFinder {
public:
  CliqueFinder(const Machine &machine, int tier) {
    for (int a = 0; a < machine.size(); ++a) {
      for (int b = 0; b < machine.size(); ++b) {
        const bool joined = a != b && int{machine.tier(a, b)} >= tier;
        near_[static_cast<std::size_t>(a)] |= joined ? bit(b) : 0;
      }
    }
  }

  bool find(Mask candidates, int missing) {
    if (missing == 0) {
      return true;
    }
    for (; std::popcount(candidates) >= missing; candidates = without_lowest(candidates)) {
      if (--steps_ < 0) {
        return false;
      }
      const int next = lowest(candidates);
      if (find(without_lowest(candidates) & near_[static_cast<std::size_t>(next)], missing - 1)) {
        return true;
      }
    }
    return false;
  }

private:
  std::array<Mask, max_devices> near_{};
  int steps_ = most_steps;
};

/// Splits masks by what a device belongs to, if a set of the size still fits into some part.
template <typename Group>
std::vector<Mask> split(const std::vector<Mask> &masks, int size, Group group) {
  std::vector<Mask> parts;
  for (Mask mask : masks) {
    while (mask != 0) {
      const auto first = group(lowest(mask));
      Mask part = 0;
      each_bit(mask, [&](int i) { part |= group(i) == first ? bit(i) : 0; });
      parts.push_back(part);
      mask &= ~part;
    }
  }
  const bool fits =
      std::ranges::any_of(parts, [size](Mask part) { return std::popcount(part) >= size; });
  return fits ? parts : masks;
}

} // namespace

int Cells::count(Mask left) const {
  int count = 0;
  for (const Mask mask : masks) {
    count += std::popcount(mask & left) / size;
  }
  return count;
}

LargeSets::LargeSets(const Facts &facts)
    : Sets(facts), components_(components_of(machine())), twins_(twins_of(machine())) {
  for (const auto &expected : expected_requests) {
    cells_.push_back(cells_of(expected.size));
  }
}

Cells LargeSets::cells_of(int size) const {
  Cells cells{.size = size, .top = 0, .masks = {machine().all()}};
  for (const auto &component : components_) {
    if (std::popcount(component.devices) >= size &&
        CliqueFinder(machine(), component.tier).find(component.devices, size)) {
      cells.top = component.tier;
      break;
    }
  }
  Mask alone = machine().all();
  std::vector<Mask> masks;
  // Larger components come later: those of the top tier are the last ones not below it.
  for (const auto &component : std::views::reverse(components_)) {
    if (component.tier >= cells.top && (component.devices & ~alone) == 0) {
      masks.push_back(component.devices);
      alone &= ~component.devices;
    }
  }
  masks = split(masks, size, [this](int i) { return machine().socket(i); });
  masks = split(masks, size, [this](int i) { return machine().numa(i); });
  cells.masks = std::move(masks);
  return cells;
}

Traits LargeSets::traits(Mask set) const {
  auto traits = machine().traits_without_ring(set);
  traits.ring = static_cast<std::uint16_t>(find_ring(machine(), set).tier);
  return traits;
}

int LargeSets::highest_tier(Mask must, Mask within, int size) const {
  for (const auto &component : components_) {
    if ((must & ~component.devices) == 0 && std::popcount(component.devices & within) >= size) {
      return component.tier;
    }
  }
  return 0;
}

std::uint32_t LargeSets::fragmentation(Mask left) const {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < cells_.size(); ++i) {
    const auto &cells = cells_[i];
    if (std::popcount(left) >= cells.size) {
      const int best = std::min(highest_tier(0, left, cells.size), cells.top);
      sum += room(expected_requests[i], machine().gbps(best), machine().gbps(cells.top),
                  cells.count(left));
    }
  }
  return sum;
}

Rest LargeSets::rest(Mask left) const {
  return {.fragmentation = fragmentation(left), .sum_gbps = machine().sum_gbps(left)};
}

Found LargeSets::search(const Ranking &ranking, const Search &search) const {
  return search_branches(*this, ranking, search);
}

FoundParents LargeSets::find_parents(const ParentSearch &search) const {
  return search_large_parents(*this, search);
}

Aligned LargeSets::largest_aligned(Mask free, int size) const {
  Mask witness = free;
  if (size < std::popcount(free)) {
    const Ranking ranking(Policy::standard, size, 0);
    witness = search(ranking, {.pool = free, .must = 0, .size = size, .free = 0}).best;
  }
  const auto slowest = machine().traits_without_ring(witness).min_pair;
  return {.count = size == 1 ? std::popcount(free) : cells_of(size).count(free),
          .min_pair_gbps = size == 1 ? 0 : machine().gbps(slowest),
          .witness = witness};
}

std::size_t LargeSets::bytes() const {
  auto bytes = sizeof(*this) + (components_.capacity() * sizeof(Component));
  for (const auto &cells : cells_) {
    bytes += sizeof(Cells) + (cells.masks.capacity() * sizeof(Mask));
  }
  return bytes;
}

} // namespace plumbline::placement
