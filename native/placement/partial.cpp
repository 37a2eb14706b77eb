#include "placement/partial.hpp"

#include <algorithm>

namespace plumbline::placement {

namespace {

std::uint16_t narrow(int count) { return static_cast<std::uint16_t>(count); }

} // namespace

template <class Set>
Partial<Set> begin_with(const LargeSets<Set> &sets, const Search<Set> &search) {
  Partial<Set> partial;
  partial.traits.min_pair = static_cast<std::uint16_t>(sets.machine().tier_count() - 1);
  each_bit(search.must, [&](int i) { add(sets, i, search.rails_free, partial); });
  return partial;
}

template <class Set>
void add(const LargeSets<Set> &sets, int device, const Set &rails_free, Partial<Set> &partial) {
  const auto &machine = sets.machine();
  auto &traits = partial.traits;
  const auto pairs = machine.joint(device, partial.set);
  traits.min_pair = std::min(traits.min_pair, static_cast<std::uint16_t>(pairs.slowest));
  traits.sum_gbps += pairs.sum_gbps;
  if (partial.set != 0) {
    const auto clique = machine.clique(lowest(partial.set));
    const bool joins = clique >= 0 && clique == machine.clique(device);
    traits.complete = joins ? traits.complete : std::uint8_t{0};
  }
  partial.set |= bit<Set>(device);
  partial.nodes |= machine.numa(device);
  partial.sockets |= machine.socket(device);
  partial.at_nodes |= sets.node_mates(device);
  partial.at_sockets |= sets.socket_mates(device);
  const Set rails = machine.rails(device) & rails_free;
  partial.rails |= rails;
  traits.penalty += machine.penalty(device);
  traits.unknown_nodes = narrow(traits.unknown_nodes + (machine.numa(device) == 0 ? 1 : 0));
  traits.unknown_sockets = narrow(traits.unknown_sockets + (machine.socket(device) == 0 ? 1 : 0));
  traits.rail_devices = narrow(traits.rail_devices + (rails != 0 ? 1 : 0));
  traits.nodes = narrow(popcount(partial.nodes));
  traits.sockets = narrow(popcount(partial.sockets));
  traits.rails = narrow(popcount(partial.rails));
}

template Partial<Mask> begin_with(const LargeSets<Mask> &sets, const Search<Mask> &search);
template Partial<WideMask> begin_with(const LargeSets<WideMask> &sets,
                                      const Search<WideMask> &search);
template void add(const LargeSets<Mask> &sets, int device, const Mask &rails_free,
                  Partial<Mask> &partial);
template void add(const LargeSets<WideMask> &sets, int device, const WideMask &rails_free,
                  Partial<WideMask> &partial);

} // namespace plumbline::placement
