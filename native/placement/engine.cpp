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

/// Where fewer rails are better, a rail counts although it is in use: it may be given back.
Mask rails_that_count(const Ranking &ranking, Mask rails_free) {
  return ranking.likes_rails() ? rails_free : ~Mask{0};
}

} // namespace

Engine::Engine(const Facts &facts) : sets_(make_sets(facts)) {}

Choice Engine::choose(const Request &request) const {
  const Mask known = sets_->machine().all();
  const Mask available = request.available & known;
  const Mask must = request.must & known;
  const int size = std::clamp(request.size, 0, std::popcount(available | must));
  const Ranking ranking(request.policy, size, request.rails_wanted);
  const Search search{.pool = available & ~must,
                      .must = must,
                      .size = size - std::popcount(must),
                      .free = (request.free & known) | available,
                      .rails_free = rails_that_count(ranking, request.rails_free)};
  return describe(find(ranking, search), ranking, search);
}

Found Engine::find(const Ranking &ranking, const Search &search) const {
  if (search.size <= 0) {
    const int size = search.size + std::popcount(search.must);
    return {.best = lowest_bits(search.must, size), .second = {}, .examined = 1};
  }
  if (search.size == std::popcount(search.pool)) {
    return {.best = search.pool | search.must, .second = {}, .examined = 1};
  }
  return sets_->search(ranking, search);
}

Choice Engine::describe(const Found &found, const Ranking &ranking, const Search &search) const {
  const auto &machine = sets_->machine();
  const auto traits = sets_->traits(found.best);
  const auto key = [&](Mask set) {
    return ranking.key(machine, sets_->traits_with(search.rails_free, set),
                       sets_->rest(search.free & ~set), set);
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

Key Engine::score(Mask chosen, Mask free, Policy policy, int rails_wanted, Mask rails_free) const {
  chosen &= sets_->machine().all();
  free &= sets_->machine().all();
  const Ranking ranking(policy, std::popcount(chosen), rails_wanted);
  const auto traits = sets_->traits_with(rails_that_count(ranking, rails_free), chosen);
  return ranking.key(sets_->machine(), traits, sets_->rest(free & ~chosen), chosen);
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
