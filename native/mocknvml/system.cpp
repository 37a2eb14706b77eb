// The driver as a whole: versions, names of processes, texts of return codes.
#include "boundary.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <string>

namespace plumbline::mocknvml {

namespace {

constexpr std::array error_texts{
    std::pair{Return::success, "The operation was successful"},
    std::pair{Return::uninitialized, "Uninitialized"},
    std::pair{Return::invalid_argument, "Invalid Argument"},
    std::pair{Return::not_supported, "Not Supported"},
    std::pair{Return::no_permission, "Insufficient Permissions"},
    std::pair{Return::already_initialized, "Already Initialized"},
    std::pair{Return::not_found, "Not Found"},
    std::pair{Return::insufficient_size, "Insufficient Size"},
    std::pair{Return::insufficient_power, "Insufficient External Power"},
    std::pair{Return::driver_not_loaded, "Driver Not Loaded"},
    std::pair{Return::timeout, "Timeout"},
    std::pair{Return::irq_issue, "Interrupt Request Issue"},
    std::pair{Return::library_not_found, "NVML Shared Library Not Found"},
    std::pair{Return::function_not_found, "Function Not Found"},
    std::pair{Return::corrupted_inforom, "Corrupted infoROM"},
    std::pair{Return::gpu_is_lost, "GPU is lost"},
    std::pair{Return::reset_required, "GPU requires restart"},
    std::pair{Return::operating_system, "The operating system has blocked the request"},
    std::pair{Return::lib_rm_version_mismatch, "Driver/library version mismatch"},
    std::pair{Return::in_use, "In use by another client"},
    std::pair{Return::memory, "Insufficient Memory"},
    std::pair{Return::no_data, "No data"},
    std::pair{Return::vgpu_ecc_not_supported, "vGPU does not support ECC"},
    std::pair{Return::insufficient_resources, "Insufficient Resources"},
    std::pair{Return::freq_not_supported, "Frequency Not Supported"},
    std::pair{Return::argument_version_mismatch, "Argument Version Mismatch"},
    std::pair{Return::deprecated, "Deprecated"},
    std::pair{Return::not_ready, "Not Ready"},
    std::pair{Return::gpu_not_found, "GPU Not Found"},
    std::pair{Return::invalid_state, "Invalid State"},
    std::pair{Return::reset_type_not_supported, "Reset Type Not Supported"},
    std::pair{Return::unknown, "Unknown Error"},
};

template <class Get> Return tell_system(char *buffer, unsigned length, const Get &get) noexcept {
  return guarded([&] {
    const SystemRecord system = Session::get().state()->system();
    put_text(get(system), buffer, length);
  });
}

/// `r570_00` of 570.124.06: the branch a driver version was released from.
std::string branch_of(std::string_view version) {
  return "r" + std::string(version.substr(0, version.find('.'))) + "_00";
}

/// The start of a file up to the first `end`; empty when it cannot be read.
std::string read_until(const std::string &path, char end) {
  std::array<char, 4096> start{};
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const ssize_t length = file < 0 ? 0 : ::read(file, start.data(), start.size());
  if (file >= 0) {
    ::close(file);
  }
  const std::string_view text(start.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
  return std::string(text.substr(0, text.find(end)));
}

/// The program a process runs, as its first argument names it. Throws not_found.
std::string process_name(unsigned pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  std::string name = read_until(folder + "/cmdline", '\0');
  if (name.empty()) { // a kernel thread
    name = read_until(folder + "/comm", '\n');
  }
  require(!name.empty(), Return::not_found);
  return name;
}

} // namespace

extern "C" __attribute__((visibility("default"))) const char *nvmlErrorString(Return code) {
  for (const auto &[known, text] : error_texts) {
    if (known == code) {
      return text;
    }
  }
  return "Unknown Error";
}

NVML_CALL(nvmlSystemGetDriverVersion)(char *version, unsigned length) {
  return tell_system(version, length,
                     [](const SystemRecord &s) { return s.driver_version.view(); });
}

NVML_CALL(nvmlSystemGetNVMLVersion)(char *version, unsigned length) {
  return tell_system(version, length, [](const SystemRecord &s) { return s.nvml_version.view(); });
}

NVML_CALL(nvmlSystemGetCudaDriverVersion_v2)(int *version) {
  return guarded([&] {
    const SystemRecord system = Session::get().state()->system();
    need(version) = static_cast<int>(system.cuda_version);
  });
}

NVML_CALL(nvmlSystemGetCudaDriverVersion)(int *version) {
  return nvmlSystemGetCudaDriverVersion_v2(version);
}

NVML_CALL(nvmlSystemGetDriverBranch)(abi::DriverBranchInfo *info, unsigned length) {
  return guarded([&] {
    const SystemRecord system = Session::get().state()->system();
    abi::DriverBranchInfo &target = need_version(info, 1);
    const auto room = std::min<unsigned>(length, sizeof(target.branch));
    put_text(branch_of(system.driver_version.view()), target.branch, room);
  });
}

NVML_CALL(nvmlSystemGetProcessName)(unsigned pid, char *name, unsigned length) {
  return guarded([&] {
    Session::get().state();
    require(name != nullptr && length > 0, Return::invalid_argument);
    put_text(process_name(pid), name, length);
  });
}

} // namespace plumbline::mocknvml
