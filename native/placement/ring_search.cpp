#include "placement/ring_search.hpp"

#include <algorithm>
#include <numeric>

#include "placement/bits.hpp"

namespace plumbline::placement {

namespace {

enum class Answer : std::uint8_t { no, yes, unknown };

constexpr int exact_size = 12;
constexpr int few_tiers = 16;
constexpr int most_steps = 300; // of the search for one ring, above exact_size devices

/// The pairs of a set that reach a tier.
template <class Set> class Graph {
public:
  Graph(const Machine<Set> &machine, const Set &set, int tier)
      : set_(set), start_(lowest(set)), size_(popcount(set)),
        steps_to_build_(1 + (machine.counts_pairs() ? size_ : size_ * size_ / 16)) {
    each_bit(set, [&](int a) { near_[at(a)] = machine.near(a, tier, set); });
  }

  /// Whether a ring through all devices exists. For three devices and more.
  Answer has_ring(std::int64_t &work) const {
    work += steps_to_build_;
    int least = size_;
    each_bit(set_, [&](int a) { least = std::min(least, popcount(near(a))); });
    if (2 * least >= size_) { // Dirac's theorem
      return Answer::yes;
    }
    if (least < 2 || !hangs_together()) {
      return Answer::no;
    }
    if (size_ <= exact_size) {
      work += static_cast<std::int64_t>(bit(size_ - 1)) * size_ / 24;
      return has_small_ring() ? Answer::yes : Answer::no;
    }
    int steps = most_steps;
    const auto answer = walk(start_, bit<Set>(start_), steps);
    work += std::int64_t{most_steps - steps} * size_ / 8;
    return answer;
  }

private:
  static std::size_t at(int device) { return static_cast<std::size_t>(device); }
  [[nodiscard]] const Set &near(int device) const { return near_[at(device)]; }

  [[nodiscard]] bool hangs_together() const {
    Set seen = bit<Set>(start_);
    for (Set open = near(start_); open != 0; open &= ~seen) {
      const int next = lowest(open);
      seen |= bit<Set>(next);
      open |= near(next);
    }
    return popcount(seen) == size_;
  }

  /// What is near each device, devices numbered from 0.
  [[nodiscard]] std::array<Mask, exact_size> numbered() const {
    std::array<int, exact_size> devices{};
    std::size_t count = 0;
    each_bit(set_, [&](int i) { devices[count++] = i; });
    std::array<Mask, exact_size> found{};
    for (std::size_t a = 0; a < count; ++a) {
      for (std::size_t b = 0; b < count; ++b) {
        const bool joined = has(near(devices[a]), devices[b]);
        found[a] |= joined ? bit(static_cast<int>(b)) : 0;
      }
    }
    return found;
  }

  /// For every set with device 0, where a path from 0 through all of it can end.
  [[nodiscard]] bool has_small_ring() const {
    std::array<std::uint16_t, std::size_t{1} << unsigned{exact_size}> ends{};
    ends[1] = 1;
    const auto near_to = numbered();
    const std::size_t sets = std::size_t{1} << static_cast<unsigned>(size_);
    for (std::size_t set = 3; set < sets; set += 2) {
      std::uint16_t found = 0;
      each_bit(set & ~Mask{1}, [&](int last) {
        const bool reached = (ends[set & ~bit(last)] & near_to[at(last)]) != 0;
        found |= static_cast<std::uint16_t>(reached ? bit(last) : 0);
      });
      ends[set] = found;
    }
    return (ends[sets - 1] & near_to[0]) != 0;
  }

  /// Goes on from a path's end, to the device with the fewest ways out first.
  Answer walk(int end, const Set &visited, int &steps) const {
    if (popcount(visited) == size_) {
      return (near(end) & bit<Set>(start_)) != 0 ? Answer::yes : Answer::no;
    }
    for (Set open = near(end) & ~visited; open != 0;) {
      if (--steps < 0) {
        return Answer::unknown;
      }
      const int next = narrowest(open, visited);
      open &= ~bit<Set>(next);
      if (const auto found = walk(next, visited | bit<Set>(next), steps); found != Answer::no) {
        return found;
      }
    }
    return Answer::no;
  }

  [[nodiscard]] int narrowest(const Set &open, const Set &visited) const {
    int found = lowest(open);
    each_bit(open, [&](int device) {
      const bool fewer = popcount(near(device) & ~visited) < popcount(near(found) & ~visited);
      found = fewer ? device : found;
    });
    return found;
  }

  std::array<Set, static_cast<std::size_t>(capacity<Set>)> near_{};
  Set set_;
  int start_;
  int size_;
  std::int64_t steps_to_build_;
};

/// All tiers of a set's pairs between two of them, slowest first; where the machine has few,
/// also such as the set has no pair of.
template <class Set>
std::vector<int> tiers_within(const Machine<Set> &machine, const Set &set, int slowest,
                              int fastest) {
  std::vector<int> tiers;
  if (fastest - slowest <= few_tiers) {
    tiers.resize(static_cast<std::size_t>(fastest - slowest) + 1);
    std::iota(tiers.begin(), tiers.end(), slowest);
    return tiers;
  }
  each_bit(set, [&](int a) {
    each_bit(set & below<Set>(a), [&](int b) { tiers.push_back(machine.tier(a, b)); });
  });
  std::ranges::sort(tiers);
  const auto repeated = std::ranges::unique(tiers);
  tiers.erase(repeated.begin(), repeated.end());
  tiers.erase(std::ranges::upper_bound(tiers, fastest), tiers.end());
  return tiers;
}

} // namespace

template <class Set> int ring_bound(const Machine<Set> &machine, const Set &set) {
  const int needed = popcount(set) > 2 ? 2 : 1; // neighbours of each device
  int bound = machine.tier_count() - 1;
  each_bit(set, [&](int a) { bound = machine.tier_with(needed, a, set & ~bit<Set>(a), bound); });
  return bound;
}

template <class Set>
Ring find_ring(const Machine<Set> &machine, const Set &set, int bound, int slowest) {
  if (popcount(set) < 4 || bound == slowest) {
    return {.tier = popcount(set) < 2 ? 0 : bound};
  }
  const auto tiers = tiers_within(machine, set, slowest, bound);
  // The slowest tier has every pair. Between it and the bound, halve; the bound is likely.
  std::size_t known = 0;
  std::size_t excluded = tiers.size();
  bool exact = true;
  std::int64_t steps = static_cast<std::int64_t>(tiers.size()) / 2;
  std::size_t tried = tiers.size() - 1;
  while (known + 1 < excluded) {
    const auto answer = Graph<Set>(machine, set, tiers[tried]).has_ring(steps);
    exact = exact && answer != Answer::unknown;
    (answer == Answer::yes ? known : excluded) = tried;
    tried = (known + excluded) / 2;
  }
  return {.tier = tiers[known], .exact = exact, .steps = steps};
}

template int ring_bound(const Machine<Mask> &machine, const Mask &set);
template int ring_bound(const Machine<WideMask> &machine, const WideMask &set);
template Ring find_ring(const Machine<Mask> &machine, const Mask &set, int bound, int slowest);
template Ring find_ring(const Machine<WideMask> &machine, const WideMask &set, int bound,
                        int slowest);

} // namespace plumbline::placement
