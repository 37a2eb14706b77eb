#include "placement/engine.hpp"

#include <algorithm>

#include "placement/bits.hpp"
#include "placement/large_sets.hpp"
#include "placement/small_sets.hpp"

namespace plumbline::placement {

namespace {

std::unique_ptr<const Sets> make_sets(const Facts &facts) {
  if (facts.pair_gbps.size() <= exact_up_to) {
    return std::make_unique<SmallSets>(facts);
  }
  return std::make_unique<LargeSets>(facts);
}

} // namespace

Engine::Engine(const Facts &facts) : sets_(make_sets(facts)) {}

Choice Engine::choose(const Request &request) const {
  const Mask known = sets_->machine().all();
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
  return sets_->search(ranking,
                       {.pool = pool, .must = request.must, .size = missing, .free = free});
}

Choice Engine::describe(const Found &found, const Ranking &ranking, Mask free) const {
  const auto &machine = sets_->machine();
  const auto traits = sets_->traits(found.best);
  const auto key = [&](Mask set) {
    return ranking.key(machine, sets_->traits(set), sets_->rest(free & ~set), set);
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
    choice.ring_gbps = machine.gbps(traits.ring);
    choice.min_pair_gbps = machine.gbps(traits.min_pair);
    choice.limiting_pair = limiting_pair(found.best);
  }
  choice.sum_pair_gbps = traits.sum_gbps;
  choice.exact = found.exact;
  choice.examined = found.examined;
  return choice;
}

std::optional<std::pair<int, int>> Engine::limiting_pair(Mask chosen) const {
  const auto &machine = sets_->machine();
  std::optional<std::pair<int, int>> slowest;
  each_bit(chosen, [&](int a) {
    each_bit(chosen & ~(bit(a) | (bit(a) - 1)), [&](int b) {
      if (!slowest || machine.tier(a, b) < machine.tier(slowest->first, slowest->second)) {
        slowest = {a, b};
      }
    });
  });
  return slowest;
}

Key Engine::score(Mask chosen, Mask free, Policy policy, int rails_wanted) const {
  chosen &= sets_->machine().all();
  free &= sets_->machine().all();
  const Ranking ranking(policy, std::popcount(chosen), rails_wanted);
  return ranking.key(sets_->machine(), sets_->traits(chosen), sets_->rest(free & ~chosen), chosen);
}

std::int64_t Engine::fragmentation(Mask free) const {
  return sets_->rest(free & sets_->machine().all()).fragmentation;
}

Aligned Engine::largest_aligned(Mask free, int size) const {
  free &= sets_->machine().all();
  if (size < 1 || size > std::popcount(free)) {
    return {};
  }
  return sets_->largest_aligned(free, size);
}

} // namespace plumbline::placement
