#include "placement/machine.hpp"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string>

#include "placement/bits.hpp"

namespace plumbline::placement {

namespace {

// Far above any link there is, and low enough that sums over 256 devices fit 32 bits.
constexpr std::int64_t most_gbps = 100'000;
constexpr std::int64_t most_penalty = 1'000'000;
constexpr std::size_t few_tiers = 8;

[[noreturn]] void refuse(const std::string &what) { throw std::invalid_argument(what); }

std::string at(const std::string &name, std::size_t index) {
  return name + "[" + std::to_string(index) + "]";
}

template <typename T>
void check_length(const std::vector<T> &values, const std::string &name, std::size_t size) {
  if (values.size() != size) {
    refuse(name + " has " + std::to_string(values.size()) + " entries for " + std::to_string(size) +
           " devices");
  }
}

void check_range(const std::vector<std::int64_t> &values, const std::string &name,
                 std::int64_t least, std::int64_t most) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i] < least || values[i] > most) {
      refuse(at(name, i) + " is " + std::to_string(values[i]) + ", not between " +
             std::to_string(least) + " and " + std::to_string(most));
    }
  }
}

void check_pairs(const std::vector<std::vector<std::int64_t>> &rows) {
  for (std::size_t a = 0; a < rows.size(); ++a) {
    check_length(rows[a], at("pair_gbps", a), rows.size());
    auto row = rows[a];
    row[a] = 0; // the diagonal is ignored
    check_range(row, at("pair_gbps", a), 0, most_gbps);
    for (std::size_t b = 0; b < a; ++b) {
      if (rows[a][b] != rows[b][a]) {
        refuse(at(at("pair_gbps", a), b) + " is " + std::to_string(rows[a][b]) + " but " +
               at(at("pair_gbps", b), a) + " is " + std::to_string(rows[b][a]));
      }
    }
  }
}

void check(const Facts &facts) {
  const auto size = facts.pair_gbps.size();
  if (size < 1 || size > max_devices) {
    refuse("pair_gbps has " + std::to_string(size) + " rows, not between 1 and " +
           std::to_string(max_devices));
  }
  check_pairs(facts.pair_gbps);
  check_length(facts.numa, "numa", size);
  check_length(facts.socket, "socket", size);
  check_length(facts.clique, "clique", size);
  check_range(facts.clique, "clique", -1, INT32_MAX);
  check_length(facts.rails, "rails", size);
  check_length(facts.penalty, "penalty", size);
  check_range(facts.penalty, "penalty", 0, most_penalty);
}

/// Leaves the slowest value there, so that every value has a tier that is not above it.
void drop_every_second(std::vector<std::int64_t> &tiers) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < tiers.size(); i += 2) {
    tiers[kept++] = tiers[i];
  }
  tiers.resize(kept);
}

std::vector<std::int64_t> tiers_of(const std::vector<std::vector<std::int64_t>> &rows) {
  std::vector<std::int64_t> tiers;
  for (std::size_t a = 0; a < rows.size(); ++a) {
    tiers.insert(tiers.end(), rows[a].begin(), rows[a].begin() + static_cast<std::ptrdiff_t>(a));
  }
  std::ranges::sort(tiers);
  const auto repeated = std::ranges::unique(tiers);
  tiers.erase(repeated.begin(), repeated.end());
  if (tiers.empty()) {
    tiers.push_back(0); // one device has no pair
  }
  while (tiers.size() > most_tiers) {
    drop_every_second(tiers);
  }
  return tiers;
}

template <class Set> std::vector<Set> masks_of(const std::vector<WideMask> &masks) {
  std::vector<Set> narrow;
  std::ranges::transform(masks, std::back_inserter(narrow), narrowed<Set>);
  return narrow;
}

template <class Set> Set joined(const std::vector<Set> &masks) {
  Set all{};
  for (const auto &mask : masks) {
    all |= mask;
  }
  return all;
}

std::uint16_t narrow(int count) { return static_cast<std::uint16_t>(count); }

} // namespace

template <class Set>
Machine<Set>::Machine(const Facts &facts)
    : size_((check(facts), static_cast<int>(facts.pair_gbps.size()))),
      numa_(masks_of<Set>(facts.numa)), socket_(masks_of<Set>(facts.socket)),
      rails_(masks_of<Set>(facts.rails)), clique_(facts.clique), penalty_(facts.penalty),
      all_rails_(joined(rails_)), tiers_(tiers_of(facts.pair_gbps)) {
  for (int a = 0; a < size_; ++a) {
    for (int b = 0; b < size_; ++b) {
      const auto value =
          a == b ? tiers_.front()
                 : facts.pair_gbps[static_cast<std::size_t>(a)][static_cast<std::size_t>(b)];
      const auto found = std::ranges::upper_bound(tiers_, value) - tiers_.begin() - 1;
      tier_[(static_cast<std::size_t>(a) * row) + static_cast<std::size_t>(b)] =
          static_cast<std::uint16_t>(found);
    }
  }
  if (tiers_.size() <= few_tiers) {
    fill_near();
  }
  for (int i = 0; i < size_; ++i) {
    reach_.push_back(joint(i, all() & ~bit<Set>(i)).sum_gbps);
  }
}

template <class Set> void Machine<Set>::fill_near() {
  near_.resize(tiers_.size() * static_cast<std::size_t>(size_));
  for (int a = 0; a < size_; ++a) {
    for (int b = 0; b < size_; ++b) {
      for (int at_least = 0; a != b && at_least <= int{tier(a, b)}; ++at_least) {
        near_[(static_cast<std::size_t>(a) * tiers_.size()) + static_cast<std::size_t>(at_least)] |=
            bit<Set>(b);
      }
    }
  }
}

template <class Set> Traits Machine<Set>::traits_without_ring(Set set) const {
  Traits traits;
  Set nodes{};
  Set sockets{};
  Set rails{};
  const auto first_clique = set == 0 ? -1 : clique(lowest(set));
  int slowest = tier_count() - 1;
  for (Set left = set; left != 0; left = without_lowest(left)) {
    const int a = lowest(left);
    nodes |= numa(a);
    sockets |= socket(a);
    rails |= this->rails(a);
    traits.unknown_nodes = narrow(traits.unknown_nodes + (numa(a) == 0 ? 1 : 0));
    traits.unknown_sockets = narrow(traits.unknown_sockets + (socket(a) == 0 ? 1 : 0));
    traits.rail_devices = narrow(traits.rail_devices + (this->rails(a) != 0 ? 1 : 0));
    traits.penalty += penalty(a);
    const bool joins = clique(a) >= 0 && clique(a) == first_clique;
    traits.complete = joins ? traits.complete : std::uint8_t{0};
    const auto pairs = joint(a, without_lowest(left));
    slowest = std::min(slowest, pairs.slowest);
    traits.sum_gbps += pairs.sum_gbps;
  }
  const bool has_pairs = without_lowest(set) != 0;
  traits.min_pair = static_cast<std::uint16_t>(has_pairs ? slowest : 0);
  traits.complete = has_pairs ? traits.complete : 1;
  traits.nodes = narrow(popcount(nodes));
  traits.sockets = narrow(popcount(sockets));
  traits.rails = narrow(popcount(rails));
  return traits;
}

template <class Set>
void Machine<Set>::count_free_rails(Set set, Set rails_free, Traits &traits) const {
  Set covered{};
  int devices = 0;
  each_bit(set, [&](int i) {
    covered |= rails(i) & rails_free;
    devices += (rails(i) & rails_free) != 0 ? 1 : 0;
  });
  traits.rails = narrow(popcount(covered));
  traits.rail_devices = narrow(devices);
}

template <class Set> std::uint32_t Machine<Set>::sum_gbps(Set set) const {
  std::uint32_t sum = 0;
  for (; set != 0; set = without_lowest(set)) {
    sum += joint(lowest(set), without_lowest(set)).sum_gbps;
  }
  return sum;
}

template <class Set> std::uint64_t Machine<Set>::reach_gbps(Set set) const {
  std::uint64_t sum = 0;
  each_bit(set, [&](int i) { sum += reach_[static_cast<std::size_t>(i)]; });
  return sum;
}

template class Machine<Mask>;
template class Machine<WideMask>;

} // namespace plumbline::placement
