// The best set of devices of one machine. Immutable: any thread may ask at any time.
#pragma once

#include <memory>

#include "placement/sets.hpp"
#include "placement/shares.hpp"

namespace plumbline::placement {

class Engine {
public:
  /// Builds the tables. Throws std::invalid_argument like Machine.
  explicit Engine(const Facts &facts);

  /// Always answers: bits of devices that are not there are ignored, a size above what there
  /// is gives all there is, and more devices in must than asked for give the lowest of must.
  [[nodiscard]] Choice choose(const Request &request) const;

  /// The key of any set, as choose would give it with this free set.
  [[nodiscard]] Key score(Mask chosen, Mask free, Policy policy, int rails_wanted,
                          Mask rails_free) const;

  /// What can still be placed on a free set; larger is better.
  [[nodiscard]] std::int64_t fragmentation(Mask free) const;

  /// What is left for requests of one size.
  [[nodiscard]] Aligned largest_aligned(Mask free, int size) const;

  /// Shares of devices, as counts per device. Throws like placement::choose_shares.
  [[nodiscard]] ShareChoice choose_shares(const ShareRequest &request) const {
    return placement::choose_shares(*sets_, request);
  }

  [[nodiscard]] std::size_t table_bytes() const { return sets_->bytes(); }

private:
  [[nodiscard]] Found find(const Ranking &ranking, const Search &search) const;
  [[nodiscard]] Choice describe(const Found &found, const Ranking &ranking,
                                const Search &search) const;
  [[nodiscard]] std::optional<std::pair<int, int>> limiting_pair(Mask chosen) const;

  std::unique_ptr<const Sets> sets_;
};

} // namespace plumbline::placement
