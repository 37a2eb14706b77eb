// Folders of sys/class: their members, and the hardware each member is a view of.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <vector>

#include "topology/walker.hpp"

namespace plumbline::topology {

/// One member of a class, such as sys/class/net/eth0.
struct ClassDevice {
  std::string name;
  Path folder;
};

/// The piece of hardware behind a class device: a PCI function, or a subfunction of one.
struct Hardware {
  std::string address;
  std::string subfunction; // such as mlx5_core.sf.4, else empty

  auto operator<=>(const Hardware &) const = default;
};

/// The members of a class by name. Members with names that are no plain text, and files
/// beside the members, are left out with a warning.
std::vector<ClassDevice> list_class(Walker &walker, const std::string &class_name);

/// True for devices that no hardware stands behind.
bool is_virtual(const ClassDevice &device);

/// Where the `device` link of the class device leads in whose folder the walker stands.
/// Virtio and auxiliary-bus devices sit below their PCI function.
std::optional<Hardware> hardware_here(Walker &walker);

} // namespace plumbline::topology
