#include "placement/growth.hpp"

#include <algorithm>

#include "placement/classes.hpp"

namespace plumbline::placement {

namespace {

constexpr std::size_t most_seeds = 12;

/// How well each device is joined to a growing set.
template <class Set> class Joints {
public:
  explicit Joints(const LargeSets<Set> &sets) : sets_(sets) {
    slowest_.fill(static_cast<std::uint16_t>(sets.machine().tier_count() - 1));
  }

  void add(int device) {
    set_ |= bit<Set>(device);
    at_nodes_ |= sets_.node_mates(device);
    at_sockets_ |= sets_.socket_mates(device);
    const auto *const tiers = sets_.machine().tier_row(device);
    for (std::size_t i = 0; i < slowest_.size(); ++i) {
      slowest_[i] = std::min(slowest_[i], tiers[i]);
    }
  }

  /// By slowest pair, then one that spans no further node, nor socket, then by the sum of pairs.
  [[nodiscard]] int best_of(const Set &pool) const {
    Set left = pool & ~set_;
    if (are_twins(left)) {
      return lowest(left);
    }
    left = best_by(left, [this](int i) { return slowest_[at(i)]; });
    left = (left & at_nodes_) != 0 ? left & at_nodes_ : left;
    left = (left & at_sockets_) != 0 ? left & at_sockets_ : left;
    if (!are_twins(left)) {
      left = best_by(left, [this](int i) { return sets_.machine().joint(i, set_).sum_gbps; });
    }
    return lowest(left);
  }

  [[nodiscard]] const Set &set() const { return set_; }

private:
  [[nodiscard]] bool are_twins(const Set &devices) const {
    return (devices & ~sets_.twins(lowest(devices))) == 0;
  }

  static std::size_t at(int device) { return static_cast<std::size_t>(device); }

  template <typename Value> static Set best_by(const Set &pool, Value value_of) {
    Set best{};
    std::int64_t most = -1;
    each_bit(pool, [&](int i) {
      const auto value = std::int64_t{value_of(i)};
      if (value > most) {
        most = value;
        best = Set{};
      }
      if (value == most) {
        best |= bit<Set>(i);
      }
    });
    return best;
  }

  const LargeSets<Set> &sets_;
  Set set_{};
  Set at_nodes_{};
  Set at_sockets_{};
  std::array<std::uint16_t, static_cast<std::size_t>(capacity<Set>)> slowest_{};
};

} // namespace

template <class Set>
std::vector<int> seeds_of(const LargeSets<Set> &sets, const Search<Set> &search,
                          const Set &left_out) {
  const auto classes = classes_of(sets, search.pool & ~left_out, search.rails_free);
  const auto step = (classes.size() + most_seeds - 1) / most_seeds;
  std::vector<int> seeds;
  for (std::size_t i = 0; i < classes.size(); i += step) {
    seeds.push_back(lowest(classes[i].members));
  }
  return seeds;
}

template <class Set> Set grow(const LargeSets<Set> &sets, const Search<Set> &search, int seed) {
  Joints<Set> joints(sets);
  each_bit(search.must | bit<Set>(seed), [&](int i) { joints.add(i); });
  for (int missing = search.size - 1; missing > 0; --missing) {
    joints.add(joints.best_of(search.pool));
  }
  return joints.set();
}

template std::vector<int> seeds_of(const LargeSets<Mask> &sets, const Search<Mask> &search,
                                   const Mask &left_out);
template std::vector<int> seeds_of(const LargeSets<WideMask> &sets, const Search<WideMask> &search,
                                   const WideMask &left_out);
template Mask grow(const LargeSets<Mask> &sets, const Search<Mask> &search, int seed);
template WideMask grow(const LargeSets<WideMask> &sets, const Search<WideMask> &search, int seed);

} // namespace plumbline::placement
