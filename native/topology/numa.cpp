#include "topology/numa.hpp"

#include <algorithm>
#include <string>

#include "topology/parse.hpp"

namespace plumbline::topology {

namespace {

// The kernel lists CPUs without the one-page limit of other attributes.
constexpr std::size_t longest_cpu_list = 65536;
// All CPUs of a node share a socket; the others are asked only where the first cannot tell.
constexpr std::size_t most_cpus_asked = 4;

/// Ids of the folders node<id>, in order.
std::vector<int> list_nodes(Walker &walker) {
  std::vector<int> ids;
  for (const auto &name : walker.entries()) {
    const auto id = name.starts_with("node") ? parse_numa_node(std::string_view{name}.substr(4))
                                             : Parsed<int>::absurd();
    if (id.value && name == "node" + std::to_string(*id.value)) {
      ids.push_back(*id.value);
    }
  }
  std::ranges::sort(ids);
  return ids;
}

Path node_folder(int id) {
  return {"sys", "devices", "system", "node", "node" + std::to_string(id)};
}

/// The file lists one distance for each node that is online, in the order of their ids.
std::map<int, int> read_distances(Walker &walker, const std::vector<int> &ids) {
  const auto distances = walker.fact("distance", parse_distances, "a list of NUMA distances");
  std::map<int, int> by_id;
  if (!distances) {
    return by_id;
  }
  if (distances->size() != ids.size()) {
    walker.warn("distance", "has " + std::to_string(distances->size()) + " values for " +
                                std::to_string(ids.size()) + " nodes.");
    return by_id;
  }
  for (std::size_t i = 0; i < ids.size(); ++i) {
    by_id.emplace(ids[i], (*distances)[i]);
  }
  return by_id;
}

std::optional<int> read_socket(Walker &walker, const std::vector<int> &cpus) {
  for (std::size_t i = 0; i < std::min(cpus.size(), most_cpus_asked); ++i) {
    const auto cpu = "cpu" + std::to_string(cpus[i]);
    if (!walker.enter({"sys", "devices", "system", "cpu", cpu, "topology"})) {
      continue;
    }
    const auto socket = walker.fact("physical_package_id", parse_package, "a socket number");
    if (socket) {
      return socket;
    }
  }
  return std::nullopt;
}

} // namespace

std::vector<NumaNode> read_numa_nodes(Walker &walker) {
  std::vector<NumaNode> nodes;
  if (!walker.enter({"sys", "devices", "system", "node"})) {
    return nodes;
  }
  const auto ids = list_nodes(walker);
  for (const int id : ids) {
    if (!walker.enter_listed(node_folder(id))) {
      continue;
    }
    NumaNode node;
    node.id = id;
    node.cpus = walker.fact("cpulist", parse_cpu_list, "a list of CPUs", longest_cpu_list)
                    .value_or(std::vector<int>{});
    node.distances = read_distances(walker, ids);
    node.memory_bytes = walker.fact("meminfo", parse_memory_total, "a memory report");
    nodes.push_back(std::move(node));
  }
  for (auto &node : nodes) {
    node.socket = read_socket(walker, node.cpus);
  }
  return nodes;
}

} // namespace plumbline::topology
