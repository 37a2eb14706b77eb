#include "placement/shares.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <string>

#include "placement/bits.hpp"

namespace plumbline::placement {

namespace {

using Counts = std::vector<std::int64_t>;

// Keeps each further share's load distinct from the last one's.
constexpr std::int64_t most_shares = 100'000;
constexpr std::int64_t full_load = 1'000'000;

std::size_t at(int parent) { return static_cast<std::size_t>(parent); }

[[noreturn]] void refuse(const std::string &name, std::size_t index, std::int64_t value,
                         const std::string &why) {
  throw std::invalid_argument(name + "[" + std::to_string(index) + "] is " + std::to_string(value) +
                              ", " + why);
}

void check_counts(const Counts &counts, const std::string &name, std::size_t parents,
                  const Counts &most) {
  if (counts.size() != parents) {
    throw std::invalid_argument(name + " has " + std::to_string(counts.size()) + " entries for " +
                                std::to_string(parents) + " devices");
  }
  for (std::size_t i = 0; i < parents; ++i) {
    if (counts[i] < 0 || counts[i] > most[i]) {
      refuse(name, i, counts[i], "not between 0 and " + std::to_string(most[i]));
    }
  }
}

Counts difference(const Counts &from, const Counts &counts) {
  Counts left(from.size());
  std::ranges::transform(from, counts, left.begin(), std::minus{});
  return left;
}

void check(const ShareRequest &request, std::size_t parents) {
  check_counts(request.total, "total", parents, Counts(parents, most_shares));
  check_counts(request.free, "free", parents, request.total);
  check_counts(request.must, "must", parents, request.total);
  if (request.held) {
    check_counts(*request.held, "held", parents, difference(request.total, request.free));
  }
}

std::int64_t sum(const Counts &counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

/// One request on its way to an answer.
template <class Set> class Division {
public:
  Division(const Sets<Set> &sets, const ShareRequest &request)
      : sets_(sets), request_(request),
        held_(request.held ? *request.held : difference(request.total, request.free)),
        room_(request.free), left_(difference(request.total, held_)), counts_(room_.size()) {
    for (std::size_t i = 0; i < room_.size(); ++i) {
      room_[i] = std::max(room_[i], request.must[i]);
      left_[i] = std::max(left_[i], request.must[i]);
    }
    missing_ = std::clamp<std::int64_t>(request.size, 0, sum(room_));
    for (std::size_t i = 0; i < room_.size(); ++i) {
      counts_[i] = std::min(request.must[i], missing_);
      missing_ -= counts_[i];
    }
  }

  ShareChoice divide() {
    if (missing_ > 0) {
      fill();
    }
    return answer();
  }

private:
  void fill() {
    switch (request_.policy) {
    case SharePolicy::packed:
      pack();
      break;
    case SharePolicy::distributed:
      distribute(~Set{});
      break;
    case SharePolicy::aligned:
      align();
      break;
    }
  }

  [[nodiscard]] int parents() const { return static_cast<int>(room_.size()); }

  /// Parents of which something, or nothing, is taken so far.
  [[nodiscard]] Set chosen() const {
    Set mask{};
    for (int i = 0; i < parents(); ++i) {
      if (counts_[at(i)] > 0) {
        mask |= bit<Set>(i);
      }
    }
    return mask;
  }
  [[nodiscard]] Set with_room() const {
    Set mask{};
    for (int i = 0; i < parents(); ++i) {
      if (counts_[at(i)] < room_[at(i)]) {
        mask |= bit<Set>(i);
      }
    }
    return mask;
  }

  /// Load of a parent as its n-th share of this request finds it, itself included.
  [[nodiscard]] std::int64_t load(int i, std::int64_t n) const {
    return full_load * (held_[at(i)] + n) / request_.total[at(i)];
  }
  [[nodiscard]] std::int64_t next_load(int i) const { return load(i, counts_[at(i)] + 1); }

  void take(int i, std::int64_t count) {
    counts_[at(i)] += count;
    missing_ -= count;
  }

  Set find(const ParentSearch<Set> &search) {
    const auto found = sets_.find_parents(search);
    exact_ = found.exact;
    examined_ = found.examined;
    return found.parents;
  }

  [[nodiscard]] int fewest_more(const Set &forced, const Set &pool) const {
    Counts rooms;
    std::int64_t left = missing_;
    each_bit(forced, [&](int i) { left -= room_[at(i)] - counts_[at(i)]; });
    each_bit(pool, [&](int i) { rooms.push_back(room_[at(i)]); });
    std::ranges::sort(rooms, std::greater{});
    int more = 0;
    for (; left > 0; ++more) {
      left -= rooms[static_cast<std::size_t>(more)];
    }
    return more;
  }

  void pack() {
    const Set forced = chosen();
    ParentSearch<Set> search{.pool = with_room() & ~forced, .forced = forced};
    search.count = fewest_more(forced, search.pool);
    search.needed = missing_ + sum(counts_);
    for (int i = 0; i < parents(); ++i) {
      search.room[at(i)] = room_[at(i)];
      const auto untouched = held_[at(i)] == 0 ? 1 : 0;
      search.cost[at(i)] = static_cast<std::uint64_t>((left_[at(i)] * 1024) + untouched);
    }
    fill_smallest_first(find(search));
  }

  /// What is left of the offer is left on one parent, the one with the most room.
  void fill_smallest_first(const Set &mask) {
    std::vector<int> order;
    each_bit(mask, [&](int i) { order.push_back(i); });
    const auto left = [this](int i) { return room_[at(i)] - counts_[at(i)]; };
    std::ranges::stable_sort(order, {}, left);
    for (const int i : order) {
      take(i, std::min(left(i), missing_));
    }
  }

  /// Takes rounds of shares at the lowest load there is.
  void distribute(const Set &within) {
    while (missing_ > 0) {
      const Set open = with_room() & within;
      std::int64_t lowest_load = next_load(lowest(open));
      each_bit(open, [&](int i) { lowest_load = std::min(lowest_load, next_load(i)); });
      Set equal{};
      each_bit(open, [&](int i) {
        if (next_load(i) == lowest_load) {
          equal |= bit<Set>(i);
        }
      });
      if (popcount(equal) > missing_) {
        equal = settle(equal);
      }
      each_bit(equal, [&](int i) { take(i, 1); });
    }
  }

  /// Chooses as many as are missing among parents of equal load.
  Set settle(const Set &equal) {
    const Set used = chosen();
    const Set unused = equal & ~used;
    const int count = static_cast<int>(missing_);
    if (popcount(unused) <= count) {
      return unused | lowest_bits(equal & used, count - popcount(unused));
    }
    return find({.pool = unused, .forced = used, .count = count}) & ~used;
  }

  void align() {
    const Set forced = chosen();
    const Set pool = with_room() & ~forced;
    if (missing_ >= popcount(pool)) {
      each_bit(pool, [&](int i) { take(i, 1); });
      distribute(~Set{});
      return;
    }
    ParentSearch<Set> search{.pool = pool, .forced = forced, .count = static_cast<int>(missing_)};
    each_bit(pool, [&](int i) { search.cost[at(i)] = static_cast<std::uint64_t>(load(i, 1)); });
    each_bit(find(search) & ~forced, [&](int i) { take(i, 1); });
  }

  void add_set(const Traits &traits, ShareChoice &choice) const {
    const auto gbps = [&](int tier) {
      return without_lowest(choice.parents) == 0 ? 0 : sets_.machine().gbps(tier);
    };
    choice.key.insert(choice.key.end(), {gbps(traits.ring), gbps(traits.min_pair), traits.complete,
                                         -(traits.nodes + traits.unknown_nodes),
                                         -(traits.sockets + traits.unknown_sockets)});
    choice.terms.insert(choice.terms.end(),
                        {ShareTerm::ring, ShareTerm::min_pair, ShareTerm::clique,
                         ShareTerm::numa_nodes, ShareTerm::sockets});
  }

  static void add(ShareChoice &choice, ShareTerm term, std::int64_t value) {
    choice.terms.push_back(term);
    choice.key.push_back(value);
  }

  [[nodiscard]] ShareChoice answer() const {
    ShareChoice choice;
    choice.counts = counts_;
    const Set parents_taken = chosen();
    choice.parents = parents_taken;
    choice.exact = exact_;
    choice.examined = examined_;
    std::int64_t leftover = 0;
    std::int64_t opened = 0;
    std::int64_t loads = 0;
    each_bit(parents_taken, [&](int i) {
      leftover += left_[at(i)] - counts_[at(i)];
      opened += held_[at(i)] == 0 ? 1 : 0;
      for (std::int64_t n = 1; n <= counts_[at(i)]; ++n) {
        loads += load(i, n);
      }
    });
    add_terms(choice, leftover, opened, loads);
    return choice;
  }

  void add_terms(ShareChoice &choice, std::int64_t leftover, std::int64_t opened,
                 std::int64_t loads) const {
    const auto traits = sets_.traits(narrowed<Set>(choice.parents));
    const auto count = std::int64_t{popcount(choice.parents)};
    if (request_.policy == SharePolicy::distributed) {
      add(choice, ShareTerm::load, -loads);
    }
    add(choice, ShareTerm::parents, request_.policy == SharePolicy::packed ? -count : count);
    add_set(traits, choice);
    if (request_.policy == SharePolicy::packed) {
      add(choice, ShareTerm::leftover, -leftover);
      add(choice, ShareTerm::opened, -opened);
    }
    if (request_.policy == SharePolicy::aligned) {
      add(choice, ShareTerm::load, -loads);
    }
    add(choice, ShareTerm::sum_pair, traits.sum_gbps);
    add(choice, ShareTerm::penalty, -std::int64_t{traits.penalty});
    choice.terms.push_back(ShareTerm::order);
    choice.order = order_of(choice.parents, parents());
  }

  const Sets<Set> &sets_;
  const ShareRequest &request_;
  Counts held_;
  Counts room_; // what may be given
  Counts left_; // what is not in use
  Counts counts_;
  std::int64_t missing_ = 0;
  bool exact_ = true;
  std::int64_t examined_ = 1;
};

} // namespace

template <class Set> ShareChoice choose_shares(const Sets<Set> &sets, const ShareRequest &request) {
  check(request, static_cast<std::size_t>(sets.machine().size()));
  return Division<Set>(sets, request).divide();
}

template ShareChoice choose_shares(const Sets<Mask> &sets, const ShareRequest &request);
template ShareChoice choose_shares(const Sets<WideMask> &sets, const ShareRequest &request);

} // namespace plumbline::placement
