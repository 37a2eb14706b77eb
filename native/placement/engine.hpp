// The best set of devices of one machine. Immutable: any thread may ask at any time.
#pragma once

#include <memory>

#include "placement/ranking.hpp"
#include "placement/shares.hpp"
#include "placement/subsets.hpp"
#include "placement/tables.hpp"

namespace plumbline::placement {

class Engine : private Parents {
public:
  /// Builds the tables. Throws std::invalid_argument like Machine.
  explicit Engine(const Facts &facts);

  /// Always answers: bits of devices that are not there are ignored, a size above what there
  /// is gives all there is, and more devices in must than asked for give the lowest of must.
  Choice choose(const Request &request) const;

  /// The key of any set, as choose would give it with this free set.
  Key score(Mask chosen, Mask free, Policy policy, int rails_wanted) const;

  /// What can still be placed on a free set; larger is better.
  std::int64_t fragmentation(Mask free) const;

  /// What is left for requests of one size.
  Aligned largest_aligned(Mask free, int size) const;

  /// Shares of devices, as counts per device. Throws like placement::choose_shares.
  ShareChoice choose_shares(const ShareRequest &request) const {
    return placement::choose_shares(*this, request);
  }

  std::size_t table_bytes() const { return tables_.bytes(); }

private:
  const Machine &machine() const override { return machine_; }
  Traits traits(Mask set) const override { return tables_.traits[set]; }
  FoundParents find(const ParentSearch &search) const override;

  Found search(const Request &request, const Ranking &ranking, Mask free) const;
  Choice describe(const Found &found, const Ranking &ranking, Mask free) const;
  std::optional<std::pair<int, int>> limiting_pair(Mask chosen) const;

  Machine machine_;
  Tables tables_;
};

} // namespace plumbline::placement
