#include "placement/ranking.hpp"

#include <algorithm>

#include "placement/bits.hpp"

namespace plumbline::placement {

namespace {

using enum Term;

std::array<Term, term_count> terms_of(Policy policy) {
  switch (policy) {
  case Policy::numa_first:
    return {numa_nodes, sockets, ring,         min_pair, clique,  fragmentation, rest_sum,
            rest_reach, rails,   rail_devices, sum_pair, penalty, order};
  case Policy::pack:
    return {ring,    fragmentation, rest_sum,     rest_reach, min_pair, clique, numa_nodes,
            sockets, rails,         rail_devices, sum_pair,   penalty,  order};
  case Policy::rdma:
  case Policy::spread:
    return {ring,          min_pair, clique,     numa_nodes, sockets, rails, rail_devices,
            fragmentation, rest_sum, rest_reach, sum_pair,   penalty, order};
  case Policy::standard:
    break;
  }
  return {ring,       min_pair, clique,       numa_nodes, sockets, fragmentation, rest_sum,
          rest_reach, rails,    rail_devices, sum_pair,   penalty, order};
}

/// Moves a term and those that go with it to before the term that stands at a place.
void move_group(std::array<Term, term_count> &terms, Term first, int count, std::size_t place) {
  const auto found = static_cast<std::size_t>(std::ranges::find(terms, first) - terms.begin());
  if (found > place) {
    auto *const begin = terms.begin();
    const auto from = static_cast<std::ptrdiff_t>(found);
    std::rotate(begin + static_cast<std::ptrdiff_t>(place), begin + from, begin + from + count);
  }
}

std::size_t place_of(const std::array<Term, term_count> &terms, Term term) {
  return static_cast<std::size_t>(std::ranges::find(terms, term) - terms.begin());
}

} // namespace

Fields fields_of(const Traits &traits, bool known_only) {
  const auto spanned = [known_only](int known, int unknown) {
    return static_cast<Fields>(known_only ? known : known + unknown);
  };
  const Fields pair =
      (Fields{traits.ring} << 15U) | (Fields{traits.min_pair} << 1U) | Fields{traits.complete};
  const Fields place = (spanned(traits.nodes, traits.unknown_nodes) << 9U) |
                       spanned(traits.sockets, traits.unknown_sockets);
  return with_rails((pair << pair_shift) | (place << place_shift), traits.rails,
                    traits.rail_devices);
}

template <class Set> WideMask order_of(const Set &set, int devices) {
  WideMask order;
  each_bit(set, [&](int device) { order |= bit<WideMask>(devices - 1 - device); });
  return order;
}

Ranking::Ranking(Policy policy, int size, int rails_wanted)
    : terms_(terms_of(policy)), policy_(policy), spread_(policy == Policy::spread),
      likes_rails_(rails_wanted > 0 || policy == Policy::rdma || spread_),
      clips_rails_(rails_wanted > 0), rings_(size > 1),
      numa_first_(policy == Policy::numa_first && size > 1),
      rails_enough_(static_cast<std::uint64_t>(clips_rails_ ? rails_wanted : max_devices)) {
  if (size <= 1) {
    move_group(terms_, fragmentation, 3, 0);
  }
  if (rails_wanted > 0 || policy == Policy::rdma) {
    move_group(terms_, rails, 2, place_of(terms_, fragmentation));
  }
  turned_ = (spread_ ? 0 : place_fields) | (likes_rails_ ? 0 : rail_fields);
  head_ = head_fields(size);
}

/// The fields of the terms that come before fragmentation, as arranged.
Fields Ranking::head_fields(int size) const {
  const auto place = place_of(terms_, fragmentation);
  const Fields rails_before = place_of(terms_, rails) < place ? rail_fields : 0;
  if (size <= 1) {
    return rails_before;
  }
  const Fields before = policy_ == Policy::pack ? ring_field : pair_fields | place_fields;
  return before | rails_before;
}

std::int64_t Ranking::value(Term term, const Traits &traits, const Rest &rest) const {
  switch (term) {
  case clique:
    return traits.complete;
  case numa_nodes:
    return spread_ ? traits.nodes : -(traits.nodes + traits.unknown_nodes);
  case sockets:
    return spread_ ? traits.sockets : -(traits.sockets + traits.unknown_sockets);
  case fragmentation:
    return rest.fragmentation;
  case rest_sum:
    return rest.sum_gbps;
  case rest_reach:
    return static_cast<std::int64_t>(rest.reach_gbps);
  case rails:
    return likes_rails_
               ? std::min<std::int64_t>(traits.rails, static_cast<std::int64_t>(rails_enough_))
               : -traits.rails;
  case rail_devices:
    return likes_rails_ ? traits.rail_devices : -traits.rail_devices;
  case sum_pair:
    return traits.sum_gbps;
  case penalty:
    return -std::int64_t{traits.penalty};
  case ring:
  case min_pair:
  case order:
    break;
  }
  return 0;
}

template <class Set>
Key Ranking::key(const Machine<Set> &machine, const Traits &traits, const Rest &rest,
                 const Set &chosen) const {
  Key key{.order = order_of(chosen, machine.size())};
  for (std::size_t i = 0; i < key.values.size(); ++i) {
    const bool of_pairs = terms_[i] == ring || terms_[i] == min_pair;
    const auto tier = terms_[i] == ring ? traits.ring : traits.min_pair;
    if (!of_pairs) {
      key.values[i] = value(terms_[i], traits, rest);
    } else if (rings_) {
      key.values[i] = machine.gbps(tier);
    }
  }
  return key;
}

template Key Ranking::key(const Machine<Mask> &machine, const Traits &traits, const Rest &rest,
                          const Mask &chosen) const;
template Key Ranking::key(const Machine<WideMask> &machine, const Traits &traits, const Rest &rest,
                          const WideMask &chosen) const;
template WideMask order_of(const Mask &set, int devices);
template WideMask order_of(const WideMask &set, int devices);

} // namespace plumbline::placement
