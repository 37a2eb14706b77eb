#include "placement/tables.hpp"

#include <utility>

#include "placement/bits.hpp"
#include "placement/ring.hpp"

namespace plumbline::placement {

namespace {

/// Returns how many sets fit into each.
std::vector<std::uint8_t> add_room(const Machine<Mask> &machine, const std::vector<Traits> &traits,
                                   const Expected &expected, std::vector<Tables::Room> &room_left) {
  auto packing = pack_sets(machine, traits, expected.size);
  const auto gbps = [&](Grade grade) {
    return machine.gbps(static_cast<int>(grade >> grade_shift));
  };
  for (std::size_t left = 0; left < room_left.size(); ++left) {
    if (popcount(left) >= expected.size) {
      room_left[left].fragmentation +=
          room(expected, gbps(packing.best[left]), gbps(packing.top), packing.count[left]);
    }
  }
  return std::move(packing.count);
}

std::vector<Fields> all_fields(const std::vector<Traits> &traits, bool known_only) {
  std::vector<Fields> fields(traits.size());
  for (std::size_t set = 0; set < traits.size(); ++set) {
    fields[set] = fields_of(traits[set], known_only);
  }
  return fields;
}

} // namespace

Tables::Tables(const Machine<Mask> &machine)
    : traits(machine.all() + 1), room(traits.size()),
      reach(machine.size(), [&](int i) { return machine.reach_gbps(bit(i)); }), sums(traits.size()),
      twins(twins_of(machine)) {
  const auto rings = ring_tiers(machine);
  for (Mask set = 0; set < traits.size(); ++set) {
    traits[set] = machine.traits_without_ring(set);
    traits[set].ring = rings[set];
    room[set].sum_gbps = traits[set].sum_gbps;
    sums[set] = sums_of(traits[set]);
  }
  fields = all_fields(traits, false);
  if (traits.back().unknown_nodes + traits.back().unknown_sockets > 0) {
    known = all_fields(traits, true);
  }
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (expected_requests[i].size <= machine.size()) {
      counts[i] = add_room(machine, traits, expected_requests[i], room);
    }
  }
}

std::size_t Tables::bytes() const {
  std::size_t counted = 0;
  for (const auto &each : counts) {
    counted += each.capacity();
  }
  return counted + (traits.capacity() * sizeof(Traits)) + (room.capacity() * sizeof(Room)) +
         ((fields.capacity() + known.capacity()) * sizeof(Fields)) +
         (sums.capacity() * sizeof(sums[0]));
}

} // namespace plumbline::placement
