#include "placement/branches.hpp"

#include <algorithm>

#include "placement/bits.hpp"
#include "placement/judge.hpp"
#include "placement/parents.hpp"

namespace plumbline::placement {

namespace {

// Calibrated for 1 ms together on one core of 2026.
constexpr std::int64_t most_steps = 30'000;
constexpr std::int64_t most_exchange_steps = 6'000;
constexpr int most_seeds = 12;
constexpr std::int64_t most_parent_sets = 2'000;

/// A set on its way to its size, with what it is so far.
struct Partial {
  Mask set = 0;
  Mask nodes = 0;
  Mask sockets = 0;
  Mask rails = 0;
  Traits traits;
};

std::uint8_t narrow(int count) { return static_cast<std::uint8_t>(count); }

Partial begin_with(const Machine &machine, const Search &search) {
  Partial partial{.set = search.must, .traits = machine.traits_without_ring(search.must)};
  machine.count_free_rails(search.must, search.rails_free, partial.traits);
  each_bit(search.must, [&](int i) {
    partial.nodes |= machine.numa(i);
    partial.sockets |= machine.socket(i);
    partial.rails |= machine.rails(i) & search.rails_free;
  });
  if (std::popcount(search.must) < 2) {
    partial.traits.min_pair = static_cast<std::uint16_t>(machine.tier_count() - 1);
  }
  return partial;
}

void add(const Machine &machine, int device, Mask rails_free, Partial &partial) {
  auto &traits = partial.traits;
  each_bit(partial.set, [&](int other) {
    traits.min_pair = std::min(traits.min_pair, machine.tier(device, other));
    traits.sum_gbps += static_cast<std::uint32_t>(machine.pair_gbps(device, other));
  });
  if (partial.set != 0) {
    const auto clique = machine.clique(lowest(partial.set));
    const bool joins = clique >= 0 && clique == machine.clique(device);
    traits.complete = narrow(joins ? traits.complete : 0);
  }
  partial.set |= bit(device);
  partial.nodes |= machine.numa(device);
  partial.sockets |= machine.socket(device);
  const Mask rails = machine.rails(device) & rails_free;
  partial.rails |= rails;
  traits.penalty += machine.penalty(device);
  traits.unknown_nodes = narrow(traits.unknown_nodes + (machine.numa(device) == 0 ? 1 : 0));
  traits.unknown_sockets = narrow(traits.unknown_sockets + (machine.socket(device) == 0 ? 1 : 0));
  traits.rail_devices = narrow(traits.rail_devices + (rails != 0 ? 1 : 0));
  traits.nodes = narrow(std::popcount(partial.nodes));
  traits.sockets = narrow(std::popcount(partial.sockets));
  traits.rails = narrow(std::popcount(partial.rails));
}

/// Devices that can stand for each other, and all of the classes that come after.
struct Class {
  Mask members = 0;
  Mask after = 0;
  Mask nodes_after = 0; // of the members, too
  Mask sockets_after = 0;
  Mask rails_after = 0;
  int with_rails_after = 0;
};

/// Devices that can be exchanged for this one while only these rails count.
Mask alike(const LargeSets &sets, int device, Mask rails_free) {
  const auto &machine = sets.machine();
  Mask twins = sets.twins(device);
  if ((machine.all_rails() & ~rails_free) == 0) {
    return twins;
  }
  const auto count = [&](int i) { return std::popcount(machine.rails(i) & rails_free); };
  each_bit(twins, [&](int i) { twins &= count(i) == count(device) ? ~Mask{0} : ~bit(i); });
  return twins;
}

std::vector<Class> classes_of(const LargeSets &sets, Mask pool, Mask rails_free) {
  std::vector<Class> classes;
  while (pool != 0) {
    const Mask members = alike(sets, lowest(pool), rails_free) & pool;
    pool &= ~members;
    classes.push_back({.members = members, .after = pool});
  }
  for (auto &each : classes) {
    each_bit(each.members | each.after, [&](int i) {
      each.nodes_after |= sets.machine().numa(i);
      each.sockets_after |= sets.machine().socket(i);
      const Mask rails = sets.machine().rails(i) & rails_free;
      each.rails_after |= rails;
      each.with_rails_after += rails != 0 ? 1 : 0;
    });
  }
  return classes;
}

/// How well each device is joined to a growing set.
class Joints {
public:
  explicit Joints(const Machine &machine) : machine_(machine) {
    slowest_.fill(static_cast<std::uint16_t>(machine.tier_count() - 1));
  }

  void add(int device) {
    set_ |= bit(device);
    nodes_ |= machine_.numa(device);
    sockets_ |= machine_.socket(device);
    for (int i = 0; i < machine_.size(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      slowest_[at] = std::min(slowest_[at], machine_.tier(device, i));
      sum_[at] += machine_.pair_gbps(device, i);
    }
  }

  [[nodiscard]] int best_of(Mask pool) const {
    std::array<std::int64_t, 4> best{-1};
    int chosen = 0;
    each_bit(pool & ~set_, [&](int i) {
      const auto at = static_cast<std::size_t>(i);
      const std::array<std::int64_t, 4> value{slowest_[at], stays_within(nodes_, machine_.numa(i)),
                                              stays_within(sockets_, machine_.socket(i)), sum_[at]};
      if (value > best) {
        best = value;
        chosen = i;
      }
    });
    return chosen;
  }

  [[nodiscard]] Mask set() const { return set_; }

private:
  static int stays_within(Mask places, Mask place) {
    return place != 0 && (place & ~places) == 0 ? 1 : 0;
  }

  const Machine &machine_;
  Mask set_ = 0;
  Mask nodes_ = 0;
  Mask sockets_ = 0;
  std::array<std::uint16_t, max_devices> slowest_{};
  std::array<std::int64_t, max_devices> sum_{};
};

/// Grows a set from a seed by the device that is joined best to what is there.
Mask grow(const Machine &machine, const Search &search, int seed) {
  Joints joints(machine);
  each_bit(search.must | bit(seed), [&](int i) { joints.add(i); });
  for (int missing = search.size - 1; missing > 0; --missing) {
    joints.add(joints.best_of(search.pool));
  }
  return joints.set();
}

/// The sets that grow from the first devices of the first classes.
template <typename Visit>
void each_grown(const LargeSets &sets, const Search &search, Visit visit) {
  const auto classes = classes_of(sets, search.pool, search.rails_free);
  const auto step = (classes.size() + most_seeds - 1) / most_seeds;
  for (std::size_t i = 0; i < classes.size(); i += step) {
    visit(grow(sets.machine(), search, lowest(classes[i].members)));
  }
}

/// Every set that differs from one by a device, twins counted once.
template <typename Visit>
void each_exchange(const LargeSets &sets, const Search &search, Mask set, Visit visit) {
  for (const auto &gone : classes_of(sets, set & ~search.must, search.rails_free)) {
    for (const auto &come : classes_of(sets, search.pool & ~set, search.rails_free)) {
      const int last = max_devices - 1 - std::countl_zero(gone.members);
      if (!visit((set & ~bit(last)) | bit(lowest(come.members)))) {
        return;
      }
    }
  }
}

class Branches {
public:
  Branches(const LargeSets &sets, const Ranking &ranking, const Search &search)
      : sets_(sets), ranking_(ranking), search_(search), judge_(sets, ranking, search),
        classes_(classes_of(sets, search.pool, search.rails_free)),
        size_(search.size + std::popcount(search.must)) {}

  Found find() {
    each_grown(sets_, search_, [this](Mask set) { judge_.offer(set); });
    grown_steps_ = judge_.steps();
    branch(0, begin_with(sets_.machine(), search_), search_.size);
    if (cut_) {
      exchange();
    }
    offer_twins_of_best();
    return {.best = judge_.best(),
            .second = judge_.second() == 0 ? std::nullopt : std::optional(judge_.second()),
            .examined = judge_.examined(),
            .exact = judge_.exact() && !cut_};
  }

private:
  void branch(std::size_t at, const Partial &partial, int missing) {
    if (missing == 0) {
      auto traits = partial.traits;
      traits.min_pair = size_ > 1 ? traits.min_pair : std::uint16_t{0};
      judge_.offer(partial.set, traits);
      return;
    }
    if (at == classes_.size()) {
      return;
    }
    const auto &next = classes_[at];
    cut_ = cut_ || judge_.steps() - grown_steps_ > most_steps;
    if (cut_ || std::popcount(next.members | next.after) < missing ||
        !judge_.may_win(optimistic(partial, next, missing), search_.free & ~partial.set)) {
      return;
    }
    for (int count = std::min(missing, std::popcount(next.members)); count >= 0; --count) {
      auto grown = partial;
      each_bit(lowest_bits(next.members, count),
               [&](int i) { add(sets_.machine(), i, search_.rails_free, grown); });
      branch(at + 1, grown, missing - count);
    }
  }

  /// Traits that no completion of a partial set exceeds in any term.
  [[nodiscard]] Traits optimistic(const Partial &partial, const Class &next, int missing) const {
    auto traits = partial.traits;
    if (size_ > 1) {
      const Mask within = partial.set | next.members | next.after;
      traits.ring = static_cast<std::uint16_t>(sets_.highest_tier(partial.set, within, size_));
      traits.min_pair = std::min(traits.min_pair, traits.ring);
    } else {
      traits.min_pair = 0;
    }
    if (ranking_.counts_known_only()) {
      traits.nodes = narrow(std::popcount(partial.nodes | next.nodes_after));
      traits.sockets = narrow(std::popcount(partial.sockets | next.sockets_after));
    }
    if (ranking_.likes_rails()) {
      traits.rails = narrow(std::popcount(partial.rails | next.rails_after));
      traits.rail_devices = narrow(traits.rail_devices + std::min(missing, next.with_rails_after));
    }
    return traits;
  }

  void exchange() {
    const auto end = judge_.steps() + most_exchange_steps;
    for (Mask from = 0; from != judge_.best() && judge_.steps() < end;) {
      from = judge_.best();
      each_exchange(sets_, search_, from, [&](Mask set) {
        judge_.offer(set);
        return judge_.steps() < end;
      });
    }
  }

  /// Sets that differ from the best one in their order only: classes leave them out.
  void offer_twins_of_best() {
    const Mask best = judge_.best();
    for (const auto &taken : classes_of(sets_, best & ~search_.must, search_.rails_free)) {
      const Mask others =
          alike(sets_, lowest(taken.members), search_.rails_free) & search_.pool & ~best;
      if (others != 0) {
        const int last = max_devices - 1 - std::countl_zero(taken.members);
        judge_.offer((best & ~bit(last)) | bit(lowest(others)));
      }
    }
  }

  const LargeSets &sets_;
  const Ranking &ranking_;
  const Search &search_;
  Judge judge_;
  std::vector<Class> classes_;
  int size_;
  bool cut_ = false;
  std::int64_t grown_steps_ = 0;
};

/// The best set of parents among those that were tried.
class ParentTrials {
public:
  ParentTrials(const LargeSets &sets, const ParentSearch &search) : sets_(sets), search_(search) {}

  void offer(Mask set) {
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
  void offer_all(Mask set, Mask pool, int missing) {
    if (missing == 0) {
      offer(set);
      return;
    }
    for (; std::popcount(pool) >= missing; pool = without_lowest(pool)) {
      offer_all(set | bit(lowest(pool)), without_lowest(pool), missing - 1);
    }
  }

  void offer_roomiest() {
    Mask set = search_.forced;
    for (int count = 0; count < search_.count; ++count) {
      int found = lowest(search_.pool & ~set);
      each_bit(search_.pool & ~set, [&](int i) {
        const bool more = search_.room[static_cast<std::size_t>(i)] >
                          search_.room[static_cast<std::size_t>(found)];
        found = more ? i : found;
      });
      set |= bit(found);
    }
    offer(set);
  }

  [[nodiscard]] Mask best() const { return best_.set; }
  [[nodiscard]] std::int64_t examined() const { return examined_; }

private:
  const LargeSets &sets_;
  const ParentSearch &search_;
  ParentRank best_;
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

Found search_branches(const LargeSets &sets, const Ranking &ranking, const Search &search) {
  return Branches(sets, ranking, search).find();
}

FoundParents search_large_parents(const LargeSets &sets, const ParentSearch &search) {
  ParentTrials trials(sets, search);
  const bool few = are_few(std::popcount(search.pool), search.count);
  if (few) {
    trials.offer_all(search.forced, search.pool, search.count);
    return {.parents = trials.best(), .exact = true, .examined = trials.examined()};
  }
  const Search plain{.pool = search.pool, .must = search.forced, .size = search.count, .free = 0};
  trials.offer_roomiest();
  each_grown(sets, plain, [&](Mask set) { trials.offer(set); });
  for (Mask from = 0; from != trials.best() && trials.examined() < most_parent_sets;) {
    from = trials.best();
    // Parents are twins for their room and cost, too: every exchange counts.
    each_bit(from & ~search.forced, [&](int gone) {
      each_bit(search.pool & ~from,
               [&](int come) { trials.offer((from & ~bit(gone)) | bit(come)); });
    });
  }
  return {.parents = trials.best(), .exact = false, .examined = trials.examined()};
}

} // namespace plumbline::placement
