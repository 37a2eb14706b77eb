// The best set of devices of one machine. Immutable: any thread may ask at any time.
#pragma once

#include <memory>
#include <variant>

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
  [[nodiscard]] Key score(const WideMask &chosen, const WideMask &free, Policy policy,
                          int rails_wanted, const WideMask &rails_free) const;

  /// What can still be placed on a free set; larger is better.
  [[nodiscard]] std::int64_t fragmentation(const WideMask &free) const;

  /// What is left for requests of one size.
  [[nodiscard]] Aligned largest_aligned(const WideMask &free, int size) const;

  /// Shares of devices, as counts per device. Throws like placement::choose_shares.
  [[nodiscard]] ShareChoice choose_shares(const ShareRequest &request) const;

  [[nodiscard]] std::size_t table_bytes() const;

private:
  template <class Set> using SetsOf = std::unique_ptr<const Sets<Set>>;
  using AnySets = std::variant<SetsOf<Mask>, SetsOf<WideMask>>;

  static AnySets make_sets(const Facts &facts);

  AnySets sets_; // with masks as narrow as the machine allows
};

} // namespace plumbline::placement
