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

  const Machine &machine() const { return machine_; }

  virtual Traits traits(Mask set) const = 0;
  virtual Rest rest(Mask left) const = 0;
  virtual Found search(const Ranking &ranking, const Search &search) const = 0;
  virtual FoundParents find_parents(const ParentSearch &search) const = 0;
  virtual Aligned largest_aligned(Mask free, int size) const = 0;
  virtual std::size_t bytes() const = 0;

private:
  Machine machine_;
};

} // namespace plumbline::placement
