// Ranks of sets of a large machine, and the two best so far.
#pragma once

#include "placement/large_sets.hpp"

namespace plumbline::placement {

/// What the sets of one search are compared by.
class Judge {
public:
  Judge(const LargeSets &sets, const Ranking &ranking, const Search &search);

  /// Ranks a set unless it cannot beat the second best; steps counts the work.
  void offer(Mask set, const Traits &without_ring);
  void offer(Mask set);

  /// Whether sets with at most these traits, that leave at most this, may still be worth a look.
  bool may_win(const Traits &optimistic, Mask left);

  [[nodiscard]] Mask best() const { return first_.set; }
  [[nodiscard]] Mask second() const { return second_.set; }
  [[nodiscard]] bool exact() const { return exact_; }
  [[nodiscard]] std::int64_t examined() const { return examined_; }
  [[nodiscard]] std::int64_t steps() const { return steps_; }

private:
  [[nodiscard]] std::uint64_t arranged(const Traits &traits) const {
    return ranking_.arranged(fields_of(traits, ranking_.counts_known_only()));
  }
  Rest rest(Mask set);
  void place(const Rank &rank);

  const LargeSets &sets_;
  const Ranking &ranking_;
  Mask free_;
  Mask rails_free_;
  std::uint32_t free_sum_;
  std::array<std::uint32_t, max_devices> sum_with_free_{}; // of each device's pairs
  Rank first_;
  Rank second_;
  bool exact_ = true;
  std::int64_t examined_ = 0;
  std::int64_t steps_ = 0;
};

} // namespace plumbline::placement
