#include "placement/small_sets.hpp"

#include "placement/bits.hpp"
#include "placement/packing.hpp"
#include "placement/parents.hpp"
#include "placement/subsets.hpp"

namespace plumbline::placement {

Found<Mask> SmallSets::search(const Ranking &ranking, const Search<Mask> &search) const {
  return search_subsets(machine(), tables_, ranking, search);
}

FoundParents<Mask> SmallSets::find_parents(const ParentSearch<Mask> &search) const {
  return search_parents(tables_, search);
}

Aligned SmallSets::largest_aligned(const Mask &free, int size) const {
  const auto packing = pack_sets(machine(), tables_.traits, size);
  Mask witness = free;
  // Devices that the best set does without go, the highest rank first.
  for (int device = machine().size() - 1; popcount(witness) > size; --device) {
    const Mask smaller = witness & ~bit(device);
    witness = packing.best[smaller] == packing.best[free] ? smaller : witness;
  }
  const auto tier = static_cast<int>(packing.best[free] >> grade_shift);
  return {.count = packing.count[free],
          .min_pair_gbps = size == 1 ? 0 : machine().gbps(tier),
          .witness = witness};
}

} // namespace plumbline::placement
