// The exact search for sets of parents, by tables.
#pragma once

#include "placement/searches.hpp"
#include "placement/tables.hpp"

namespace plumbline::placement {

/// Looks at every set of parents there is room on.
FoundParents<Mask> search_parents(const Tables &tables, const ParentSearch<Mask> &search);

/// How good a set of parents is for a job, cost aside: what comes before it and what after.
template <class Set> struct ParentRank {
  std::uint64_t head = 0;
  std::uint64_t cheapness = 0;
  std::uint64_t tail = 0;
  Set set{};

  bool operator>(const ParentRank &other) const {
    if (head != other.head) {
      return head > other.head;
    }
    if (cheapness != other.cheapness) {
      return cheapness > other.cheapness;
    }
    return tail != other.tail ? tail > other.tail : comes_before(set, other.set);
  }
};
template <class Set>
ParentRank<Set> rank_parents(Fields fields, const Traits &traits, std::uint64_t cost,
                             const Set &set) {
  // Two devices, so that the head holds ring, slowest pair, clique, nodes and sockets; what is
  // left of the node plays no part, and neither do rails.
  static const Ranking ranking(Policy::standard, 2, 0);
  const auto rank = ranking.rank(ranking.arranged(fields), sums_of(traits), {}, set);
  return {.head = rank.words[0], .cheapness = ~cost, .tail = rank.words.back(), .set = set};
}

} // namespace plumbline::placement
