#include "placement/ring.hpp"

#include <algorithm>

#include "placement/bits.hpp"

namespace plumbline::placement {

namespace {

constexpr std::size_t row = exact_up_to;

/// Best slowest hop of a path that starts at the lowest device of a set, visits all of it
/// and ends at a given one.
using Paths = std::vector<std::uint8_t>;

std::uint8_t best_path(const Machine<Mask> &machine, const Paths &paths, Mask set, int end) {
  const Mask before = set & ~bit(end);
  const auto *known = &paths[before * row];
  const int start = lowest(set);
  if (before == bit(start)) {
    return static_cast<std::uint8_t>(machine.tier(start, end));
  }
  int best = 0;
  each_bit(before & ~bit(start), [&](int last) {
    best = std::max(best, std::min<int>(known[last], machine.tier(last, end)));
  });
  return static_cast<std::uint8_t>(best);
}

std::uint8_t close_ring(const Machine<Mask> &machine, const std::uint8_t *paths, Mask set) {
  const int start = lowest(set);
  int best = 0;
  each_bit(without_lowest(set), [&](int end) {
    best = std::max(best, std::min<int>(paths[end], machine.tier(end, start)));
  });
  return static_cast<std::uint8_t>(best);
}

} // namespace

std::vector<std::uint8_t> ring_tiers(const Machine<Mask> &machine) {
  const Mask sets = machine.all() + 1;
  Paths paths(sets * row);
  std::vector<std::uint8_t> rings(sets);
  for (Mask set = 1; set < sets; ++set) {
    each_bit(without_lowest(set), [&](int end) {
      paths[(set * row) + static_cast<std::size_t>(end)] = best_path(machine, paths, set, end);
    });
    rings[set] = close_ring(machine, &paths[set * row], set);
  }
  return rings;
}

} // namespace plumbline::placement
