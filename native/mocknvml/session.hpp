// This process's use of the driver: counted initialisations and the state they share.
#pragma once

#include "state.hpp"

#include <mutex>

namespace plumbline::mocknvml {

class Session {
public:
  static Session &get();

  /// Throws StateUnusable, or Failure when the machine has no GPU and `flags` do not
  /// allow that.
  void initialise(unsigned flags);
  /// Throws Failure(uninitialized).
  void shut_down();
  /// The machine. Throws Failure: uninitialized, or unknown once its file was damaged.
  std::shared_ptr<State> state();

private:
  std::mutex mutex_;
  unsigned uses_ = 0;
  std::shared_ptr<State> state_;
};

} // namespace plumbline::mocknvml
