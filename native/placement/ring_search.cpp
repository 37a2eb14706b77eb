#include "placement/ring_search.hpp"

#include <algorithm>

#include "placement/bits.hpp"

namespace plumbline::placement {

namespace {

enum class Answer : std::uint8_t { no, yes, unknown };

constexpr int exact_size = 12;
constexpr int most_steps = 300; // of the search for one ring, above exact_size devices

/// The pairs of a set that reach a tier, devices numbered from 0.
class Graph {
public:
  Graph(const Machine &machine, Mask set, int tier) {
    std::array<int, max_devices> devices{};
    each_bit(set, [&](int i) { devices[static_cast<std::size_t>(size_++)] = i; });
    for (int a = 0; a < size_; ++a) {
      for (int b = 0; b < size_; ++b) {
        const bool near = a != b && int{machine.tier(devices[static_cast<std::size_t>(a)],
                                                     devices[static_cast<std::size_t>(b)])} >= tier;
        near_[static_cast<std::size_t>(a)] |= near ? bit(b) : 0;
      }
    }
  }

  /// Whether a ring through all devices exists. For three devices and more.
  Answer has_ring(std::int64_t &work) const {
    work += 1 + (size_ * size_ / 16);
    int least = size_;
    for (int a = 0; a < size_; ++a) {
      least = std::min(least, std::popcount(near(a)));
    }
    if (2 * least >= size_) { // Dirac's theorem
      return Answer::yes;
    }
    if (least < 2) {
      return Answer::no;
    }
    if (size_ <= exact_size) {
      work += static_cast<std::int64_t>(bit(size_ - 1)) * size_ / 24;
      return has_small_ring() ? Answer::yes : Answer::no;
    }
    int steps = most_steps;
    const auto answer = walk(0, bit(0), steps);
    work += std::int64_t{most_steps - steps} * size_ / 8;
    return answer;
  }

private:
  [[nodiscard]] Mask near(int device) const { return near_[static_cast<std::size_t>(device)]; }

  /// For every set with device 0, where a path from 0 through all of it can end.
  [[nodiscard]] bool has_small_ring() const {
    std::array<std::uint16_t, std::size_t{1} << unsigned{exact_size}> ends{};
    ends[1] = 1;
    const std::size_t sets = std::size_t{1} << static_cast<unsigned>(size_);
    for (std::size_t set = 3; set < sets; set += 2) {
      std::uint16_t found = 0;
      each_bit(set & ~Mask{1}, [&](int last) {
        const bool reached = (ends[set & ~bit(last)] & near(last)) != 0;
        found |= static_cast<std::uint16_t>(reached ? bit(last) : 0);
      });
      ends[set] = found;
    }
    return (ends[sets - 1] & near(0)) != 0;
  }

  /// Goes on from a path's end, to the device with the fewest ways out first.
  Answer walk(int end, Mask visited, int &steps) const {
    if (std::popcount(visited) == size_) {
      return (near(end) & bit(0)) != 0 ? Answer::yes : Answer::no;
    }
    for (Mask open = near(end) & ~visited; open != 0;) {
      if (--steps < 0) {
        return Answer::unknown;
      }
      const int next = narrowest(open, visited);
      open &= ~bit(next);
      if (const auto found = walk(next, visited | bit(next), steps); found != Answer::no) {
        return found;
      }
    }
    return Answer::no;
  }

  [[nodiscard]] int narrowest(Mask open, Mask visited) const {
    int found = lowest(open);
    each_bit(open, [&](int device) {
      const bool fewer =
          std::popcount(near(device) & ~visited) < std::popcount(near(found) & ~visited);
      found = fewer ? device : found;
    });
    return found;
  }

  std::array<Mask, max_devices> near_{};
  int size_ = 0;
};

std::vector<int> tiers_within(const Machine &machine, Mask set) {
  std::vector<int> tiers;
  each_bit(set, [&](int a) {
    each_bit(set & (bit(a) - 1), [&](int b) { tiers.push_back(machine.tier(a, b)); });
  });
  std::ranges::sort(tiers);
  const auto repeated = std::ranges::unique(tiers);
  tiers.erase(repeated.begin(), repeated.end());
  return tiers;
}

} // namespace

int ring_bound(const Machine &machine, Mask set) {
  const int needed = std::popcount(set) > 2 ? 2 : 1; // neighbours of each device
  int bound = machine.tier_count() - 1;
  each_bit(set, [&](int a) {
    std::array<int, 2> best{-1, -1};
    each_bit(set & ~bit(a), [&](int b) {
      const int tier = machine.tier(a, b);
      best[1] = std::max(best[1], std::min(best[0], tier));
      best[0] = std::max(best[0], tier);
    });
    bound = std::min(bound, best[static_cast<std::size_t>(needed - 1)]);
  });
  return std::max(bound, 0);
}

Ring find_ring(const Machine &machine, Mask set) {
  if (std::popcount(set) < 4) {
    return {.tier = std::popcount(set) < 2 ? 0 : ring_bound(machine, set)};
  }
  auto tiers = tiers_within(machine, set);
  const auto above = std::ranges::upper_bound(tiers, ring_bound(machine, set));
  tiers.erase(above, tiers.end());
  // The slowest tier has every pair. Between it and the bound, halve; the bound is likely.
  std::size_t known = 0;
  std::size_t excluded = tiers.size();
  bool exact = true;
  std::int64_t steps = static_cast<std::int64_t>(tiers.size()) / 2;
  std::size_t tried = tiers.size() - 1;
  while (known + 1 < excluded) {
    const auto answer = Graph(machine, set, tiers[tried]).has_ring(steps);
    exact = exact && answer != Answer::unknown;
    (answer == Answer::yes ? known : excluded) = tried;
    tried = (known + excluded) / 2;
  }
  return {.tier = tiers[known], .exact = exact, .steps = steps};
}

} // namespace plumbline::placement
