#include "placement/classes.hpp"

namespace plumbline::placement {

template <class Set> Set alike(const LargeSets<Set> &sets, int device, const Set &rails_free) {
  const auto &machine = sets.machine();
  const Set twins = sets.twins(device);
  if ((machine.all_rails() & ~rails_free) == 0) {
    return twins;
  }
  const auto count = [&](int i) { return popcount(machine.rails(i) & rails_free); };
  Set found{};
  each_bit(twins, [&](int i) {
    if (count(i) == count(device)) {
      found |= bit<Set>(i);
    }
  });
  return found;
}

template <class Set>
std::vector<Class<Set>> classes_of(const LargeSets<Set> &sets, Set pool, const Set &rails_free) {
  const auto &machine = sets.machine();
  std::vector<Class<Set>> classes;
  while (pool != 0) {
    const Set members = alike(sets, lowest(pool), rails_free) & pool;
    pool &= ~members;
    classes.push_back({.members = members, .after = pool});
  }
  Class<Set> after;
  for (std::size_t at = classes.size(); at > 0; --at) {
    auto &each = classes[at - 1];
    each_bit(each.members, [&](int i) {
      const Set rails = machine.rails(i) & rails_free;
      after.nodes_after |= machine.numa(i);
      after.sockets_after |= machine.socket(i);
      after.rails_after |= rails;
      after.with_rails_after += rails != 0 ? 1 : 0;
    });
    after.members = each.members;
    after.after = each.after;
    each = after;
  }
  return classes;
}

template WideMask alike(const LargeSets<WideMask> &sets, int device, const WideMask &rails_free);
template Mask alike(const LargeSets<Mask> &sets, int device, const Mask &rails_free);
template std::vector<Class<Mask>> classes_of(const LargeSets<Mask> &sets, Mask pool,
                                             const Mask &rails_free);
template std::vector<Class<WideMask>> classes_of(const LargeSets<WideMask> &sets, WideMask pool,
                                                 const WideMask &rails_free);

} // namespace plumbline::placement
