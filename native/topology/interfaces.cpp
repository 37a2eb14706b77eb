#include "topology/interfaces.hpp"

#include <algorithm>

#include "topology/parse.hpp"

namespace plumbline::topology {

namespace {

/// Switch representors (pf0vf3, pf0sf88) share the device link of the physical function but
/// carry the traffic of another.
bool is_representor(Walker &walker) {
  const auto name = walker.text("phys_port_name", Walker::page, Refusal::usual);
  return name && name->find("pf") != std::string::npos &&
         (name->find("vf") != std::string::npos || name->find("sf") != std::string::npos);
}

NicPort read_port_of_interface(Walker &walker) {
  NicPort port;
  port.number = walker.fact("dev_port", parse_port_index, "a port number").value_or(0) + 1;
  port.state = walker.fact("operstate", parse_operstate, "an operational state");
  port.rate_gbps =
      walker.fact("speed", parse_interface_speed, "a speed in Mb/s", Walker::page, Refusal::usual);
  port.link_layer = walker.fact("type", parse_interface_type, "an interface type");
  return port;
}

bool interface_before(const Interface &a, const Interface &b) {
  return a.port.number != b.port.number ? a.port.number < b.port.number
                                        : natural_before(a.name, b.name);
}

} // namespace

Interfaces read_interfaces(Walker &walker) {
  Interfaces by_hardware;
  for (const auto &member : list_class(walker, "net")) {
    if (is_virtual(member) || !walker.enter_listed(member.folder)) {
      continue;
    }
    const auto hardware = hardware_here(walker);
    if (hardware && !is_representor(walker)) {
      by_hardware[*hardware].push_back(
          {.name = member.name, .port = read_port_of_interface(walker)});
    }
  }
  for (auto &[hardware, interfaces] : by_hardware) {
    std::ranges::sort(interfaces, interface_before);
  }
  return by_hardware;
}

} // namespace plumbline::topology
