// Shares of devices (replicas, MIG instances) as counts per parent.
#pragma once

#include "placement/sets.hpp"

namespace plumbline::placement {

/// packed       as few parents as can hold the request; of those the set that a job would be
///              placed on (ring, slowest pair, clique, nodes, sockets), then the one with the
///              least left over, then the one with the fewest untouched parents
/// distributed  every share goes where it leaves the load lowest; where that is a tie, more
///              parents are better, then the set that a job would be placed on
/// aligned      as many different parents as there are shares, or as can be, and of those the
///              set that a job would be placed on; then the lowest load
enum class SharePolicy : std::uint8_t { packed, distributed, aligned };

/// The places of a share key; larger is better.
enum class ShareTerm : std::uint8_t {
  parents, ///< parents used; minus that when packed
  ring,    ///< as in Term
  min_pair,
  clique,
  numa_nodes,
  sockets,
  leftover, ///< minus the shares left on the parents used, offered or not
  opened,   ///< minus the parents used that had all their shares left
  load,     ///< minus the loads, in millionths, that each share found including itself
  sum_pair,
  penalty,
  order,
};

struct ShareRequest {
  std::vector<std::int64_t> free;  ///< shares offered of each parent
  std::vector<std::int64_t> total; ///< all shares of each parent
  std::vector<std::int64_t> must;  ///< shares that must be taken, part of size
  std::int64_t size = 0;
  SharePolicy policy = SharePolicy::packed;
  /// Shares in use of each parent, up to total - free, which they are where nobody knows better:
  /// what is offered may be only a part of what is not in use.
  std::optional<std::vector<std::int64_t>> held;
};

struct ShareChoice {
  std::vector<std::int64_t> counts;
  WideMask parents;
  std::vector<std::int64_t> key; ///< but for the order
  WideMask order;
  std::vector<ShareTerm> terms;
  bool exact = true;
  std::int64_t examined = 0;
};

/// Always answers: a size above what there is gives all there is, and more in must than asked
/// for gives the lowest ranks of must. Throws std::invalid_argument that names the argument,
/// the index and the value for counts that cannot be.
template <class Set> ShareChoice choose_shares(const Sets<Set> &sets, const ShareRequest &request);

} // namespace plumbline::placement
