#include "mig_files.hpp"

#include "codec.hpp"
#include "machine_folder.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <optional>

namespace plumbline::mocknvml {

namespace {

namespace fs = std::filesystem;

constexpr unsigned caps_major = 234;

/// Capabilities are numbered on every node alike (/proc/driver/nvidia-caps/mig-minors): two for
/// the node, then for each GPU those of its GPU instances, each followed by its compute instances.
unsigned capability_minor(unsigned gpu_minor, std::size_t instance, std::size_t place) {
  constexpr std::size_t of_instance = 1 + max_compute_instances;
  constexpr std::size_t first = 3;
  return static_cast<unsigned>(first + (gpu_minor * max_gpu_instances + instance) * of_instance +
                               place);
}

/// The only one at work on these files until it is gone.
class Hold {
public:
  explicit Hold(const fs::path &folder)
      : descriptor_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    while (descriptor_ >= 0 && ::flock(descriptor_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~Hold() {
    if (descriptor_ >= 0) {
      ::close(descriptor_);
    }
  }
  Hold(const Hold &) = delete;
  Hold &operator=(const Hold &) = delete;
  [[nodiscard]] bool holds() const { return descriptor_ >= 0; }

private:
  int descriptor_;
};

/// By path below capabilities/gpu<n>/mig what is to be there, and its minor.
std::map<fs::path, unsigned> wanted_files(const PartitionRecord &partition, unsigned gpu_minor) {
  std::map<fs::path, unsigned> files;
  for (std::size_t i = 0; i < max_gpu_instances; ++i) {
    const GpuInstanceRecord &instance = partition.instances[i];
    if (instance.present == 0) {
      continue;
    }
    const fs::path folder = "gi" + std::to_string(i);
    files[folder / "access"] = capability_minor(gpu_minor, i, 0);
    for (std::size_t j = 0; j < max_compute_instances; ++j) {
      if (instance.compute[j].present != 0) {
        files[folder / ("ci" + std::to_string(j)) / "access"] =
            capability_minor(gpu_minor, i, j + 1);
      }
    }
  }
  return files;
}

/// A node of the capability; a plain file where this process may not make nodes.
void make_node(const fs::path &path, unsigned minor) {
  constexpr mode_t everybody_reads = 0444;
  if (::mknod(path.c_str(), S_IFCHR | everybody_reads, makedev(caps_major, minor)) != 0 &&
      errno == EPERM) {
    std::ofstream plain(path);
  }
}

void add_missing(const fs::path &mig, const fs::path &nodes,
                 const std::map<fs::path, unsigned> &wanted) {
  for (const auto &[name, minor] : wanted) {
    const fs::path node = nodes / ("nvidia-cap" + std::to_string(minor));
    std::error_code dropped;
    if (fs::exists(nodes, dropped) && !fs::exists(node, dropped)) {
      make_node(node, minor);
    }
    if (const fs::path file = mig / name; !fs::exists(file, dropped)) {
      fs::create_directories(file.parent_path(), dropped);
      std::ofstream(file) << "DeviceFileMinor: " << minor
                          << "\nDeviceFileMode: 292\nDeviceFileModify: 1\n";
    }
  }
}

/// The number behind a prefix, as in `gi7`.
std::optional<std::size_t> numbered(const fs::path &path, std::string_view prefix) {
  const std::string name = path.filename();
  std::uint32_t number = 0;
  if (!name.starts_with(prefix) || !read(std::string_view(name).substr(prefix.size()), number)) {
    return std::nullopt;
  }
  return number;
}

std::vector<fs::path> entries(const fs::path &folder) {
  std::error_code none;
  std::vector<fs::path> found;
  for (const auto &entry : fs::directory_iterator(folder, none)) {
    found.push_back(entry.path());
  }
  return found;
}

void remove_others(const fs::path &mig, const fs::path &nodes, unsigned gpu_minor,
                   const std::map<fs::path, unsigned> &wanted) {
  const auto remove = [&](const fs::path &folder, std::size_t instance, std::size_t place) {
    if (!wanted.contains(folder.lexically_relative(mig) / "access")) {
      const unsigned minor = capability_minor(gpu_minor, instance, place);
      std::error_code dropped;
      fs::remove(nodes / ("nvidia-cap" + std::to_string(minor)), dropped);
      fs::remove_all(folder, dropped);
    }
  };
  for (const fs::path &around : entries(mig)) {
    const auto instance = numbered(around, "gi");
    if (!instance) {
      continue;
    }
    for (const fs::path &inside : entries(around)) {
      if (const auto compute = numbered(inside, "ci")) {
        remove(inside, *instance, *compute + 1);
      }
    }
    remove(around, *instance, 0);
  }
}

void show(const State &state, std::size_t gpu, const fs::path &capabilities) {
  const unsigned minor = state.gpu(gpu).minor;
  const auto wanted = wanted_files(state.partition(gpu), minor);
  const fs::path mig = capabilities / ("gpu" + std::to_string(minor)) / "mig";
  const fs::path nodes = machine_folder() / "dev/nvidia-caps";
  add_missing(mig, nodes, wanted);
  remove_others(mig, nodes, minor, wanted);
}

} // namespace

// Errors of the file system are dropped where they arise: the change itself is made, and the next
// one, or the next program, shows it.
void show_instances(const State &state, std::size_t gpu) {
  const fs::path capabilities = machine_folder() / "proc/driver/nvidia/capabilities";
  const Hold hold(capabilities);
  if (!hold.holds()) {
    return;
  }
  show(state, gpu, capabilities);
}

void show_all_instances(const State &state) {
  for (std::size_t gpu = 0; gpu < state.gpu_count(); ++gpu) {
    const PartitionRecord partition = state.partition(gpu);
    if (std::ranges::any_of(partition.profiles, &MigProfileRecord::present)) {
      show_instances(state, gpu);
    }
  }
}

} // namespace plumbline::mocknvml
