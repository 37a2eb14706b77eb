#include "placement/families.hpp"

#include <algorithm>
#include <numeric>

namespace plumbline::placement {

namespace {

/// Two blocks changing places.
template <class Set> class Exchange {
public:
  Exchange(const Block &a, const Block &b) {
    std::iota(image_.begin(), image_.end(), 0);
    for (std::size_t i = 0; i < a.size(); ++i) {
      image_[at(a[i])] = b[i];
      image_[at(b[i])] = a[i];
      moved_ |= bit<Set>(a[i]) | bit<Set>(b[i]);
    }
  }

  [[nodiscard]] const Set &moved() const { return moved_; }
  [[nodiscard]] int image(int device) const { return image_[at(device)]; }
  [[nodiscard]] Set image(const Set &devices) const {
    Set images = devices & ~moved_;
    each_bit(devices & moved_, [&](int i) { images |= bit<Set>(image(i)); });
    return images;
  }

private:
  static std::size_t at(int device) { return static_cast<std::size_t>(device); }

  std::array<int, static_cast<std::size_t>(capacity<Set>)> image_{};
  Set moved_{};
};

/// The devices that have each bit; of gives a device's bits.
template <class Set, typename Of> std::vector<Set> holders(int devices, Of of) {
  std::vector<Set> found(static_cast<std::size_t>(capacity<Set>));
  for (int i = 0; i < devices; ++i) {
    each_bit(of(i),
             [&](int position) { found[static_cast<std::size_t>(position)] |= bit<Set>(i); });
  }
  std::erase(found, Set{});
  return found;
}

template <class Set> std::vector<Set> cliques(const Machine<Set> &machine) {
  std::vector<Set> found;
  for (int i = 0; i < machine.size(); ++i) {
    Set clique{};
    for (int other = 0; other < machine.size() && machine.clique(i) >= 0; ++other) {
      if (machine.clique(other) == machine.clique(i)) {
        clique |= bit<Set>(other);
      }
    }
    if (clique != 0 && lowest(clique) == i) {
      found.push_back(clique);
    }
  }
  return found;
}

/// Whether the groups are the same ones after the exchange, under other names.
template <class Set> bool keeps(const Exchange<Set> &exchange, const std::vector<Set> &groups) {
  std::vector<Set> before;
  std::vector<Set> after;
  for (const auto &group : groups) {
    if ((group & exchange.moved()) != 0) {
      before.push_back(group);
      after.push_back(exchange.image(group));
    }
  }
  return std::ranges::is_permutation(before, after);
}

/// Tells whether blocks can stand for each other.
template <class Set> class Comparison {
public:
  explicit Comparison(const Machine<Set> &machine)
      : machine_(machine),
        groups_{holders<Set>(machine.size(), [&](int i) { return machine.numa(i); }),
                holders<Set>(machine.size(), [&](int i) { return machine.socket(i); }),
                holders<Set>(machine.size(), [&](int i) { return machine.rails(i); }),
                cliques(machine)} {}

  [[nodiscard]] bool are_alike(const Block &a, const Block &b) const {
    if (a.size() != b.size()) {
      return false;
    }
    const Exchange<Set> exchange(a, b);
    return std::ranges::all_of(a, [&](int i) { return keeps_pairs(exchange, i); }) &&
           std::ranges::all_of(b, [&](int i) { return keeps_pairs(exchange, i); }) &&
           std::ranges::all_of(groups_,
                               [&](const auto &groups) { return keeps(exchange, groups); });
  }

private:
  [[nodiscard]] bool keeps_pairs(const Exchange<Set> &exchange, int device) const {
    const int image = exchange.image(device);
    for (int i = 0; i < machine_.size(); ++i) {
      if (machine_.tier(device, i) != machine_.tier(image, exchange.image(i))) {
        return false;
      }
    }
    return machine_.penalty(device) == machine_.penalty(image);
  }

  const Machine<Set> &machine_;
  std::array<std::vector<Set>, 4> groups_;
};

template <class Set>
std::vector<Family> grouped(const Comparison<Set> &comparison, const std::vector<Block> &blocks) {
  std::vector<Family> families;
  for (const auto &block : blocks) {
    const auto like = [&](const Family &family) {
      return comparison.are_alike(family.front(), block);
    };
    const auto found = std::ranges::find_if(families, like);
    if (found == families.end()) {
      families.push_back({block});
    } else {
      found->push_back(block);
    }
  }
  return families;
}

} // namespace

template <class Set>
std::vector<Family> families_of(const Machine<Set> &machine, const Twins<Set> &twins) {
  std::vector<Block> blocks;
  each_bit(machine.all(), [&](int i) {
    const auto &members = twins[static_cast<std::size_t>(i)];
    if (lowest(members) == i) {
      blocks.emplace_back();
      each_bit(members, [&](int member) { blocks.back().push_back(member); });
    }
  });
  const Comparison<Set> comparison(machine);
  std::vector<Family> found;
  for (std::size_t before = 0; before != blocks.size();) {
    before = blocks.size();
    const auto families = grouped(comparison, blocks);
    blocks.clear();
    for (const auto &family : families) {
      blocks.emplace_back();
      for (const auto &block : family) {
        blocks.back().insert(blocks.back().end(), block.begin(), block.end());
      }
      if (family.size() > 1) {
        found.push_back(family);
      }
    }
  }
  return found;
}

template <class Set>
bool keep_free_rails(const Machine<Set> &machine, const Block &a, const Block &b,
                     const Set &rails_free) {
  const auto rails = [&](int i) { return machine.rails(i) & rails_free; };
  return keeps(Exchange<Set>(a, b), holders<Set>(machine.size(), rails));
}

template std::vector<Family> families_of(const Machine<Mask> &machine, const Twins<Mask> &twins);
template std::vector<Family> families_of(const Machine<WideMask> &machine,
                                         const Twins<WideMask> &twins);
template bool keep_free_rails(const Machine<Mask> &machine, const Block &a, const Block &b,
                              const Mask &rails_free);
template bool keep_free_rails(const Machine<WideMask> &machine, const Block &a, const Block &b,
                              const WideMask &rails_free);

} // namespace plumbline::placement
