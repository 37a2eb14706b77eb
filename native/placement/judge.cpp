#include "placement/judge.hpp"

#include "placement/bits.hpp"
#include "placement/ring_search.hpp"

namespace plumbline::placement {

namespace {

/// Steps for going through the pairs of a set.
std::int64_t pair_steps(Mask set) {
  const std::int64_t size = std::popcount(set);
  return 1 + (size * size / 9);
}

constexpr int rest_steps = 8; // for counting what is left

} // namespace

Judge::Judge(const LargeSets &sets, const Ranking &ranking, const Search &search)
    : sets_(sets), ranking_(ranking), free_(search.free), rails_free_(search.rails_free),
      free_sum_(sets.machine().sum_gbps(free_)) {
  const auto &machine = sets.machine();
  for (int a = 0; a < machine.size(); ++a) {
    each_bit(free_ & ~bit(a), [&](int b) {
      sum_with_free_[static_cast<std::size_t>(a)] +=
          static_cast<std::uint32_t>(machine.pair_gbps(a, b));
    });
  }
}

Rest Judge::rest(Mask set) {
  steps_ += rest_steps + pair_steps(set);
  const Mask taken = set & free_;
  auto sum = free_sum_ + sets_.machine().sum_gbps(taken); // pairs within are taken off twice
  each_bit(taken, [&](int i) { sum -= sum_with_free_[static_cast<std::size_t>(i)]; });
  return {.fragmentation = sets_.fragmentation(free_ & ~set), .sum_gbps = sum};
}

bool Judge::may_win(const Traits &optimistic, Mask left) {
  steps_ += 3;
  const auto head = ranking_.head(arranged(optimistic));
  if (head != second_.words[0]) {
    return head > second_.words[0];
  }
  steps_ += rest_steps;
  return sets_.fragmentation(left) >= second_.words[1] >> 32U;
}

void Judge::offer(Mask set) {
  auto traits = sets_.machine().traits_without_ring(set);
  sets_.machine().count_free_rails(set, rails_free_, traits);
  offer(set, traits);
}

void Judge::offer(Mask set, const Traits &without_ring) {
  ++examined_;
  steps_ += 2 + pair_steps(set);
  auto traits = without_ring;
  const auto &machine = sets_.machine();
  if (std::popcount(set) > 1) {
    traits.ring = static_cast<std::uint16_t>(ring_bound(machine, set));
    if (ranking_.head(arranged(traits)) < second_.words[0]) {
      return;
    }
    const auto ring = find_ring(machine, set);
    steps_ += ring.steps;
    exact_ = exact_ && ring.exact;
    traits.ring = static_cast<std::uint16_t>(ring.tier);
  }
  const auto fields = arranged(traits);
  if (ranking_.head(fields) >= second_.words[0]) {
    place(ranking_.rank(fields, traits, rest(set), set));
  }
}

void Judge::place(const Rank &rank) {
  if (rank.set == first_.set || rank.set == second_.set) {
    return;
  }
  if (rank > first_) {
    second_ = first_;
    first_ = rank;
  } else if (rank > second_) {
    second_ = rank;
  }
}

} // namespace plumbline::placement
