#include "placement/subsets.hpp"

#include "placement/bits.hpp"

namespace plumbline::placement {

namespace {

/// Spreads the bits of small numbers over the bits of a pool.
class Deposit {
public:
  explicit Deposit(Mask pool) {
    const int size = std::popcount(pool);
    fill(low_, pool, std::min(size, half));
    for (int i = 0; i < half; ++i) {
      pool = without_lowest(pool);
    }
    fill(high_, pool, std::max(0, size - half));
  }

  Mask operator()(std::uint32_t number) const { return low_[number & 255] | high_[number >> half]; }

private:
  static constexpr int half = exact_up_to / 2;
  using Part = std::array<std::uint16_t, 1 << half>;

  static void fill(Part &part, Mask pool, int bits) {
    part[0] = 0;
    for (std::size_t filled = 1; bits > 0; --bits, filled *= 2, pool = without_lowest(pool)) {
      const auto added = static_cast<std::uint16_t>(bit(lowest(pool)));
      for (std::size_t i = 0; i < filled; ++i) {
        part[filled + i] = part[i] | added;
      }
    }
  }

  Part low_;
  Part high_;
};

/// The next number with as many bits (Gosper).
std::uint32_t next_with_same_bits(std::uint32_t number) {
  const auto smallest = number & (~number + 1);
  const auto ripple = number + smallest;
  return ripple | ((number ^ ripple) >> (2 + std::countr_zero(smallest)));
}

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

  Mask first() const { return first_.set; }
  Mask second() const { return second_.set; }

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
  const Deposit deposit(search.pool);
  const auto end = std::uint32_t{1} << std::popcount(search.pool);
  Podium podium(tables, ranking, search.free);
  std::int64_t examined = 0;
  for (auto number = (std::uint32_t{1} << search.size) - 1; number < end;
       number = next_with_same_bits(number)) {
    podium.offer(deposit(number) | search.must);
    ++examined;
  }
  return {.best = podium.first(), .second = podium.second(), .examined = examined};
}

} // namespace plumbline::placement
