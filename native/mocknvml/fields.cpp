#include "fields.hpp"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace plumbline::mocknvml {

namespace {

template <class> struct MemberOf;
template <class Owner, class Member> struct MemberOf<Member Owner::*> {
  using Record = Owner;
  using Value = Member;
};

/// Walks from a record through members of members: access<&GpuRecord::clocks, &Clocks::sm>.
template <auto First, auto... Rest> auto &reach(auto &record) {
  if constexpr (sizeof...(Rest) == 0) {
    return record.*First;
  } else {
    return reach<Rest...>(record.*First);
  }
}

template <auto First, auto... Rest>
constexpr Field field(std::string_view name, bool changeable, Default rule,
                      std::string_view fallback) {
  using Record = MemberOf<decltype(First)>::Record;
  return Field{
      .name = name,
      .changeable = changeable,
      .rule = rule,
      .fallback = fallback,
      .read_into =
          [](std::string_view text, void *record) {
            return read(text, reach<First, Rest...>(*static_cast<Record *>(record)));
          },
      .write_from =
          [](const void *record, std::string &out) {
            write(reach<First, Rest...>(*static_cast<const Record *>(record)), out);
          },
      .expects =
          [] {
            using Reached = decltype(reach<First, Rest...>(std::declval<Record &>()));
            return expectation(As<std::remove_cvref_t<Reached>>{});
          },
  };
}

template <auto... Path> constexpr Field required(std::string_view name) {
  return field<Path...>(name, false, Default::required, {});
}
template <auto... Path> constexpr Field fixed(std::string_view name, std::string_view fallback) {
  return field<Path...>(name, false, Default::value, fallback);
}
template <auto... Path>
constexpr Field changeable(std::string_view name, std::string_view fallback) {
  return field<Path...>(name, true, Default::value, fallback);
}
template <auto... Path> constexpr Field same_as(std::string_view name, std::string_view other) {
  return field<Path...>(name, false, Default::same_as, other);
}
template <auto... Path> constexpr Field derived(std::string_view name) {
  return field<Path...>(name, false, Default::derived, {});
}
constexpr Field but_changeable(Field of) {
  of.changeable = true;
  return of;
}

using S = SystemRecord;
constexpr std::array system_fields{
    fixed<&S::driver_version>("driver_version", "570.124.06"),
    derived<&S::nvml_version>("nvml_version"),
    fixed<&S::cuda_version>("cuda_version", "12080"),
};

using G = GpuRecord;
using F = FabricRecord;
using P = PlatformRecord;
constexpr std::array gpu_fields{
    required<&G::uuid>("uuid"),
    required<&G::name>("name"),
    fixed<&G::brand>("brand", "nvidia"),
    fixed<&G::architecture>("architecture", "unknown"),
    required<&G::compute_capability>("compute_capability"),
    fixed<&G::serial>("serial", "none"),
    fixed<&G::board_part_number>("board_part_number", "none"),
    fixed<&G::vbios_version>("vbios_version", "none"),
    derived<&G::minor>("minor"),
    required<&G::pci_address>("pci_address"),
    derived<&G::board_id>("board_id"),
    fixed<&G::module_id>("module_id", "none"),
    required<&G::pci_device_id>("pci_device_id"),
    fixed<&G::pci_subsystem_id>("pci_subsystem_id", "0x0"),
    fixed<&G::pci_class>("pci_class", "0x030200"),
    required<&G::memory_total_bytes>("memory_total_bytes"),
    changeable<&G::memory_reserved_bytes>("memory_reserved_bytes", "0"),
    changeable<&G::memory_used_bytes>("memory_used_bytes", "0"),
    fixed<&G::memory_bus_width_bits>("memory_bus_width_bits", "0"),
    fixed<&G::bar1_total_bytes>("bar1_total_bytes", "0"),
    changeable<&G::bar1_used_bytes>("bar1_used_bytes", "0"),
    fixed<&G::gpu_cores>("gpu_cores", "0"),
    changeable<&G::ecc_mode>("ecc_mode", "none"),
    but_changeable(same_as<&G::ecc_pending>("ecc_pending", "ecc_mode")),
    changeable<&G::persistence_mode>("persistence_mode", "on"),
    changeable<&G::compute_mode>("compute_mode", "default"),
    changeable<&G::mig_mode>("mig_mode", "none"),
    but_changeable(same_as<&G::mig_pending>("mig_pending", "mig_mode")),
    changeable<&G::utilization_gpu_percent>("utilization_gpu_percent", "0"),
    changeable<&G::utilization_memory_percent>("utilization_memory_percent", "0"),
    changeable<&G::power_usage_mw>("power_usage_mw", "0"),
    changeable<&G::power_limit_mw>("power_limit_mw", "0"),
    fixed<&G::power_default_limit_mw>("power_default_limit_mw", "0"),
    fixed<&G::power_min_limit_mw>("power_min_limit_mw", "0"),
    fixed<&G::power_max_limit_mw>("power_max_limit_mw", "0"),
    changeable<&G::temperature_gpu_c>("temperature_gpu_c", "30"),
    fixed<&G::temperature_shutdown_c>("temperature_shutdown_c", "95"),
    fixed<&G::temperature_slowdown_c>("temperature_slowdown_c", "90"),
    fixed<&G::temperature_max_operating_c>("temperature_max_operating_c", "87"),
    changeable<&G::clocks, &Clocks::graphics>("clock_graphics_mhz", "0"),
    changeable<&G::clocks, &Clocks::sm>("clock_sm_mhz", "0"),
    changeable<&G::clocks, &Clocks::memory>("clock_memory_mhz", "0"),
    changeable<&G::clocks, &Clocks::video>("clock_video_mhz", "0"),
    fixed<&G::max_clocks, &Clocks::graphics>("clock_max_graphics_mhz", "0"),
    fixed<&G::max_clocks, &Clocks::sm>("clock_max_sm_mhz", "0"),
    fixed<&G::max_clocks, &Clocks::memory>("clock_max_memory_mhz", "0"),
    fixed<&G::max_clocks, &Clocks::video>("clock_max_video_mhz", "0"),
    changeable<&G::performance_state>("performance_state", "0"),
    fixed<&G::pcie_max_generation>("pcie_max_generation", "4"),
    fixed<&G::pcie_max_width>("pcie_max_width", "16"),
    same_as<&G::pcie_device_max_generation>("pcie_device_max_generation", "pcie_max_generation"),
    but_changeable(
        same_as<&G::pcie_current_generation>("pcie_current_generation", "pcie_max_generation")),
    but_changeable(same_as<&G::pcie_current_width>("pcie_current_width", "pcie_max_width")),
    fixed<&G::numa_node_id>("numa_node_id", "none"),
    fixed<&G::cpu_affinity>("cpu_affinity", ""),
    same_as<&G::cpu_affinity_socket>("cpu_affinity_socket", "cpu_affinity"),
    fixed<&G::memory_affinity>("memory_affinity", ""),
    same_as<&G::memory_affinity_socket>("memory_affinity_socket", "memory_affinity"),
    changeable<&G::fabric, &F::state>("fabric_state", "not-supported"),
    changeable<&G::fabric, &F::status>("fabric_status", "0"),
    fixed<&G::fabric, &F::cluster_uuid>("fabric_cluster_uuid",
                                        "00000000-0000-0000-0000-000000000000"),
    changeable<&G::fabric, &F::clique_id>("fabric_clique_id", "0"),
    changeable<&G::fabric, &F::health_mask>("fabric_health_mask", "0"),
    fixed<&G::platform, &P::chassis_serial>("platform_chassis_serial", "none"),
    fixed<&G::platform, &P::slot_number>("platform_slot_number", "0"),
    fixed<&G::platform, &P::tray_index>("platform_tray_index", "0"),
    fixed<&G::platform, &P::host_id>("platform_host_id", "0"),
    fixed<&G::platform, &P::peer_type>("platform_peer_type", "0"),
    fixed<&G::platform, &P::fabric_guid>("platform_fabric_guid", "0x0"),
    fixed<&G::c2c_links>("c2c_links", "0"),
    fixed<&G::c2c_max_bandwidth_mbps>("c2c_max_bandwidth_mbps", "0"),
    changeable<&G::ecc_errors_corrected>("ecc_errors_corrected", "0"),
    changeable<&G::ecc_errors_uncorrected>("ecc_errors_uncorrected", "0"),
    changeable<&G::lost>("lost", "no"),
};

using L = LinkRecord;
constexpr std::array nvlink_fields{
    changeable<&L::state>("state", "up"),
    fixed<&L::version>("version", "1"),
    fixed<&L::remote_type>("remote_type", "unknown"),
    fixed<&L::remote_pci_address>("remote_pci_address", "none"),
    fixed<&L::speed_mbps>("speed_mbps", "0"),
};

using M = MigProfileRecord;
constexpr std::array mig_profile_fields{
    required<&M::name>("name"),
    required<&M::id>("id"),
    required<&M::slices>("slices"),
    required<&M::memory_mib>("memory_mib"),
    required<&M::multiprocessors>("multiprocessors"),
    required<&M::most>("most"),
    required<&M::starts>("starts"),
    required<&M::size>("size"),
    fixed<&M::copy_engines>("copy_engines", "0"),
    fixed<&M::decoders>("decoders", "0"),
    fixed<&M::encoders>("encoders", "0"),
    fixed<&M::jpegs>("jpegs", "0"),
    fixed<&M::ofas>("ofas", "0"),
    fixed<&M::p2p>("p2p", "no"),
};

using Pair = PairRecord;
constexpr std::array pair_fields{
    required<&Pair::ancestor>("ancestor"),
    derived<&Pair::same_board>("same_board"),
    derived<&Pair::p2p>("p2p"),
};

static_assert(gpu_fields.size() <= max_fields);

constexpr std::array<std::string_view, 1> gpu_indices{"gpu"};
constexpr std::array<std::string_view, 2> link_indices{"gpu", "link"};
constexpr std::array<std::string_view, 2> mig_profile_indices{"gpu", "profile"};
constexpr std::array<std::string_view, 2> pair_indices{"gpu", "gpu"};

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

} // namespace

const Subject system_subject{.name = "system", .indices = {}, .fields = system_fields};
const Subject gpu_subject{.name = "gpu", .indices = gpu_indices, .fields = gpu_fields};
const Subject nvlink_subject{.name = "nvlink", .indices = link_indices, .fields = nvlink_fields};
const Subject mig_profile_subject{
    .name = "mig_profile", .indices = mig_profile_indices, .fields = mig_profile_fields};
const Subject pair_subject{.name = "pair", .indices = pair_indices, .fields = pair_fields};

std::span<const Subject *const> all_subjects() {
  static constexpr std::array subjects{&system_subject, &gpu_subject, &nvlink_subject,
                                       &mig_profile_subject, &pair_subject};
  return subjects;
}

const Subject *find_subject(std::string_view name) {
  for (const Subject *subject : all_subjects()) {
    if (subject->name == name) {
      return subject;
    }
  }
  return nullptr;
}

const Field *find_field(const Subject &subject, std::string_view name) {
  const auto found = std::ranges::find(subject.fields, name, &Field::name);
  return found == subject.fields.end() ? nullptr : &*found;
}

std::string_view nearest(std::string_view name, std::span<const std::string_view> candidates) {
  const auto distance = [name](std::string_view other) { return edit_distance(name, other); };
  return *std::ranges::min_element(candidates, {}, distance);
}

std::string_view nearest_field(const Subject &subject, std::string_view name,
                               bool changeable_only) {
  std::vector<std::string_view> names;
  for (const Field &field : subject.fields) {
    if (field.changeable || !changeable_only) {
      names.push_back(field.name);
    }
  }
  return names.empty() ? std::string_view{} : nearest(name, names);
}

} // namespace plumbline::mocknvml
