// What the engine asks about sets of devices, however many devices there are.
#pragma once

#include "placement/ranking.hpp"
#include "placement/searches.hpp"

namespace plumbline::placement {

/// One machine's sets. Immutable.
class Sets {
public:
  explicit Sets(const Facts &facts) : machine_(facts) {}
  Sets(const Sets &) = delete;
  Sets &operator=(const Sets &) = delete;
  Sets(Sets &&) = delete;
  Sets &operator=(Sets &&) = delete;
  virtual ~Sets() = default;

  [[nodiscard]] const Machine &machine() const { return machine_; }

  [[nodiscard]] virtual Traits traits(Mask set) const = 0;
  /// The same where only these rails count.
  [[nodiscard]] Traits traits_with(Mask rails_free, Mask set) const {
    auto found = traits(set);
    if ((machine_.all_rails() & ~rails_free) != 0) {
      machine_.count_free_rails(set, rails_free, found);
    }
    return found;
  }
  [[nodiscard]] virtual Rest rest(Mask left) const = 0;
  [[nodiscard]] virtual Found search(const Ranking &ranking, const Search &search) const = 0;
  [[nodiscard]] virtual FoundParents find_parents(const ParentSearch &search) const = 0;
  [[nodiscard]] virtual Aligned largest_aligned(Mask free, int size) const = 0;
  [[nodiscard]] virtual std::size_t bytes() const = 0;

private:
  Machine machine_;
};

} // namespace plumbline::placement
