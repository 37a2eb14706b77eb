#include "placement/branches.hpp"

#include <algorithm>

#include "placement/growth.hpp"
#include "placement/judge.hpp"
#include "placement/mirrors.hpp"
#include "placement/partial.hpp"

namespace plumbline::placement {

namespace {

// Calibrated for 1 ms together on one core of 2026.
constexpr std::int64_t most_steps = 30'000;
constexpr std::int64_t most_exchange_steps = 6'000;

/// Every set that differs from one by a device, twins counted once.
template <class Set, typename Visit>
void each_exchange(const LargeSets<Set> &sets, const Search<Set> &search, const Set &set,
                   Visit visit) {
  const auto taken = classes_of(sets, set & ~search.must, search.rails_free);
  const auto others = classes_of(sets, search.pool & ~set, search.rails_free);
  for (const auto &gone : taken) {
    for (const auto &come : others) {
      const Set left = set & ~bit<Set>(highest(gone.members));
      if (!visit(left | bit<Set>(lowest(come.members)))) {
        return;
      }
    }
  }
}

/// One class of a search, and what is known before anything is tried.
template <class Set> struct Stage {
  Class<Set> devices;
  std::size_t after_none = 0; ///< the stage that comes next when nothing is taken of this one
  int most_per_node = 1;      ///< devices of this stage and the ones after on one node
  int most_per_socket = 1;
  /// Mirrors, each with how many of its pairs are decided with this stage.
  std::vector<std::pair<const Mirror<Set> *, std::size_t>> mirrors;
};

template <class Set> class Branches {
public:
  Branches(const LargeSets<Set> &sets, const Ranking &ranking, const Search<Set> &search)
      : sets_(sets), ranking_(ranking), search_(search), judge_(sets, ranking, search),
        mirrors_(mirrors_of(sets, search)), size_(search.size + popcount(search.must)) {
    for (const auto &each : classes_of(sets, search.pool, search.rails_free)) {
      stages_.emplace_back().devices = each;
    }
    count_mates();
    hang_mirrors();
  }

  Found<Set> find() {
    for (const int seed : seeds_of(sets_, search_, repeats())) {
      judge_.offer(grow(sets_, search_, seed));
    }
    grown_steps_ = judge_.steps();
    branch(0, begin_with(sets_, search_), search_.size);
    if (cut_) {
      exchange();
    }
    offer_like_best();
    return {.best = judge_.best(),
            .second = judge_.second() == 0 ? std::nullopt : std::optional(judge_.second()),
            .examined = judge_.examined(),
            .exact = judge_.exact() && !cut_};
  }

private:
  void count_mates() {
    int per_node = 1;
    int per_socket = 1;
    for (std::size_t at = stages_.size(); at > 0; --at) {
      auto &stage = stages_[at - 1];
      const Set left = stage.devices.members | stage.devices.after;
      each_bit(stage.devices.members, [&](int i) {
        per_node = std::max(per_node, popcount(sets_.node_mates(i) & left));
        per_socket = std::max(per_socket, popcount(sets_.socket_mates(i) & left));
      });
      stage.most_per_node = per_node;
      stage.most_per_socket = per_socket;
    }
  }

  void hang_mirrors() {
    std::array<std::size_t, static_cast<std::size_t>(capacity<Set>)> stage_of{};
    for (std::size_t at = 0; at < stages_.size(); ++at) {
      each_bit(stages_[at].devices.members,
               [&](int i) { stage_of[static_cast<std::size_t>(i)] = at; });
    }
    std::vector<bool> chained(stages_.size() + 1);
    for (const auto &mirror : mirrors_) {
      std::size_t first = stages_.size();
      std::size_t known = 0; // the stage with which all pairs so far are decided
      for (std::size_t i = 0; i < mirror.pairs.size(); ++i) {
        const auto low = stage_of[static_cast<std::size_t>(mirror.pairs[i].first)];
        const auto high = stage_of[static_cast<std::size_t>(mirror.pairs[i].second)];
        first = std::min({first, low, high});
        known = std::max({known, low, high});
        auto &hung = stages_[known].mirrors;
        if (hung.empty() || hung.back().first != &mirror) {
          hung.emplace_back(&mirror, 0);
        }
        hung.back().second = i + 1;
      }
      chained[known] = chained[known] || known == first + 1;
    }
    // Of two mirrored classes in a row the second gives no more than the first.
    for (std::size_t at = stages_.size(); at > 0; --at) {
      stages_[at - 1].after_none = chained[at] ? stages_[at].after_none : at;
    }
  }

  /// Devices of blocks that others stand for.
  [[nodiscard]] Set repeats() const {
    Set repeated{};
    for (const auto &mirror : mirrors_) {
      repeated |= mirror.seconds;
    }
    return repeated;
  }

  void branch(std::size_t at, const Partial<Set> &partial, int missing) {
    if (missing == 0) {
      offer(partial);
      return;
    }
    if (at == stages_.size()) {
      return;
    }
    const auto &stage = stages_[at];
    const auto &members = stage.devices.members;
    cut_ = cut_ || judge_.steps() - grown_steps_ > most_steps;
    if (cut_ || popcount(members | stage.devices.after) < missing ||
        !judge_.may_win(optimistic(partial, stage, missing), search_.free & ~partial.set)) {
      return;
    }
    const int least = missing - popcount(stage.devices.after);
    for (int count = std::min(missing, popcount(members)); count >= std::max(least, 1); --count) {
      const Set taken = lowest_bits(members, count);
      if (comes_second(stage, partial.set | taken)) {
        continue;
      }
      auto grown = partial;
      each_bit(taken, [&](int i) { add(sets_, i, search_.rails_free, grown); });
      branch(at + 1, grown, missing - count);
    }
    if (least <= 0 && !comes_second(stage, partial.set)) {
      branch(stage.after_none, partial, missing);
    }
  }

  void offer(const Partial<Set> &partial) {
    auto traits = partial.traits;
    traits.min_pair = size_ > 1 ? traits.min_pair : std::uint16_t{0};
    judge_.offer(partial.set, traits);
  }

  static bool comes_second(const Stage<Set> &stage, const Set &set) {
    return std::ranges::any_of(stage.mirrors, [&](const auto &hung) {
      return hung.first->comes_second(set, hung.second);
    });
  }

  /// Traits that no completion of a partial set exceeds in any term.
  [[nodiscard]] Traits optimistic(const Partial<Set> &partial, const Stage<Set> &stage,
                                  int missing) const {
    auto traits = partial.traits;
    const auto &devices = stage.devices;
    const Set left = devices.members | devices.after;
    if (size_ > 1) {
      traits.ring =
          static_cast<std::uint16_t>(sets_.highest_tier(partial.set, partial.set | left, size_));
      traits.min_pair = std::min(traits.min_pair, traits.ring);
    } else {
      traits.min_pair = 0;
    }
    if (ranking_.counts_known_only()) {
      traits.nodes = counted(popcount(partial.nodes | devices.nodes_after));
      traits.sockets = counted(popcount(partial.sockets | devices.sockets_after));
    } else {
      const int at_nodes = popcount(left & partial.at_nodes);
      const int at_sockets = popcount(left & partial.at_sockets);
      traits.nodes = counted(traits.nodes + places(missing - at_nodes, stage.most_per_node));
      traits.sockets =
          counted(traits.sockets + places(missing - at_sockets, stage.most_per_socket));
    }
    if (ranking_.likes_rails()) {
      traits.rails = counted(popcount(partial.rails | devices.rails_after));
      traits.rail_devices =
          counted(traits.rail_devices + std::min(missing, devices.with_rails_after));
    }
    return traits;
  }

  static std::uint16_t counted(int count) { return static_cast<std::uint16_t>(count); }
  /// How many nodes or sockets so many devices span at least.
  static int places(int devices, int most_per_place) {
    return devices <= 0 ? 0 : (devices + most_per_place - 1) / most_per_place;
  }

  void exchange() {
    const auto end = judge_.steps() + most_exchange_steps;
    for (Set from{}; from != judge_.best() && judge_.steps() < end;) {
      from = judge_.best();
      each_exchange(sets_, search_, from, [&](const Set &set) {
        judge_.offer(set);
        return judge_.steps() < end;
      });
    }
  }

  /// Sets that differ from the best one in their order only: classes and mirrors leave them out.
  void offer_like_best() {
    const Set best = judge_.best();
    for (const auto &taken : classes_of(sets_, best & ~search_.must, search_.rails_free)) {
      const Set others =
          alike(sets_, lowest(taken.members), search_.rails_free) & search_.pool & ~best;
      if (others != 0) {
        const Set left = best & ~bit<Set>(highest(taken.members));
        judge_.offer_like_best(left | bit<Set>(lowest(others)));
      }
    }
    for (const auto &mirror : mirrors_) {
      judge_.offer_like_best(mirror.image(best));
    }
  }

  const LargeSets<Set> &sets_;
  const Ranking &ranking_;
  const Search<Set> &search_;
  Judge<Set> judge_;
  std::vector<Mirror<Set>> mirrors_;
  std::vector<Stage<Set>> stages_;
  int size_;
  bool cut_ = false;
  std::int64_t grown_steps_ = 0;
};

} // namespace

template <class Set>
Found<Set> search_branches(const LargeSets<Set> &sets, const Ranking &ranking,
                           const Search<Set> &search) {
  return Branches<Set>(sets, ranking, search).find();
}

template Found<Mask> search_branches(const LargeSets<Mask> &sets, const Ranking &ranking,
                                     const Search<Mask> &search);
template Found<WideMask> search_branches(const LargeSets<WideMask> &sets, const Ranking &ranking,
                                         const Search<WideMask> &search);

} // namespace plumbline::placement
