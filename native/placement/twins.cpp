#include "placement/twins.hpp"

#include "placement/bits.hpp"

namespace plumbline::placement {

namespace {

/// Bits that only this device has count by their number, the others by themselves.
struct Belongings {
  Mask shared = 0;
  int own = 0;

  bool operator==(const Belongings &) const = default;
};

template <typename Of> Belongings belongings(const Machine &machine, int device, Of of) {
  Mask others = 0;
  for (int i = 0; i < machine.size(); ++i) {
    others |= i == device ? 0 : of(i);
  }
  return {.shared = of(device) & others, .own = std::popcount(of(device) & ~others)};
}

bool are_twins(const Machine &machine, int a, int b) {
  for (int i = 0; i < machine.size(); ++i) {
    if (i != a && i != b && machine.tier(a, i) != machine.tier(b, i)) {
      return false;
    }
  }
  const auto alike = [&](auto of) {
    return belongings(machine, a, of) == belongings(machine, b, of);
  };
  return machine.clique(a) == machine.clique(b) && machine.penalty(a) == machine.penalty(b) &&
         alike([&](int i) { return machine.numa(i); }) &&
         alike([&](int i) { return machine.socket(i); }) &&
         alike([&](int i) { return machine.rails(i); });
}

} // namespace

Twins twins_of(const Machine &machine) {
  Twins twins{};
  for (int a = 0; a < machine.size(); ++a) {
    for (int b = 0; b < machine.size(); ++b) {
      const bool alike = a == b || are_twins(machine, a, b);
      twins[static_cast<std::size_t>(a)] |= alike ? bit(b) : 0;
    }
  }
  return twins;
}

} // namespace plumbline::placement
