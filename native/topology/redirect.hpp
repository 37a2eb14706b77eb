// Where PCIe access control sends traffic between devices up to the root complex.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "topology/values.hpp"

namespace plumbline::topology {

/// Whether a root or downstream port redirects, among the members of a device's path from
/// this index down. Nothing when none is known to and one cannot be read.
std::optional<bool> redirect_along(const std::vector<PciDevice> &devices, const PciDevice &device,
                                   std::size_t first);

/// Whether a port between two functions and the lowest bridge above both redirects, so that
/// their nearness is on paper only. False when they share no bridge: their traffic meets at
/// the root complex anyway. Nothing when none is known to and one cannot be read.
std::optional<bool> redirect_between(const std::vector<PciDevice> &devices, const PciDevice &a,
                                     const PciDevice &b);

} // namespace plumbline::topology
