// Field values: single numbers by id, each with its own return code.
#include "boundary.hpp"
#include "nvlink.hpp"

#include <chrono>
#include <optional>

namespace plumbline::mocknvml {

namespace {

constexpr std::uint32_t first_field = 1;
constexpr std::uint32_t field_count = 308; // one more than NVML 13's last id

/// The answer for one field of one GPU; `scope` is the link where there are several.
using Answerer = std::uint64_t (*)(const GpuRecord &gpu, std::uint32_t scope);

struct FieldEntry {
  std::uint32_t first_id;
  std::uint32_t last_id;
  unsigned value_type;
  /// For a range of ids that each stand for a link: the link of the first id. Otherwise the
  /// caller's scope says which link is meant.
  std::optional<std::uint32_t> first_link;
  Answerer answer;
};

std::uint64_t with_ecc(const GpuRecord &gpu, std::uint64_t value) {
  require(gpu.ecc_mode != Feature::none, Return::not_supported);
  return value;
}

std::uint64_t with_power(const GpuRecord &gpu, std::uint64_t value) {
  require(gpu.power_max_limit_mw != 0, Return::not_supported);
  return value;
}

std::uint64_t with_links(const GpuRecord &gpu, std::uint64_t value) {
  require(link_count(gpu) > 0, Return::not_supported);
  return value;
}

std::uint64_t link_speed(const GpuRecord &gpu, std::uint32_t link) {
  const LinkRecord record = need_link(gpu, link);
  return record.state == LinkState::up ? record.speed_mbps : 0;
}

std::uint64_t common_link_speed(const GpuRecord &gpu, std::uint32_t /*scope*/) {
  for (const LinkRecord &link : gpu.links) {
    if (link.present != 0 && link.state == LinkState::up) {
      return link.speed_mbps;
    }
  }
  return with_links(gpu, 0);
}

std::uint64_t switch_links(const GpuRecord &gpu, std::uint32_t /*scope*/) {
  return with_links(
      gpu, static_cast<std::uint64_t>(std::ranges::count_if(gpu.links, [](const LinkRecord &link) {
        return link.present != 0 && link.state == LinkState::up &&
               link.remote_type == RemoteType::nvswitch;
      })));
}

std::uint64_t need_c2c(const GpuRecord &gpu, std::uint32_t link, std::uint64_t value) {
  require(gpu.c2c_links > 0, Return::not_supported);
  require(link < gpu.c2c_links, Return::invalid_argument);
  return value;
}

std::uint64_t remapped(const GpuRecord &gpu, std::uint32_t /*scope*/) {
  require(gpu.architecture >= Architecture::ampere, Return::not_supported);
  return 0;
}

std::uint64_t retired(const GpuRecord &gpu, std::uint32_t /*scope*/) {
  require(gpu.architecture < Architecture::ampere, Return::not_supported);
  return 0;
}

constexpr unsigned u32 = abi::value_type_unsigned;
constexpr unsigned u64 = abi::value_type_unsigned_long_long;

constexpr FieldEntry one(std::uint32_t id, unsigned type, Answerer answer) {
  return {.first_id = id, .last_id = id, .value_type = type, .first_link = {}, .answer = answer};
}
constexpr FieldEntry several(std::uint32_t first, std::uint32_t last, unsigned type,
                             Answerer answer) {
  return {
      .first_id = first, .last_id = last, .value_type = type, .first_link = {}, .answer = answer};
}
constexpr FieldEntry links(std::uint32_t first, std::uint32_t last, std::uint32_t link,
                           Answerer answer) {
  return {
      .first_id = first, .last_id = last, .value_type = u32, .first_link = link, .answer = answer};
}

using G = const GpuRecord &;
using Scope = std::uint32_t;

/// NVML's field ids, as nvidia-ml-py numbers them.
constexpr std::array table{
    one(1, u32, [](G g, Scope) { return with_ecc(g, g.ecc_mode == Feature::on); }),
    one(2, u32, [](G g, Scope) { return with_ecc(g, g.ecc_pending == Feature::on); }),
    one(3, u64, [](G g, Scope) { return with_ecc(g, g.ecc_errors_corrected); }),
    one(4, u64, [](G g, Scope) { return with_ecc(g, g.ecc_errors_uncorrected); }),
    one(5, u64, [](G g, Scope) { return with_ecc(g, g.ecc_errors_corrected); }),
    one(6, u64, [](G g, Scope) { return with_ecc(g, g.ecc_errors_uncorrected); }),
    several(29, 31, u32, retired),
    links(84, 89, 0, link_speed),
    one(90, u32, common_link_speed),
    one(91, u32, [](G g, Scope) -> std::uint64_t { return with_links(g, link_count(g)); }),
    several(92, 93, u32, retired),
    several(94, 95, u32, [](G, Scope) -> std::uint64_t { return 0; }), // PCIe replays
    links(132, 137, 6, link_speed),
    several(142, 145, u32, remapped),
    one(147, u32, switch_links),
    // DL replay, recovery and CRC errors of the link in scope
    several(161, 163, u64, [](G g, Scope link) -> std::uint64_t { return need_link(g, link), 0; }),
    one(164, u32, link_speed),
    one(165, u32,
        [](G g, Scope link) { return static_cast<std::uint64_t>(need_link(g, link).state); }),
    one(166, u32, [](G g, Scope link) -> std::uint64_t { return need_link(g, link).version; }),
    one(170, u32, [](G g, Scope) -> std::uint64_t { return need_c2c(g, 0, g.c2c_links); }),
    one(171, u32, [](G g, Scope link) { return need_c2c(g, link, 1); }),
    one(172, u32, [](G g, Scope link) { return need_c2c(g, link, g.c2c_max_bandwidth_mbps); }),
    // Ampere must be reset to change MIG mode; later GPUs need not.
    one(184, u32,
        [](G g, Scope) -> std::uint64_t {
          require(g.mig_mode != Feature::none, Return::not_supported);
          return g.architecture >= Architecture::hopper ? 1 : 0;
        }),
    several(185, 186, u32, [](G g, Scope) { return with_power(g, g.power_usage_mw); }),
    one(187, u32, [](G g, Scope) { return with_power(g, g.power_min_limit_mw); }),
    one(188, u32, [](G g, Scope) { return with_power(g, g.power_max_limit_mw); }),
    one(189, u32, [](G g, Scope) { return with_power(g, g.power_default_limit_mw); }),
    one(190, u32, [](G g, Scope) { return with_power(g, g.power_limit_mw); }),
    one(192, u32, [](G g, Scope) { return with_power(g, g.power_limit_mw); }),
};

const FieldEntry &need_entry(std::uint32_t id) {
  require(id >= first_field && id < field_count, Return::invalid_argument);
  const auto holds = [id](const FieldEntry &e) { return id >= e.first_id && id <= e.last_id; };
  const auto *found = std::ranges::find_if(table, holds);
  require(found != table.end(), Return::not_supported);
  return *found;
}

void answer(const GpuRecord &gpu, abi::FieldValue &field) {
  const FieldEntry &entry = need_entry(field.fieldId);
  const std::uint32_t scope =
      entry.first_link ? *entry.first_link + field.fieldId - entry.first_id : field.scopeId;
  const std::uint64_t value = entry.answer(gpu, scope);
  field.valueType = entry.value_type;
  field.value.ullVal = 0;
  if (entry.value_type == u32) {
    field.value.uiVal = static_cast<unsigned>(value);
  } else {
    field.value.ullVal = value;
  }
}

std::int64_t microseconds_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

} // namespace

NVML_CALL(nvmlDeviceGetFieldValues)(Device device, int count, abi::FieldValue *values) {
  return guarded([&] {
    const GpuRecord gpu = ask(device).gpu;
    require(count > 0 && values != nullptr, Return::invalid_argument);
    for (int i = 0; i < count; ++i) {
      abi::FieldValue &field = values[i];
      field.timestamp = microseconds_now();
      field.latencyUsec = 0;
      field.nvmlReturn = guarded([&] { answer(gpu, field); });
    }
  });
}

} // namespace plumbline::mocknvml
