#include "placement/engine.hpp"

#include <algorithm>

#include "placement/large_sets.hpp"
#include "placement/small_sets.hpp"

namespace plumbline::placement {

namespace {

/// Whether 64 bits are enough for all there is of the machine.
bool is_narrow(const Facts &facts) {
  const auto fit = [](const std::vector<WideMask> &masks) {
    return std::ranges::all_of(masks,
                               [](const auto &mask) { return highest(mask) < capacity<Mask>; });
  };
  return facts.pair_gbps.size() <= static_cast<std::size_t>(capacity<Mask>) && fit(facts.numa) &&
         fit(facts.socket) && fit(facts.rails);
}

/// Where fewer rails are better, a rail counts although it is in use: it may be given back.
template <class Set> Set rails_that_count(const Ranking &ranking, const WideMask &rails_free) {
  return ranking.likes_rails() ? narrowed<Set>(rails_free) : ~Set{};
}

template <class Set>
Found<Set> find(const Sets<Set> &sets, const Ranking &ranking, const Search<Set> &search) {
  if (search.size <= 0) {
    const int size = search.size + popcount(search.must);
    return {.best = lowest_bits(search.must, size), .second = {}, .examined = 1};
  }
  if (search.size == popcount(search.pool)) {
    return {.best = search.pool | search.must, .second = {}, .examined = 1};
  }
  return sets.search(ranking, search);
}

/// The first pair at a tier.
template <class Set>
std::optional<std::pair<int, int>> pair_at(const Machine<Set> &machine, int tier, Set chosen) {
  for (; chosen != 0; chosen = without_lowest(chosen)) {
    const int a = lowest(chosen);
    for (Set others = without_lowest(chosen); others != 0; others = without_lowest(others)) {
      if (int{machine.tier(a, lowest(others))} == tier) {
        return std::pair(a, lowest(others));
      }
    }
  }
  return std::nullopt;
}

template <class Set>
Choice describe(const Sets<Set> &sets, const Found<Set> &found, const Ranking &ranking,
                const Search<Set> &search) {
  const auto &machine = sets.machine();
  const auto traits = sets.traits(found.best);
  const auto key = [&](const Set &set, Traits counted) {
    sets.count_rails(set, search.rails_free, counted);
    return ranking.key(machine, counted, sets.rest(search.free & ~set), set);
  };
  Choice choice;
  choice.chosen = found.best;
  choice.key = key(found.best, traits);
  choice.terms = ranking.terms();
  if (found.second) {
    choice.runner_up = *found.second;
    choice.runner_up_key = key(*found.second, sets.traits(*found.second));
  }
  if (popcount(found.best) > 1) {
    choice.ring_gbps = machine.gbps(traits.ring);
    choice.min_pair_gbps = machine.gbps(traits.min_pair);
    choice.limiting_pair = pair_at(machine, int{traits.min_pair}, found.best);
  }
  choice.sum_pair_gbps = traits.sum_gbps;
  choice.exact = found.exact;
  choice.examined = found.examined;
  return choice;
}

template <class Set> Choice choose_among(const Sets<Set> &sets, const Request &request) {
  const Set known = sets.machine().all();
  const Set available = narrowed<Set>(request.available) & known;
  const Set must = narrowed<Set>(request.must) & known;
  const int size = std::clamp(request.size, 0, popcount(available | must));
  const Ranking ranking(request.policy, size, request.rails_wanted);
  const Search<Set> search{.pool = available & ~must,
                           .must = must,
                           .size = size - popcount(must),
                           .free = (narrowed<Set>(request.free) & known) | available,
                           .rails_free = rails_that_count<Set>(ranking, request.rails_free)};
  return describe(sets, find(sets, ranking, search), ranking, search);
}

} // namespace

Engine::Engine(const Facts &facts) : sets_(make_sets(facts)) {}

Engine::AnySets Engine::make_sets(const Facts &facts) {
  if (!is_narrow(facts)) {
    return std::make_unique<LargeSets<WideMask>>(facts);
  }
  if (facts.pair_gbps.size() <= exact_up_to) {
    return std::make_unique<SmallSets>(facts);
  }
  return std::make_unique<LargeSets<Mask>>(facts);
}

Choice Engine::choose(const Request &request) const {
  return std::visit([&](const auto &sets) { return choose_among(*sets, request); }, sets_);
}

Key Engine::score(const WideMask &chosen, const WideMask &free, Policy policy, int rails_wanted,
                  const WideMask &rails_free) const {
  const auto score_by = [&]<class Set>(const SetsOf<Set> &sets) {
    const auto &machine = sets->machine();
    const Set set = narrowed<Set>(chosen) & machine.all();
    const Ranking ranking(policy, popcount(set), rails_wanted);
    auto traits = sets->traits(set);
    sets->count_rails(set, rails_that_count<Set>(ranking, rails_free), traits);
    const Set left = narrowed<Set>(free) & machine.all() & ~set;
    return ranking.key(machine, traits, sets->rest(left), set);
  };
  return std::visit(score_by, sets_);
}

std::int64_t Engine::fragmentation(const WideMask &free) const {
  const auto count_by = [&]<class Set>(const SetsOf<Set> &sets) {
    return std::int64_t{sets->rest(narrowed<Set>(free) & sets->machine().all()).fragmentation};
  };
  return std::visit(count_by, sets_);
}

Aligned Engine::largest_aligned(const WideMask &free, int size) const {
  const auto find_by = [&]<class Set>(const SetsOf<Set> &sets) -> Aligned {
    const Set left = narrowed<Set>(free) & sets->machine().all();
    return size < 1 || size > popcount(left) ? Aligned{} : sets->largest_aligned(left, size);
  };
  return std::visit(find_by, sets_);
}

ShareChoice Engine::choose_shares(const ShareRequest &request) const {
  return std::visit([&](const auto &sets) { return placement::choose_shares(*sets, request); },
                    sets_);
}

std::size_t Engine::table_bytes() const {
  return std::visit([](const auto &sets) { return sets->bytes(); }, sets_);
}

} // namespace plumbline::placement
