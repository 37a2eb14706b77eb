// What a bridge's PCI configuration space says about it.
#pragma once

#include <optional>

#include "topology/values.hpp"
#include "topology/walker.hpp"

namespace plumbline::topology {

struct PortFacts {
  std::optional<PortType> type;
  /// Whether access control sends peer traffic of this port up to the root complex.
  std::optional<bool> redirects;
};

/// Reads the file `config` of the function in whose folder the walker stands. Without
/// CAP_SYS_ADMIN the kernel shows 64 bytes, which say nothing of this: no warning then.
PortFacts read_port(Walker &walker);

} // namespace plumbline::topology
