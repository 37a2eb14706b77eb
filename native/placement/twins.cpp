#include "placement/twins.hpp"

namespace plumbline::placement {

namespace {

/// Bits that only this device has count by their number, the others by themselves.
template <class Set> struct Belongings {
  Set shared{};
  int own = 0;

  bool operator==(const Belongings &) const = default;
};

/// Of every device; of gives a device's bits.
template <class Set, typename Of> std::vector<Belongings<Set>> belongings(int devices, Of of) {
  Set seen{};
  Set shared{};
  for (int i = 0; i < devices; ++i) {
    shared |= of(i) & seen;
    seen |= of(i);
  }
  std::vector<Belongings<Set>> found;
  found.reserve(static_cast<std::size_t>(devices));
  for (int i = 0; i < devices; ++i) {
    found.push_back({.shared = of(i) & shared, .own = popcount(of(i) & ~shared)});
  }
  return found;
}

template <class Set> bool pairs_are_alike(const Machine<Set> &machine, int a, int b) {
  for (int i = 0; i < machine.size(); ++i) {
    if (i != a && i != b && machine.tier(a, i) != machine.tier(b, i)) {
      return false;
    }
  }
  return true;
}

} // namespace

template <class Set> Twins<Set> twins_of(const Machine<Set> &machine) {
  const int size = machine.size();
  const auto numa = belongings<Set>(size, [&](int i) { return machine.numa(i); });
  const auto socket = belongings<Set>(size, [&](int i) { return machine.socket(i); });
  const auto rails = belongings<Set>(size, [&](int i) { return machine.rails(i); });
  const auto alike = [&](int first, int second) {
    const auto a = static_cast<std::size_t>(first);
    const auto b = static_cast<std::size_t>(second);
    return machine.clique(first) == machine.clique(second) &&
           machine.penalty(first) == machine.penalty(second) && numa[a] == numa[b] &&
           socket[a] == socket[b] && rails[a] == rails[b] &&
           pairs_are_alike(machine, first, second);
  };
  Twins<Set> twins{};
  for (int a = 0; a < size; ++a) {
    for (int b = 0; b < size; ++b) {
      if (a == b || alike(a, b)) {
        twins[static_cast<std::size_t>(a)] |= bit<Set>(b);
      }
    }
  }
  return twins;
}

template Twins<Mask> twins_of(const Machine<Mask> &machine);
template Twins<WideMask> twins_of(const Machine<WideMask> &machine);

} // namespace plumbline::placement
