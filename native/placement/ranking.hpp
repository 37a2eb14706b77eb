// A policy as an order of terms, and that order as numbers that compare fast.
#pragma once

#include "placement/machine.hpp"

namespace plumbline::placement {

/// Words that compare, first to last, exactly as the key's terms do.
using Rank = std::array<std::uint64_t, 5>;

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

  const std::array<Term, term_count> &terms() const { return terms_; }

  /// The rank's first word: the terms that come before what is left.
  std::uint64_t head(const Traits &traits) const { return packed(traits, head_); }
  Rank rank(const Traits &traits, const Rest &rest, Mask chosen) const;
  Key key(const Machine &machine, const Traits &traits, const Rest &rest, Mask chosen) const;

private:
  static constexpr int small_terms = 7;
  using Fields = std::array<std::uint64_t, small_terms>;

  Fields fields(const Traits &traits) const;
  std::uint64_t packed(const Traits &traits, const Fields &weights) const;
  std::int64_t value(Term term, const Machine &machine, const Traits &traits,
                     const Rest &rest) const;
  void weigh_terms(std::size_t rest_place);

  std::array<Term, term_count> terms_{};
  Fields head_{}; // weight of each small term in the rank's words before and after the rest
  Fields tail_{};
  bool spread_;
  bool likes_rails_;
  bool rings_;
  int rails_enough_;
};

/// A set's place in the total order of sets of one size: the lower the ranks, the higher.
Mask order_of(Mask set, int devices);

} // namespace plumbline::placement
