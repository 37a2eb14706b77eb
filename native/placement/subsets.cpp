#include "placement/subsets.hpp"

#include "placement/bits.hpp"
#include "placement/sums.hpp"

namespace plumbline::placement {

namespace {

/// The two best ranks so far.
class Podium {
public:
  Podium(const Tables &tables, const Ranking &ranking, Mask free)
      : tables_(tables), fields_(tables.fields_for(ranking)), ranking_(ranking), free_(free) {}

  void offer(Mask set) {
    const auto arranged = ranking_.arranged(fields_[set]);
    if (ranking_.head(arranged) < second_.words[0]) {
      return;
    }
    const auto rank = ranking_.rank(arranged, tables_.traits[set], tables_.rest[free_ & ~set], set);
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
  const std::vector<Fields> &fields_;
  const Ranking &ranking_;
  Mask free_;
  Rank first_; // any set's rank is greater than that of no set
  Rank second_;
};

} // namespace

Found search_subsets(const Tables &tables, const Ranking &ranking, const Search &search) {
  const auto deposit = deposit_into(search.pool);
  const auto end = std::uint32_t{1} << static_cast<unsigned>(std::popcount(search.pool));
  Podium podium(tables, ranking, search.free);
  std::int64_t examined = 0;
  for (auto number = (std::uint32_t{1} << static_cast<unsigned>(search.size)) - 1; number < end;
       number = next_with_same_bits(number)) {
    podium.offer(deposit(number) | search.must);
    ++examined;
  }
  return {.best = podium.first(), .second = podium.second(), .examined = examined};
}

} // namespace plumbline::placement
