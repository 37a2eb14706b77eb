#include "session.hpp"

#include "boundary.hpp"
#include "event_sets.hpp"
#include "machine_folder.hpp"
#include "mig_files.hpp"

namespace plumbline::mocknvml {

Session &Session::get() {
  // Never destroyed: programs call NVML from exit handlers.
  static auto *session = new Session;
  return *session;
}

void Session::initialise(unsigned flags) {
  require((flags & ~init_flags_known) == 0, Return::invalid_argument);
  const std::scoped_lock guard(mutex_);
  if (uses_ == 0) {
    state_ = std::make_shared<State>(state_path());
    if (state_->writable()) {
      show_all_instances(*state_); // what a program that was killed may have left undone
    }
  }
  const bool enough = state_->gpu_count() > 0 || (flags & init_flag_no_gpus) != 0;
  if (!enough && uses_ == 0) {
    state_.reset();
  }
  require(enough, Return::gpu_not_found);
  ++uses_;
}

void Session::shut_down() {
  std::shared_ptr<State> last;
  {
    const std::scoped_lock guard(mutex_);
    require(uses_ > 0, Return::uninitialized);
    if (--uses_ > 0) {
      return;
    }
    last = std::move(state_);
  }
  EventSets::get().close_all();
  last->wake_sleepers(); // those that wait on a set find it closed
}

std::shared_ptr<State> Session::state() {
  const std::scoped_lock guard(mutex_);
  require(uses_ > 0, Return::uninitialized);
  require(state_->is_whole(), Return::unknown);
  return state_;
}

NVML_CALL(nvmlInitWithFlags)(unsigned flags) {
  return guarded([&] { Session::get().initialise(flags); });
}

NVML_CALL(nvmlInit_v2)() { return nvmlInitWithFlags(0); }

NVML_CALL(nvmlInit)() { return nvmlInitWithFlags(0); }

NVML_CALL(nvmlShutdown)() {
  return guarded([] { Session::get().shut_down(); });
}

} // namespace plumbline::mocknvml
