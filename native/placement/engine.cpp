#include "placement/engine.hpp"

#include <algorithm>

#include "placement/bits.hpp"
#include "placement/packing.hpp"
#include "placement/parents.hpp"

namespace plumbline::placement {

Engine::Engine(const Facts &facts) : machine_(facts), tables_(machine_) {}

Choice Engine::choose(const Request &request) const {
  const Mask known = machine_.all();
  Request asked = request;
  asked.available &= known;
  asked.must &= known;
  const int most = std::popcount(asked.available | asked.must);
  asked.size = std::clamp(asked.size, 0, most);
  const Mask free = (request.free & known) | asked.available;
  const Ranking ranking(asked.policy, asked.size, asked.rails_wanted);
  return describe(search(asked, ranking, free), ranking, free);
}

Found Engine::search(const Request &request, const Ranking &ranking, Mask free) const {
  const Mask pool = request.available & ~request.must;
  const int missing = request.size - std::popcount(request.must);
  if (missing <= 0) {
    return {.best = lowest_bits(request.must, request.size), .second = {}, .examined = 1};
  }
  if (missing == std::popcount(pool)) {
    return {.best = pool | request.must, .second = {}, .examined = 1};
  }
  return search_subsets(tables_, ranking,
                        {.pool = pool, .must = request.must, .size = missing, .free = free});
}

Choice Engine::describe(const Found &found, const Ranking &ranking, Mask free) const {
  const auto &traits = tables_.traits[found.best];
  const auto key = [&](Mask set) {
    return ranking.key(machine_, tables_.traits[set], tables_.rest[free & ~set], set);
  };
  Choice choice;
  choice.chosen = found.best;
  choice.key = key(found.best);
  choice.terms = ranking.terms();
  choice.runner_up = found.second;
  if (found.second) {
    choice.runner_up_key = key(*found.second);
  }
  if (std::popcount(found.best) > 1) {
    choice.ring_gbps = machine_.gbps(traits.ring);
    choice.min_pair_gbps = machine_.gbps(traits.min_pair);
    choice.limiting_pair = limiting_pair(found.best);
  }
  choice.sum_pair_gbps = traits.sum_gbps;
  choice.exact = found.exact;
  choice.examined = found.examined;
  return choice;
}

std::optional<std::pair<int, int>> Engine::limiting_pair(Mask chosen) const {
  std::optional<std::pair<int, int>> slowest;
  each_bit(chosen, [&](int a) {
    each_bit(chosen & ~(bit(a) | (bit(a) - 1)), [&](int b) {
      if (!slowest || machine_.tier(a, b) < machine_.tier(slowest->first, slowest->second)) {
        slowest = {a, b};
      }
    });
  });
  return slowest;
}

Key Engine::score(Mask chosen, Mask free, Policy policy, int rails_wanted) const {
  chosen &= machine_.all();
  free &= machine_.all();
  const Ranking ranking(policy, std::popcount(chosen), rails_wanted);
  return ranking.key(machine_, tables_.traits[chosen], tables_.rest[free & ~chosen], chosen);
}

FoundParents Engine::find(const ParentSearch &search) const {
  return search_parents(tables_, search);
}

std::int64_t Engine::fragmentation(Mask free) const {
  return tables_.rest[free & machine_.all()].fragmentation;
}

Aligned Engine::largest_aligned(Mask free, int size) const {
  free &= machine_.all();
  if (size < 1 || size > std::popcount(free)) {
    return {};
  }
  const auto packing = pack_sets(machine_, tables_.traits, size);
  Mask witness = free;
  // Devices that the best set does without go, the highest rank first.
  for (int device = machine_.size() - 1; device >= 0 && std::popcount(witness) > size; --device) {
    const Mask smaller = witness & ~bit(device);
    witness = packing.best[smaller] == packing.best[free] ? smaller : witness;
  }
  const auto tier = static_cast<int>(packing.best[free] >> grade_shift);
  return {.count = packing.count[free],
          .min_pair_gbps = size == 1 ? 0 : machine_.gbps(tier),
          .witness = witness};
}

} // namespace plumbline::placement
