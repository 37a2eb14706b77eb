// Sets of a machine of up to exact_up_to devices: everything is in tables.
#pragma once

#include "placement/sets.hpp"
#include "placement/tables.hpp"

namespace plumbline::placement {

class SmallSets : public Sets<Mask> {
public:
  explicit SmallSets(const Facts &facts) : Sets(facts), tables_(machine()) {}

  [[nodiscard]] Traits traits(const Mask &set) const override { return tables_.traits[set]; }
  [[nodiscard]] Rest rest(const Mask &left) const override { return tables_.rest(left); }
  [[nodiscard]] Found<Mask> search(const Ranking &ranking,
                                   const Search<Mask> &search) const override;
  [[nodiscard]] FoundParents<Mask> find_parents(const ParentSearch<Mask> &search) const override;
  [[nodiscard]] Aligned largest_aligned(const Mask &free, int size) const override;
  [[nodiscard]] std::size_t bytes() const override { return tables_.bytes(); }

private:
  [[nodiscard]] int count_aligned(Mask free, int size) const;
  [[nodiscard]] Mask best_graded(Mask free, int size) const;

  Tables tables_;
};

} // namespace plumbline::placement
