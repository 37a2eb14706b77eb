#include "placement/parents.hpp"

#include <utility>
#include <vector>

#include "placement/bits.hpp"
#include "placement/sums.hpp"

namespace plumbline::placement {

namespace {

/// Parents that can stand for each other in this search.
std::vector<Mask> classes_of(const Tables &tables, const ParentSearch<Mask> &search) {
  std::vector<Mask> classes;
  for (Mask pool = search.pool; pool != 0;) {
    const auto first = static_cast<std::size_t>(lowest(pool));
    Mask members = 0;
    each_bit(tables.twins[first] & pool, [&](int i) {
      const auto other = static_cast<std::size_t>(i);
      const bool alike =
          search.room[other] == search.room[first] && search.cost[other] == search.cost[first];
      members |= alike ? bit(i) : 0;
    });
    classes.push_back(members);
    pool &= ~members;
  }
  return classes;
}

/// Tries how many to take of each class; of equals the lowest ranks are best.
class ClassTrials {
public:
  ClassTrials(const Tables &tables, const ParentSearch<Mask> &search, std::vector<Mask> classes)
      : tables_(tables), search_(search), classes_(std::move(classes)) {}

  FoundParents<Mask> find() {
    visit(0, search_.forced, search_.count);
    return {.parents = best_.set, .exact = true, .examined = examined_};
  }

private:
  void visit(std::size_t at, Mask set, int missing) {
    if (missing == 0) {
      offer(set);
      return;
    }
    if (at == classes_.size()) {
      return;
    }
    for (int count = std::min(missing, popcount(classes_[at])); count >= 0; --count) {
      visit(at + 1, set | lowest_bits(classes_[at], count), missing - count);
    }
  }

  void offer(Mask set) {
    ++examined_;
    if (search_.room_of(set) < search_.needed) {
      return;
    }
    const auto cost = search_.cost_of(set & ~search_.forced);
    const auto rank = rank_parents(tables_.fields[set], tables_.traits[set], cost, set);
    best_ = rank > best_ ? rank : best_;
  }

  const Tables &tables_;
  const ParentSearch<Mask> &search_;
  std::vector<Mask> classes_;
  ParentRank<Mask> best_;
  std::int64_t examined_ = 0;
};

FoundParents<Mask> search_one_by_one(const Tables &tables, const ParentSearch<Mask> &search) {
  std::vector<int> pool;
  each_bit(search.pool, [&](int i) { pool.push_back(i); });
  const int size = static_cast<int>(pool.size());
  const auto device = [&](int i) {
    return static_cast<std::size_t>(pool[static_cast<std::size_t>(i)]);
  };
  const Sums<std::uint64_t> costs(size, [&](int i) { return search.cost[device(i)]; });
  const Sums<std::int64_t> rooms(size, [&](int i) { return search.room[device(i)]; });
  const auto deposit = deposit_into(search.pool);
  const auto needed = search.needed - search.room_of(search.forced);

  ParentRank<Mask> best;
  std::int64_t examined = 0;
  const auto consider = [&](std::uint32_t number) {
    ++examined;
    const Mask set = deposit(number) | search.forced;
    if (rooms(number) < needed) {
      return;
    }
    const auto rank = rank_parents(tables.fields[set], tables.traits[set], costs(number), set);
    if (rank > best) {
      best = rank;
    }
  };
  if (search.count == 0) {
    consider(0);
    return {.parents = best.set, .exact = true, .examined = examined};
  }
  const auto end = std::uint32_t{1} << static_cast<unsigned>(size);
  for (auto number = (std::uint32_t{1} << static_cast<unsigned>(search.count)) - 1; number < end;
       number = next_with_same_bits(number)) {
    consider(number);
  }
  return {.parents = best.set, .exact = true, .examined = examined};
}

} // namespace

FoundParents<Mask> search_parents(const Tables &tables, const ParentSearch<Mask> &search) {
  auto classes = classes_of(tables, search);
  const bool regular = 4 * classes.size() <= 3 * static_cast<std::size_t>(popcount(search.pool));
  return regular ? ClassTrials(tables, search, std::move(classes)).find()
                 : search_one_by_one(tables, search);
}

} // namespace plumbline::placement
