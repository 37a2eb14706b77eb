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

/// No index of something there is none of is valid.
Return no_such() noexcept {
  return guarded([] {
    Session::get().state();
    throw Failure(Return::invalid_argument);
  });
}

} // namespace

NVML_CALL(nvmlUnitGetCount)(unsigned *count) { return none(count); }

NVML_CALL(nvmlUnitGetHandleByIndex)(unsigned /*index*/, void ** /*unit*/) { return no_such(); }

NVML_CALL(nvmlGetExcludedDeviceCount)(unsigned *count) { return none(count); }

NVML_CALL(nvmlGetExcludedDeviceInfoByIndex)(unsigned /*index*/,
                                            abi::ExcludedDeviceInfo * /*info*/) {
  return no_such();
}

NVML_CALL(nvmlGetBlacklistDeviceCount)(unsigned *count) { return none(count); }

NVML_CALL(nvmlGetBlacklistDeviceInfoByIndex)(unsigned /*index*/,
                                             abi::ExcludedDeviceInfo * /*info*/) {
  return no_such();
}

} // namespace plumbline::mocknvml
