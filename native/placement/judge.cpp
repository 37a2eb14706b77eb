#include "placement/judge.hpp"

#include "placement/ring_search.hpp"

namespace plumbline::placement {

namespace {

/// Steps for going through the pairs of a set.
template <class Set> std::int64_t pair_steps(const Machine<Set> &machine, const Set &set) {
  const std::int64_t size = popcount(set);
  return 1 + (machine.counts_pairs() ? size * word_count<Set> / 2 : size * size / 9);
}

/// Steps for a look at a branch, and for counting what is left; wide masks take longer.
template <class Set> constexpr int branch_steps = word_count<Set> > 1 ? 6 : 3;
template <class Set> constexpr int rest_steps = word_count<Set> > 1 ? 16 : 8;

} // namespace

template <class Set>
Judge<Set>::Judge(const LargeSets<Set> &sets, const Ranking &ranking, const Search<Set> &search)
    : sets_(sets), ranking_(ranking), free_(search.free), rails_free_(search.rails_free),
      last_left_(search.free), last_fragmentation_(sets.fragmentation(search.free)) {
  const auto &machine = sets.machine();
  std::uint64_t twice = 0;
  each_bit(free_, [&](int a) {
    const auto sum = machine.joint(a, free_ & ~bit<Set>(a)).sum_gbps;
    sum_with_free_[static_cast<std::size_t>(a)] = sum;
    twice += sum;
  });
  free_sum_ = static_cast<std::uint32_t>(twice / 2);
  free_reach_ = machine.reach_gbps(free_);
}

template <class Set> Rest Judge<Set>::rest(const Set &set, const Traits &traits) {
  steps_ += rest_steps<Set>;
  const Set taken = set & free_;
  // Pairs within are taken off twice.
  auto sum = free_sum_ + (taken == set ? traits.sum_gbps : sets_.machine().sum_gbps(taken));
  each_bit(taken, [&](int i) { sum -= sum_with_free_[static_cast<std::size_t>(i)]; });
  return {.fragmentation = sets_.fragmentation(free_ & ~set),
          .sum_gbps = sum,
          .reach_gbps = free_reach_ - sets_.machine().reach_gbps(taken)};
}

template <class Set> bool Judge<Set>::may_win(const Traits &optimistic, const Set &left) {
  steps_ += branch_steps<Set>;
  const auto head = ranking_.head(arranged(optimistic));
  if (head != second_.words[0]) {
    return head > second_.words[0];
  }
  if (left != last_left_) {
    steps_ += rest_steps<Set>;
    last_left_ = left;
    last_fragmentation_ = sets_.fragmentation(left);
  }
  return last_fragmentation_ >= second_.words[1] >> 32U;
}

template <class Set> void Judge<Set>::offer(const Set &set) {
  auto traits = sets_.machine().traits_without_ring(set);
  sets_.count_rails(set, rails_free_, traits);
  offer(set, traits);
}

template <class Set> void Judge<Set>::offer(const Set &set, const Traits &without_ring) {
  ++examined_;
  steps_ += 2 + pair_steps(sets_.machine(), set);
  auto traits = without_ring;
  const auto &machine = sets_.machine();
  if (popcount(set) > 1) {
    const int bound = ring_bound(machine, set);
    traits.ring = static_cast<std::uint16_t>(bound);
    if (ranking_.head(arranged(traits)) < second_.words[0]) {
      return;
    }
    const auto ring = find_ring(machine, set, bound, int{traits.min_pair});
    steps_ += ring.steps;
    exact_ = exact_ && ring.exact;
    traits.ring = static_cast<std::uint16_t>(ring.tier);
  }
  const auto fields = arranged(traits);
  if (ranking_.head(fields) >= second_.words[0]) {
    place(ranking_.rank(fields, sums_of(traits), rest(set, traits), set));
  }
}

template <class Set> void Judge<Set>::offer_like_best(const Set &set) {
  auto rank = first_;
  rank.set = set;
  place(rank);
}

template <class Set> void Judge<Set>::place(const Rank<Set> &rank) {
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

template class Judge<Mask>;
template class Judge<WideMask>;

} // namespace plumbline::placement
