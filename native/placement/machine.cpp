#include "placement/machine.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "placement/bits.hpp"

namespace plumbline::placement {

namespace {

// Far above any link there is, and low enough that sums over 64 devices fit 32 bits.
constexpr std::int64_t most_gbps = 1'000'000;
constexpr std::int64_t most_penalty = 1'000'000;

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
    refuse("pair_gbps has " + std::to_string(size) + " rows, not between 1 and 64");
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
  return tiers;
}

std::uint8_t narrow(int count) { return static_cast<std::uint8_t>(count); }

} // namespace

Machine::Machine(const Facts &facts)
    : facts_((check(facts), facts)), size_(static_cast<int>(facts.pair_gbps.size())),
      tiers_(tiers_of(facts.pair_gbps)) {
  for (const Mask rails : facts.rails) {
    all_rails_ |= rails;
  }
  for (int a = 0; a < size_; ++a) {
    for (int b = 0; b < size_; ++b) {
      const auto value =
          a == b ? tiers_.front()
                 : facts.pair_gbps[static_cast<std::size_t>(a)][static_cast<std::size_t>(b)];
      const auto found = std::ranges::lower_bound(tiers_, value) - tiers_.begin();
      tier_[(static_cast<std::size_t>(a) * max_devices) + static_cast<std::size_t>(b)] =
          static_cast<std::uint16_t>(found);
    }
  }
}

Traits Machine::traits_without_ring(Mask set) const {
  Traits traits;
  Mask nodes = 0;
  Mask sockets = 0;
  Mask rails = 0;
  const auto first_clique = set == 0 ? -1 : clique(lowest(set));
  int slowest = tier_count() - 1;
  for (Mask left = set; left != 0; left = without_lowest(left)) {
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
    each_bit(without_lowest(left), [&](int b) {
      slowest = std::min<int>(slowest, tier(a, b));
      traits.sum_gbps += static_cast<std::uint32_t>(pair_gbps(a, b));
    });
  }
  const bool has_pairs = without_lowest(set) != 0;
  traits.min_pair = static_cast<std::uint16_t>(has_pairs ? slowest : 0);
  traits.complete = has_pairs ? traits.complete : 1;
  traits.nodes = narrow(std::popcount(nodes));
  traits.sockets = narrow(std::popcount(sockets));
  traits.rails = narrow(std::popcount(rails));
  return traits;
}

void Machine::count_free_rails(Mask set, Mask rails_free, Traits &traits) const {
  Mask covered = 0;
  int devices = 0;
  each_bit(set, [&](int i) {
    covered |= rails(i) & rails_free;
    devices += (rails(i) & rails_free) != 0 ? 1 : 0;
  });
  traits.rails = narrow(std::popcount(covered));
  traits.rail_devices = narrow(devices);
}

std::uint32_t Machine::sum_gbps(Mask set) const {
  std::uint32_t sum = 0;
  for (; set != 0; set = without_lowest(set)) {
    const int a = lowest(set);
    each_bit(without_lowest(set),
             [&](int b) { sum += static_cast<std::uint32_t>(pair_gbps(a, b)); });
  }
  return sum;
}

} // namespace plumbline::placement
