#include "topology/class_devices.hpp"

#include <algorithm>
#include <ranges>
#include <string_view>
#include <utility>

#include "topology/parse.hpp"

namespace plumbline::topology {

std::vector<ClassDevice> list_class(Walker &walker, const std::string &class_name) {
  std::vector<ClassDevice> devices;
  if (!walker.enter({"sys", "class", class_name})) {
    return devices;
  }
  for (auto &name : walker.entries()) {
    if (name == "bonding_masters") {
      continue; // the one file the kernel keeps in a class folder
    }
    if (shown(name, name.size()) != name) {
      walker.warn(name, "has a name that is no plain text.");
      continue;
    }
    auto folder = followed(walker.path(), walker.link(name).value_or(name));
    devices.push_back({.name = std::move(name), .folder = std::move(folder)});
  }
  return devices;
}

bool is_virtual(const ClassDevice &device) {
  static const Path virtual_devices{"sys", "devices", "virtual"};
  return std::ranges::mismatch(virtual_devices, device.folder).in1 == virtual_devices.end();
}

std::optional<Hardware> hardware_here(Walker &walker) {
  const auto target = walker.link("device");
  if (!target) {
    return std::nullopt;
  }
  const auto folder = followed(walker.path(), *target);
  const auto function = std::ranges::find_if(std::views::reverse(folder), is_pci_address);
  if (function == folder.rend()) {
    return std::nullopt;
  }
  const auto part = std::find_if(function.base(), folder.end(), [](std::string_view name) {
    return name.find(".sf.") != std::string_view::npos;
  });
  return Hardware{.address = *function,
                  .subfunction = part == folder.end() ? std::string{} : *part};
}

} // namespace plumbline::topology
