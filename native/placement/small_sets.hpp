// Sets of a machine of up to exact_up_to devices: everything is in tables.
#pragma once

#include "placement/sets.hpp"
#include "placement/tables.hpp"

namespace plumbline::placement {

class SmallSets : public Sets {
public:
  explicit SmallSets(const Facts &facts) : Sets(facts), tables_(machine()) {}

  [[nodiscard]] Traits traits(Mask set) const override { return tables_.traits[set]; }
  [[nodiscard]] Rest rest(Mask left) const override { return tables_.rest[left]; }
  [[nodiscard]] Found search(const Ranking &ranking, const Search &search) const override;
  [[nodiscard]] FoundParents find_parents(const ParentSearch &search) const override;
  [[nodiscard]] Aligned largest_aligned(Mask free, int size) const override;
  [[nodiscard]] std::size_t bytes() const override { return tables_.bytes(); }

private:
  Tables tables_;
};

} // namespace plumbline::placement
