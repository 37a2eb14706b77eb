#include "placement/ranking.hpp"

#include <algorithm>

#include "placement/bits.hpp"

namespace plumbline::placement {

namespace {

using enum Term;

constexpr int last_free_term = 9; // sum_pair, penalty and order close every key

std::array<Term, term_count> terms_of(Policy policy) {
  switch (policy) {
  case Policy::numa_first:
    return {numa_nodes, sockets, ring,         min_pair, clique,  fragmentation,
            rest_sum,   rails,   rail_devices, sum_pair, penalty, order};
  case Policy::pack:
    return {ring,    fragmentation, rest_sum,     min_pair, clique,  numa_nodes,
            sockets, rails,         rail_devices, sum_pair, penalty, order};
  case Policy::rdma:
  case Policy::spread:
    return {ring,         min_pair,      clique,   numa_nodes, sockets, rails,
            rail_devices, fragmentation, rest_sum, sum_pair,   penalty, order};
  case Policy::standard:
    break;
  }
  return {ring,     min_pair, clique,       numa_nodes, sockets, fragmentation,
          rest_sum, rails,    rail_devices, sum_pair,   penalty, order};
}

/// Moves two neighbouring terms to before the term that stands at a place.
void move_pair(std::array<Term, term_count> &terms, Term first, std::size_t place) {
  const auto found = static_cast<std::size_t>(std::ranges::find(terms, first) - terms.begin());
  if (found > place) {
    const auto begin = terms.begin();
    const auto from = static_cast<std::ptrdiff_t>(found);
    std::rotate(begin + static_cast<std::ptrdiff_t>(place), begin + from, begin + from + 2);
  }
}

std::size_t place_of(const std::array<Term, term_count> &terms, Term term) {
  return static_cast<std::size_t>(std::ranges::find(terms, term) - terms.begin());
}

/// Bits that a small term's field needs; 0 for the others.
int width(Term term) {
  switch (term) {
  case ring:
  case min_pair:
    return 11; // 64 devices have 2016 pairs
  case clique:
    return 1;
  case numa_nodes:
  case sockets:
    return 8;
  case rails:
  case rail_devices:
    return 7;
  default:
    return 0;
  }
}

/// A small term's place in Fields.
std::size_t field_of(Term term) {
  const auto position = static_cast<std::size_t>(term);
  return term < fragmentation ? position : position - 2;
}

// Above any count of nodes, sockets, rails or devices, known and unknown together.
constexpr int most_spanned = 128;
constexpr int most_rails = 64;
constexpr std::uint32_t most_penalty = 64'000'000;

std::uint64_t spanned(int known, int unknown, bool spread) {
  return static_cast<std::uint64_t>(spread ? known : most_spanned - known - unknown);
}

} // namespace

Mask order_of(Mask set, int devices) {
  Mask order = 0;
  each_bit(set, [&](int device) { order |= bit(devices - 1 - device); });
  return order;
}

Ranking::Ranking(Policy policy, int size, int rails_wanted)
    : terms_(terms_of(policy)), spread_(policy == Policy::spread),
      likes_rails_(rails_wanted > 0 || policy == Policy::rdma || spread_), rings_(size > 1),
      rails_enough_(rails_wanted > 0 ? std::min(rails_wanted, most_rails) : most_rails) {
  if (size <= 1) {
    move_pair(terms_, fragmentation, 0);
  }
  if (rails_wanted > 0 || policy == Policy::rdma) {
    move_pair(terms_, rails, place_of(terms_, fragmentation));
  }
  weigh_terms(place_of(terms_, fragmentation));
}

void Ranking::weigh_terms(std::size_t rest_place) {
  int shift = 0;
  for (std::size_t i = last_free_term; i-- > 0;) {
    if (i == rest_place) {
      shift = 0;
    }
    if (const int bits = width(terms_[i]); bits != 0) {
      auto &weights = i < rest_place ? head_ : tail_;
      weights[field_of(terms_[i])] = std::uint64_t{1} << shift;
      shift += bits;
    }
  }
}

Ranking::Fields Ranking::fields(const Traits &traits) const {
  const int covered = std::min<int>(traits.rails, rails_enough_);
  const auto counted = [this](int count) {
    return static_cast<std::uint64_t>(likes_rails_ ? count : most_rails - count);
  };
  return {traits.ring,
          traits.min_pair,
          traits.complete,
          spanned(traits.nodes, traits.unknown_nodes, spread_),
          spanned(traits.sockets, traits.unknown_sockets, spread_),
          counted(covered),
          counted(traits.rail_devices)};
}

std::uint64_t Ranking::packed(const Traits &traits, const Fields &weights) const {
  const auto values = fields(traits);
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < small_terms; ++i) {
    word += values[i] * weights[i];
  }
  return word;
}

Rank Ranking::rank(const Traits &traits, const Rest &rest, Mask chosen) const {
  return {packed(traits, head_), (std::uint64_t{rest.fragmentation} << 32) | rest.sum_gbps,
          packed(traits, tail_),
          (std::uint64_t{traits.sum_gbps} << 32) | (most_penalty - traits.penalty),
          order_of(chosen, max_devices)};
}

std::int64_t Ranking::value(Term term, const Machine &machine, const Traits &traits,
                            const Rest &rest) const {
  switch (term) {
  case ring:
    return rings_ ? machine.gbps(traits.ring) : 0;
  case min_pair:
    return rings_ ? machine.gbps(traits.min_pair) : 0;
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
  case rails:
    return likes_rails_ ? std::min<int>(traits.rails, rails_enough_) : -traits.rails;
  case rail_devices:
    return likes_rails_ ? traits.rail_devices : -traits.rail_devices;
  case sum_pair:
    return traits.sum_gbps;
  case penalty:
    return -std::int64_t{traits.penalty};
  case order:
    break;
  }
  return 0;
}

Key Ranking::key(const Machine &machine, const Traits &traits, const Rest &rest,
                 Mask chosen) const {
  Key key{};
  for (std::size_t i = 0; i + 1 < term_count; ++i) {
    key[i] = static_cast<std::uint64_t>(value(terms_[i], machine, traits, rest));
  }
  key.back() = order_of(chosen, machine.size());
  return key;
}

} // namespace plumbline::placement
