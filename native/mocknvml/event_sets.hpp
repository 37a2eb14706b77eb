// Event sets: what each waits for, and how far it has read the machine's events.
#pragma once

#include "state.hpp"

#include <array>
#include <map>
#include <mutex>
#include <optional>

namespace plumbline::mocknvml {

/// One event set of this process.
class EventSet {
public:
  explicit EventSet(std::shared_ptr<State> state) : state_(std::move(state)) {}

  /// From now on, events of these types of this GPU belong to the set.
  void add(std::size_t gpu, std::uint64_t types);
  /// The next event of the set, or none after `patience`. Throws Failure(uninitialized)
  /// when the set is closed meanwhile.
  std::optional<EventRecord> wait(std::chrono::milliseconds patience);
  void close();

private:
  /// A kind of event of one GPU, and the first event that counts.
  struct Interest {
    std::uint64_t type;
    std::uint64_t since;
  };

  std::shared_ptr<State> state_;
  std::mutex mutex_;
  std::map<std::size_t, std::vector<Interest>> interests_;
  std::uint64_t cursor_ = 0;
  bool closed_ = false;

  std::optional<EventRecord> take_next();
  void skip_overwritten();
  [[nodiscard]] bool wants(const EventRecord &event) const;
};

/// The event sets of this process, by handle.
class EventSets {
public:
  static EventSets &get();

  void *create(std::shared_ptr<State> state);
  /// Throws Failure(invalid_argument) for what is no event set.
  std::shared_ptr<EventSet> find(void *handle);
  std::shared_ptr<EventSet> remove(void *handle);
  void close_all();

private:
  std::mutex mutex_;
  std::map<void *, std::shared_ptr<EventSet>> sets_;
};

} // namespace plumbline::mocknvml
