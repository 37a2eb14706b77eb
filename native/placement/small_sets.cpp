#include "placement/small_sets.hpp"

#include "placement/bits.hpp"
#include "placement/packing.hpp"
#include "placement/parents.hpp"
#include "placement/subsets.hpp"
#include "placement/sums.hpp"

namespace plumbline::placement {

Found<Mask> SmallSets::search(const Ranking &ranking, const Search<Mask> &search) const {
  return search_subsets(machine(), tables_, ranking, search);
}

FoundParents<Mask> SmallSets::find_parents(const ParentSearch<Mask> &search) const {
  return search_parents(tables_, search);
}

Aligned SmallSets::largest_aligned(const Mask &free, int size) const {
  const Mask witness = best_graded(free, size);
  const auto tier = static_cast<int>(grade_of(tables_.traits[witness]) >> grade_shift);
  return {.count = count_aligned(free, size),
          .min_pair_gbps = size == 1 ? 0 : machine().gbps(tier),
          .witness = witness};
}

int SmallSets::count_aligned(Mask free, int size) const {
  for (std::size_t i = 0; i < expected_requests.size(); ++i) {
    if (expected_requests[i].size == size && !tables_.counts[i].empty()) {
      return tables_.counts[i][free];
    }
  }
  return pack_sets(machine(), tables_.traits, size).count[free];
}

/// The set of the best grade; of equals the one whose highest rank is lowest.
Mask SmallSets::best_graded(Mask free, int size) const {
  const auto deposit = deposit_into(free);
  const auto end = std::uint32_t{1} << static_cast<unsigned>(popcount(free));
  Mask best = 0;
  Grade best_grade = 0;
  for (auto number = (std::uint32_t{1} << static_cast<unsigned>(size)) - 1; number < end;
       number = next_with_same_bits(number)) {
    const Mask set = deposit(number);
    const auto grade = grade_of(tables_.traits[set]);
    if (best == 0 || grade > best_grade) {
      best = set;
      best_grade = grade;
    }
  }
  return best;
}

} // namespace plumbline::placement
