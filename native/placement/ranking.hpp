// A policy as an order of terms, and that order as numbers that compare fast.
#pragma once

#include <algorithm>

#include "placement/machine.hpp"

namespace plumbline::placement {

/// A set's small terms as bit fields, in DEFAULT's order from the highest bits down.
using Fields = std::uint64_t;

/// Known_only is for Policy::spread, which does not count unknown nodes and sockets.
Fields fields_of(const Traits &traits, bool known_only);

/// The same fields with other numbers of rails and of devices that have one.
constexpr Fields with_rails(Fields fields, int rails, int rail_devices) {
  return (fields & ~((Fields{1} << 14U) - 1)) | (static_cast<Fields>(rails) << 7U) |
         static_cast<Fields>(rail_devices);
}

/// Compares as the key does: words first to last, then the sets' order.
struct Rank {
  std::array<std::uint64_t, 4> words{};
  Mask set = 0;

  bool operator>(const Rank &other) const {
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (words[i] != other.words[i]) {
        return words[i] > other.words[i];
      }
    }
    const Mask differ = set ^ other.set; // of sets of one size the lower ranks win
    return (differ & (~differ + 1) & set) != 0;
  }
};

/// The order of terms for one request.
///
///   standard    ring, min_pair, clique, numa_nodes, sockets, fragmentation, rest_sum,
///               rails, rail_devices, sum_pair, penalty, order
///   numa_first  numa_nodes and sockets come before ring
///   rdma        rails and rail_devices come before fragmentation
///   pack        fragmentation and rest_sum come directly after ring: a set may be worse in
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
  [[nodiscard]] Rank rank(std::uint64_t arranged, const Traits &traits, const Rest &rest,
                          Mask chosen) const {
    return {.words = {arranged & head_, (std::uint64_t{rest.fragmentation} << 32U) | rest.sum_gbps,
                      arranged & ~head_,
                      (std::uint64_t{traits.sum_gbps} << 32U) | (most_penalty - traits.penalty)},
            .set = chosen};
  }
  [[nodiscard]] Key key(const Machine &machine, const Traits &traits, const Rest &rest,
                        Mask chosen) const;

private:
  static constexpr std::uint32_t most_penalty = 64'000'000;
  static constexpr unsigned rails_shift = 7;
  static constexpr unsigned place_width = 16;
  static constexpr unsigned pair_width = 23;
  static constexpr Fields rail_fields = (Fields{1} << 14U) - 1;
  static constexpr Fields rails_field = Fields{127} << rails_shift;
  static constexpr Fields place_fields = ((Fields{1} << place_width) - 1) << 14U;
  static constexpr Fields pair_fields = ((Fields{1} << pair_width) - 1) << 30U;
  static constexpr Fields ring_field = Fields{2047} << 42U;

  [[nodiscard]] std::int64_t value(Term term, const Machine &machine, const Traits &traits,
                                   const Rest &rest) const;
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
Mask order_of(Mask set, int devices);

} // namespace plumbline::placement
