// What the engine asks about sets of devices, however many devices there are.
#pragma once

#include "placement/ranking.hpp"
#include "placement/searches.hpp"

namespace plumbline::placement {

/// One machine's sets. Immutable.
template <class Set> class Sets {
public:
  explicit Sets(const Facts &facts) : machine_(facts) {}
  Sets(const Sets &) = delete;
  Sets &operator=(const Sets &) = delete;
  Sets(Sets &&) = delete;
  Sets &operator=(Sets &&) = delete;
  virtual ~Sets() = default;

  [[nodiscard]] const Machine<Set> &machine() const { return machine_; }

  [[nodiscard]] virtual Traits traits(const Set &set) const = 0;
  /// Counts a set's rails once more where some rails do not count.
  void count_rails(const Set &set, const Set &rails_free, Traits &traits) const {
    if ((machine_.all_rails() & ~rails_free) != 0) {
      machine_.count_free_rails(set, rails_free, traits);
    }
  }
  [[nodiscard]] virtual Rest rest(const Set &left) const = 0;
  [[nodiscard]] virtual Found<Set> search(const Ranking &ranking,
                                          const Search<Set> &search) const = 0;
  [[nodiscard]] virtual FoundParents<Set> find_parents(const ParentSearch<Set> &search) const = 0;
  [[nodiscard]] virtual Aligned largest_aligned(const Set &free, int size) const = 0;
  [[nodiscard]] virtual std::size_t bytes() const = 0;

private:
  Machine<Set> machine_;
};

} // namespace plumbline::placement
