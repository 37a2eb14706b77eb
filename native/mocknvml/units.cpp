// What a machine has none of: excluded devices and S-class units.
#include "boundary.hpp"

namespace plumbline::mocknvml {

namespace {

Return none(unsigned *count) noexcept {
  return guarded([&] {
    Session::get().state();
    need(count) = 0;
  });
}

/// No index is valid.
Return no_such(const void *target) noexcept {
  return guarded([&] {
    Session::get().state();
    require(target == nullptr, Return::invalid_argument);
    throw Failure{Return::invalid_argument};
  });
}

} // namespace

NVML_CALL(nvmlUnitGetCount)(unsigned *count) { return none(count); }

NVML_CALL(nvmlUnitGetHandleByIndex)(unsigned, void **unit) { return no_such(unit); }

NVML_CALL(nvmlGetExcludedDeviceCount)(unsigned *count) { return none(count); }

NVML_CALL(nvmlGetExcludedDeviceInfoByIndex)(unsigned, abi::ExcludedDeviceInfo *info) {
  return no_such(info);
}

NVML_CALL(nvmlGetBlacklistDeviceCount)(unsigned *count) { return none(count); }

NVML_CALL(nvmlGetBlacklistDeviceInfoByIndex)(unsigned, abi::ExcludedDeviceInfo *info) {
  return no_such(info);
}

} // namespace plumbline::mocknvml
