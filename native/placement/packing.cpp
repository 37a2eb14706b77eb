#include "placement/packing.hpp"

#include <algorithm>

#include "placement/bits.hpp"

namespace plumbline::placement {

namespace {

constexpr int thousand = 1000;

/// Fills in Packing::count, smaller sets first.
class Counter {
public:
  Counter(const Machine<Mask> &machine, const std::vector<Traits> &traits, int size,
          Packing &packing)
      : traits_(traits), size_(size), packing_(packing) {
    const int slowest = static_cast<int>(packing.top >> grade_shift);
    for (int a = 0; a < machine.size(); ++a) {
      for (int b = 0; b < machine.size(); ++b) {
        near_[static_cast<std::size_t>(a)] |= int{machine.tier(a, b)} >= slowest ? bit(b) : 0;
      }
    }
  }

  int count(Mask within) {
    if (packing_.best[within] != packing_.top || popcount(within) < size_) {
      return 0;
    }
    const Mask others = without_lowest(within);
    const int most = popcount(within) / size_;
    const int without = packing_.count[others];
    if (most == 1 || without == most) {
      return std::max(1, without);
    }
    // One device more makes room for at most one set more, and that set has it.
    const int first = lowest(within);
    const bool fits = extend(bit(first), others & near(first), within, size_ - 1, without);
    return without + (fits ? 1 : 0);
  }

private:
  [[nodiscard]] Mask near(int device) const { return near_[static_cast<std::size_t>(device)]; }

  /// Whether some set of top grade, grown from this one, leaves room for as many as `without`.
  bool extend(Mask set, Mask candidates, Mask within, int missing, int without) {
    if (missing == 0) {
      return grade_of(traits_[set]) == packing_.top &&
             int{packing_.count[within & ~set]} >= without;
    }
    for (; popcount(candidates) >= missing; candidates = without_lowest(candidates)) {
      const int next = lowest(candidates);
      if (extend(set | bit(next), without_lowest(candidates) & near(next), within, missing - 1,
                 without)) {
        return true;
      }
    }
    return false;
  }

  const std::vector<Traits> &traits_;
  int size_;
  Packing &packing_;
  std::array<Mask, exact_up_to> near_{};
};

Grade best_within(const std::vector<Traits> &traits, const std::vector<Grade> &best, Mask within,
                  int size) {
  const int count = popcount(within);
  if (count <= size) {
    return count == size ? grade_of(traits[within]) : 0;
  }
  Grade found = 0;
  each_bit(within, [&](int device) { found = std::max(found, best[within & ~bit(device)]); });
  return found;
}

} // namespace

Grade grade_of(const Traits &traits) {
  constexpr std::uint32_t most = 128; // nodes or sockets, known and unknown together
  return (std::uint32_t{traits.min_pair} << grade_shift) |
         ((most - traits.nodes - traits.unknown_nodes) << 8U) |
         (most - traits.sockets - traits.unknown_sockets);
}

Packing pack_sets(const Machine<Mask> &machine, const std::vector<Traits> &traits, int size) {
  const auto sets = traits.size();
  Packing packing{.top = 0, .best = std::vector<Grade>(sets), .count = {}};
  for (Mask within = 0; within < sets; ++within) {
    packing.best[within] = best_within(traits, packing.best, within, size);
  }
  packing.top = packing.best.back();
  packing.count.resize(sets);
  Counter counter(machine, traits, size, packing);
  for (Mask within = 1; within < sets; ++within) {
    packing.count[within] = static_cast<std::uint8_t>(counter.count(within));
  }
  return packing;
}

std::uint32_t room(const Expected &expected, std::int64_t best_gbps, std::int64_t top_gbps,
                   int count) {
  const auto share = top_gbps == 0 ? thousand : thousand * best_gbps / top_gbps;
  return expected.weight * static_cast<std::uint32_t>(share + (std::int64_t{thousand} * count));
}

} // namespace plumbline::placement
