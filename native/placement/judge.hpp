// Ranks of sets of a large machine, and the two best so far.
#pragma once

#include "placement/large_sets.hpp"

namespace plumbline::placement {

/// What the sets of one search are compared by.
template <class Set> class Judge {
public:
  Judge(const LargeSets<Set> &sets, const Ranking &ranking, const Search<Set> &search);

  /// Ranks a set unless it cannot beat the second best; steps counts the work.
  void offer(const Set &set, const Traits &without_ring);
  void offer(const Set &set);

  /// Places a set that differs from the best one in its order only.
  void offer_like_best(const Set &set);

  /// Whether sets with at most these traits, that leave at most this, may still be worth a look.
  bool may_win(const Traits &optimistic, const Set &left);

  [[nodiscard]] const Set &best() const { return first_.set; }
  [[nodiscard]] const Set &second() const { return second_.set; }
  [[nodiscard]] bool exact() const { return exact_; }
  [[nodiscard]] std::int64_t examined() const { return examined_; }
  [[nodiscard]] std::int64_t steps() const { return steps_; }

private:
  [[nodiscard]] std::uint64_t arranged(const Traits &traits) const {
    return ranking_.arranged(fields_of(traits, ranking_.counts_known_only()));
  }
  Rest rest(const Set &set, const Traits &traits);
  void place(const Rank<Set> &rank);

  const LargeSets<Set> &sets_;
  const Ranking &ranking_;
  Set free_;
  Set rails_free_;
  std::uint32_t free_sum_ = 0;
  std::uint64_t free_reach_ = 0;
  std::array<std::uint32_t, static_cast<std::size_t>(capacity<Set>)>
      sum_with_free_{}; // of each device's pairs
  Set last_left_;       // and how fragmented it is: branches that take nothing ask again
  std::uint32_t last_fragmentation_;
  Rank<Set> first_;
  Rank<Set> second_;
  bool exact_ = true;
  std::int64_t examined_ = 0;
  std::int64_t steps_ = 0;
};

} // namespace plumbline::placement
