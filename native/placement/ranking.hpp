// A policy as an order of terms, and that order as numbers that compare fast.
#pragma once

#include <algorithm>

#include "placement/machine.hpp"

namespace plumbline::placement {

/// A set's small terms as bit fields, in DEFAULT's order from the highest bits down: ring and
/// slowest pair (14 bits each, most_tiers), clique, nodes and sockets (9 each: 256 known and 255
/// unknown at most), rails (9) and devices with a rail (8: of 256 devices there is but one set).
using Fields = std::uint64_t;
constexpr unsigned rails_shift = 8;
constexpr unsigned place_shift = 17;
constexpr unsigned place_width = 18;
constexpr unsigned pair_shift = place_shift + place_width;
constexpr unsigned pair_width = 29;
constexpr Fields most_rail_devices = 255;
constexpr Fields rail_fields = (Fields{1} << place_shift) - 1;
constexpr Fields rails_field = rail_fields & ~most_rail_devices;
constexpr Fields place_fields = ((Fields{1} << place_width) - 1) << place_shift;
constexpr Fields pair_fields = ((Fields{1} << pair_width) - 1) << pair_shift;
constexpr Fields ring_field = (Fields{most_tiers} - 1) << (pair_shift + 15);

/// Known_only is for Policy::spread, which does not count unknown nodes and sockets.
Fields fields_of(const Traits &traits, bool known_only);

/// The same fields with other numbers of rails and of devices that have one.
constexpr Fields with_rails(Fields fields, int rails, int rail_devices) {
  return (fields & ~rail_fields) | (static_cast<Fields>(rails) << rails_shift) |
         std::min(static_cast<Fields>(rail_devices), most_rail_devices);
}

/// What comes after the fields: more pairs first, then fewer penalties.
constexpr std::uint64_t sums_of(const Traits &traits) {
  constexpr std::uint32_t most_penalty = 256'000'000;
  return (std::uint64_t{traits.sum_gbps} << 32U) | (most_penalty - traits.penalty);
}

/// Compares as the key does: words first to last, then the sets' order.
template <class Set> struct Rank {
  std::array<std::uint64_t, 5> words{};
  Set set{};

  bool operator>(const Rank &other) const {
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (words[i] != other.words[i]) {
        return words[i] > other.words[i];
      }
    }
    return comes_before(set, other.set);
  }
};

/// The order of terms for one request.
///
///   standard    ring, min_pair, clique, numa_nodes, sockets, fragmentation, rest_sum,
///               rest_reach, rails, rail_devices, sum_pair, penalty, order
///   numa_first  numa_nodes and sockets come before ring
///   rdma        rails and rail_devices come before fragmentation
///   pack        fragmentation and its two neighbours come directly after ring: a set may be worse
///   in
///               everything but its ring if that leaves more of the node for large requests
///   spread      among sets with equal ring, min_pair and clique the one that spans more known
///               NUMA nodes, then more known sockets, then covers more rails; then the rest
///
/// One device has no pairs: what its loss leaves comes first. Where rails are wanted by number
/// they come before fragmentation in every policy. Rails nobody asked for count against a set
/// (others may need them) in all policies but rdma and spread.
class Ranking {
public:
  Ranking(Policy policy, int size, int rails_wanted);

  [[nodiscard]] const std::array<Term, term_count> &terms() const { return terms_; }

  [[nodiscard]] bool counts_known_only() const { return spread_; }
  [[nodiscard]] bool likes_rails() const { return likes_rails_; }

  /// The fields in this policy's order and direction: what is more is better.
  [[nodiscard]] std::uint64_t arranged(Fields fields) const {
    fields ^= turned_;
    if (clips_rails_) {
      const auto covered = std::min((fields & rails_field) >> rails_shift, rails_enough_);
      fields = (fields & ~rails_field) | (covered << rails_shift);
    }
    return numa_first_ ? ((fields & pair_fields) >> place_width) |
                             ((fields & place_fields) << pair_width) | (fields & rail_fields)
                       : fields;
  }
  /// The rank's first word, out of arranged fields: the terms before what is left.
  [[nodiscard]] std::uint64_t head(std::uint64_t arranged) const { return arranged & head_; }
  template <class Set>
  [[nodiscard]] Rank<Set> rank(std::uint64_t arranged, std::uint64_t sums, const Rest &rest,
                               const Set &chosen) const {
    return {.words = {arranged & head_, (std::uint64_t{rest.fragmentation} << 32U) | rest.sum_gbps,
                      rest.reach_gbps, arranged & ~head_, sums},
            .set = chosen};
  }
  template <class Set>
  [[nodiscard]] Key key(const Machine<Set> &machine, const Traits &traits, const Rest &rest,
                        const Set &chosen) const;

private:
  [[nodiscard]] std::int64_t value(Term term, const Traits &traits, const Rest &rest) const;
  [[nodiscard]] Fields head_fields(int size) const;

  std::array<Term, term_count> terms_{};
  Policy policy_;
  bool spread_;
  bool likes_rails_;
  bool clips_rails_;
  bool rings_;
  bool numa_first_; ///< and more than one device: one has nothing that would come after
  std::uint64_t rails_enough_;
  Fields turned_ = 0; ///< what is less is better
  Fields head_ = 0;
};

/// A set's place in the total order of sets of one size: the lower the ranks, the higher.
template <class Set> WideMask order_of(const Set &set, int devices);

} // namespace plumbline::placement
