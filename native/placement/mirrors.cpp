#include "placement/mirrors.hpp"

#include <algorithm>
#include <tuple>

namespace plumbline::placement {

namespace {

/// One family's blocks as one search sees them.
template <class Set> class View {
public:
  View(const LargeSets<Set> &sets, const Search<Set> &search)
      : sets_(sets), search_(search),
        rails_differ_((sets.machine().all_rails() & ~search.rails_free) != 0) {}

  void add_mirrors(const Family &family, std::vector<Mirror<Set>> &mirrors) const {
    std::vector<Block> blocks;
    for (const auto &block : family) {
      if (std::ranges::any_of(block, [this](int i) { return is_in_pool(i); })) {
        blocks.push_back(sorted(block));
      }
    }
    std::ranges::sort(blocks, {}, [](const Block &block) { return block.front(); });
    for (std::size_t second = 1; second < blocks.size(); ++second) {
      for (std::size_t first = second; first > 0; --first) {
        if (are_alike(blocks[first - 1], blocks[second])) {
          mirrors.push_back(mirror(blocks[first - 1], blocks[second]));
          break;
        }
      }
    }
  }

private:
  /// Twins can stand for each other: those of one status come together, the pool first.
  [[nodiscard]] Block sorted(const Block &block) const {
    Block order = block;
    for (auto from = order.begin(); from != order.end();) {
      const auto &twins = sets_.twins(*from);
      const auto end = std::find_if(from, order.end(), [&](int i) { return !has(twins, i); });
      std::ranges::sort(from, end, [&](int a, int b) {
        return status(a) != status(b) ? status(a) > status(b) : a < b;
      });
      from = end;
    }
    return order;
  }

  /// What a search sees of a device: in the pool, in must, free, and how many free rails.
  [[nodiscard]] std::tuple<bool, bool, bool, int> status(int device) const {
    const int rails =
        rails_differ_ ? popcount(sets_.machine().rails(device) & search_.rails_free) : 0;
    return {has(search_.pool, device), has(search_.must, device), has(search_.free, device), rails};
  }

  [[nodiscard]] bool are_alike(const Block &a, const Block &b) const {
    const auto same = [this](int i, int other) { return status(i) == status(other); };
    return std::ranges::equal(a, b, same) &&
           (!rails_differ_ || keep_free_rails(sets_.machine(), a, b, search_.rails_free));
  }

  [[nodiscard]] bool is_in_pool(int device) const { return has(search_.pool, device); }

  /// Of devices outside of the pool a set has both or none.
  [[nodiscard]] Mirror<Set> mirror(const Block &a, const Block &b) const {
    std::vector<std::pair<int, int>> pairs;
    Set seconds{};
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (!is_in_pool(a[i])) {
        continue;
      }
      pairs.emplace_back(std::min(a[i], b[i]), std::max(a[i], b[i]));
      seconds |= bit<Set>(b[i]);
    }
    std::ranges::sort(pairs);
    return {.pairs = std::move(pairs), .seconds = seconds};
  }

  const LargeSets<Set> &sets_;
  const Search<Set> &search_;
  bool rails_differ_;
};

} // namespace

template <class Set> Set Mirror<Set>::image(const Set &set) const {
  Set image = set;
  for (const auto &[low, high] : pairs) {
    if (has(set, low) != has(set, high)) {
      image = image ^ bit<Set>(low) ^ bit<Set>(high);
    }
  }
  return image;
}

template <class Set> bool Mirror<Set>::comes_second(const Set &set, std::size_t decided) const {
  for (std::size_t i = 0; i < decided; ++i) {
    const auto &[low, high] = pairs[i];
    if (has(set, low) != has(set, high)) {
      return has(set, high);
    }
  }
  return false;
}

template <class Set>
std::vector<Mirror<Set>> mirrors_of(const LargeSets<Set> &sets, const Search<Set> &search) {
  std::vector<Mirror<Set>> mirrors;
  const View<Set> view(sets, search);
  for (const auto &family : sets.families()) {
    view.add_mirrors(family, mirrors);
  }
  return mirrors;
}

template struct Mirror<Mask>;
template struct Mirror<WideMask>;
template std::vector<Mirror<Mask>> mirrors_of(const LargeSets<Mask> &sets,
                                              const Search<Mask> &search);
template std::vector<Mirror<WideMask>> mirrors_of(const LargeSets<WideMask> &sets,
                                                  const Search<WideMask> &search);

} // namespace plumbline::placement
