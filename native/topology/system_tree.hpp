// The machine below one root folder, read once.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "topology/values.hpp"

namespace plumbline::topology {

struct SystemTree {
  /// By address.
  std::vector<PciDevice> devices;
  /// In natural order of names.
  std::vector<Nic> nics;
  std::vector<std::string> nvswitches;
  std::vector<std::string> nvmes;
  std::vector<NumaNode> numa_nodes;
  std::vector<std::string> warnings;

  /// Nothing when there is no such function.
  [[nodiscard]] const PciDevice *device(std::string_view address) const;

  /// Nothing when either function is not there.
  [[nodiscard]] std::optional<Distance> distance(std::string_view a, std::string_view b) const;

  /// As redirect_between; nothing, too, when either function is not there.
  [[nodiscard]] std::optional<bool> acs_redirect(std::string_view a, std::string_view b) const;
};

/// Reads <root>/sys. What is absent or absurd there is absent in the tree.
SystemTree read_system(const std::string &root);

} // namespace plumbline::topology
