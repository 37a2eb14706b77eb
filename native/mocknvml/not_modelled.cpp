// The functions of the driver library that the simulated driver does not model, so
// that programs that look them up find them. The names stand in not_modelled_names.hpp.
#include "boundary.hpp"

namespace plumbline::mocknvml {

namespace {

Return not_modelled() noexcept {
  return guarded([] {
    Session::get().state();
    throw Failure{Return::not_supported};
  });
}

Return not_modelled_of(Device device) noexcept {
  return guarded([device] {
    ask(device);
    throw Failure{Return::not_supported};
  });
}

} // namespace

// The arguments that these do not name are the caller's business: the C calling
// conventions of the driver's platforms let a callee leave them alone.
#define NOT_MODELLED(name)                                                                         \
  NVML_CALL(name)() { return not_modelled(); }
#define NOT_MODELLED_OF_DEVICE(name)                                                               \
  NVML_CALL(name)(Device device) { return not_modelled_of(device); }
#include "not_modelled_names.hpp"

} // namespace plumbline::mocknvml
