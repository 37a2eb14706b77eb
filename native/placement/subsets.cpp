#include "placement/subsets.hpp"

#include "placement/bits.hpp"
#include "placement/sums.hpp"

namespace plumbline::placement {

namespace {

/// The fields of a set as the table has them.
class TableFields {
public:
  TableFields(const Tables &tables, const Ranking &ranking) : fields_(tables.fields_for(ranking)) {}

  Fields operator()(Mask set) const { return fields_[set]; }

private:
  const std::vector<Fields> &fields_;
};

/// The same with only the free rails counted, which the table cannot know.
class FreeRailFields {
public:
  FreeRailFields(const Machine<Mask> &machine, const Tables &tables, const Ranking &ranking,
                 Mask rails_free)
      : table_(tables, ranking),
        covered_(machine.size(), [&](int i) { return machine.rails(i) & rails_free; }) {
    each_bit(machine.all(),
             [&](int i) { with_rail_ |= (machine.rails(i) & rails_free) != 0 ? bit(i) : 0; });
  }

  Fields operator()(Mask set) const {
    const Mask rails = covered_(static_cast<std::uint32_t>(set));
    return with_rails(table_(set), popcount(rails), popcount(set & with_rail_));
  }

private:
  TableFields table_;
  Unions covered_;
  Mask with_rail_ = 0;
};

/// The two best ranks so far.
template <typename FieldsOf> class Podium {
public:
  Podium(const Tables &tables, const FieldsOf &fields, const Ranking &ranking, Mask free)
      : tables_(tables), fields_(fields), ranking_(ranking), free_(free) {}

  void offer(Mask set) {
    const auto arranged = ranking_.arranged(fields_(set));
    if (ranking_.head(arranged) < second_.words[0]) {
      return;
    }
    const auto rank = ranking_.rank(arranged, tables_.sums[set], tables_.rest(free_ & ~set), set);
    if (rank > first_) {
      second_ = first_;
      first_ = rank;
    } else if (rank > second_) {
      second_ = rank;
    }
  }

  [[nodiscard]] Mask first() const { return first_.set; }
  [[nodiscard]] Mask second() const { return second_.set; }

private:
  const Tables &tables_;
  const FieldsOf &fields_;
  const Ranking &ranking_;
  Mask free_;
  Rank<Mask> first_; // any set's rank is greater than that of no set
  Rank<Mask> second_;
};

template <typename FieldsOf>
Found<Mask> search_by(const FieldsOf &fields, const Tables &tables, const Ranking &ranking,
                      const Search<Mask> &search) {
  const auto deposit = deposit_into(search.pool);
  const auto end = std::uint32_t{1} << static_cast<unsigned>(popcount(search.pool));
  Podium podium(tables, fields, ranking, search.free);
  std::int64_t examined = 0;
  for (auto number = (std::uint32_t{1} << static_cast<unsigned>(search.size)) - 1; number < end;
       number = next_with_same_bits(number)) {
    podium.offer(deposit(number) | search.must);
    ++examined;
  }
  return {.best = podium.first(), .second = podium.second(), .examined = examined};
}

} // namespace

Found<Mask> search_subsets(const Machine<Mask> &machine, const Tables &tables,
                           const Ranking &ranking, const Search<Mask> &search) {
  if ((machine.all_rails() & ~search.rails_free) == 0) {
    return search_by(TableFields(tables, ranking), tables, ranking, search);
  }
  return search_by(FreeRailFields(machine, tables, ranking, search.rails_free), tables, ranking,
                   search);
}

} // namespace plumbline::placement
