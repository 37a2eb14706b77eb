#include "placement/large_parents.hpp"

#include "placement/growth.hpp"
#include "placement/parents.hpp"

namespace plumbline::placement {

namespace {

constexpr std::int64_t most_parent_sets = 2'000;

/// The best set of parents among those that were tried.
template <class Set> class ParentTrials {
public:
  ParentTrials(const LargeSets<Set> &sets, const ParentSearch<Set> &search)
      : sets_(sets), search_(search) {}

  void offer(const Set &set) {
    ++examined_;
    if (search_.room_of(set) < search_.needed) {
      return;
    }
    const auto traits = sets_.traits(set);
    const auto rank =
        rank_parents(fields_of(traits, false), traits, search_.cost_of(set & ~search_.forced), set);
    if (rank > best_) {
      best_ = rank;
    }
  }

  /// Tries every set; for few.
  void offer_all(const Set &set, Set pool, int missing) {
    if (missing == 0) {
      offer(set);
      return;
    }
    for (; popcount(pool) >= missing; pool = without_lowest(pool)) {
      offer_all(set | bit<Set>(lowest(pool)), without_lowest(pool), missing - 1);
    }
  }

  void offer_roomiest() {
    Set set = search_.forced;
    for (int count = 0; count < search_.count; ++count) {
      int found = lowest(search_.pool & ~set);
      each_bit(search_.pool & ~set, [&](int i) {
        const bool more = search_.room[static_cast<std::size_t>(i)] >
                          search_.room[static_cast<std::size_t>(found)];
        found = more ? i : found;
      });
      set |= bit<Set>(found);
    }
    offer(set);
  }

  [[nodiscard]] const Set &best() const { return best_.set; }
  [[nodiscard]] std::int64_t examined() const { return examined_; }
  [[nodiscard]] bool are_enough() const { return examined_ >= most_parent_sets; }

private:
  const LargeSets<Set> &sets_;
  const ParentSearch<Set> &search_;
  ParentRank<Set> best_;
  std::int64_t examined_ = 0;
};

bool are_few(int count, int size) {
  std::int64_t sets = 1;
  for (int i = 0; i < size && sets <= most_parent_sets; ++i) {
    sets = sets * (count - i) / (i + 1);
  }
  return sets <= most_parent_sets;
}

} // namespace

template <class Set>
FoundParents<Set> search_large_parents(const LargeSets<Set> &sets,
                                       const ParentSearch<Set> &search) {
  ParentTrials<Set> trials(sets, search);
  if (are_few(popcount(search.pool), search.count)) {
    trials.offer_all(search.forced, search.pool, search.count);
    return {.parents = trials.best(), .exact = true, .examined = trials.examined()};
  }
  const Search<Set> plain{
      .pool = search.pool, .must = search.forced, .size = search.count, .free = {}};
  trials.offer_roomiest();
  for (const int seed : seeds_of(sets, plain, Set{})) {
    trials.offer(grow(sets, plain, seed));
  }
  for (Set from{}; from != trials.best() && !trials.are_enough();) {
    from = trials.best();
    // Parents are twins for their room and cost, too: every exchange counts.
    each_bit(from & ~search.forced, [&](int gone) {
      each_bit(search.pool & ~from, [&](int come) {
        if (!trials.are_enough()) {
          trials.offer((from & ~bit<Set>(gone)) | bit<Set>(come));
        }
      });
    });
  }
  return {.parents = trials.best(), .exact = false, .examined = trials.examined()};
}

template FoundParents<Mask> search_large_parents(const LargeSets<Mask> &sets,
                                                 const ParentSearch<Mask> &search);
template FoundParents<WideMask> search_large_parents(const LargeSets<WideMask> &sets,
                                                     const ParentSearch<WideMask> &search);

} // namespace plumbline::placement
