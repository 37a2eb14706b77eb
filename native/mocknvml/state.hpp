// The shared state of one simulated machine: reads without a lock, changes that
// happen whole or not at all wherever a process is killed, and events.
//
// The facts lie in two copies. A change is written into the copy that is not
// current and published by one atomic store. A reader copies what it wants out of
// the current copy and takes it only if no later change can have begun to
// overwrite it meanwhile.
#pragma once

#include "state_file.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

namespace plumbline::mocknvml {

/// A change in the making: facts to be edited, and events that tell of it.
struct Draft {
  MachineRecord &machine;
  std::vector<EventRecord> events;

  /// An event of the whole GPU, unless instances are given.
  void emit(std::uint32_t gpu, std::uint64_t type, std::uint64_t data,
            std::uint32_t gpu_instance = any_instance,
            std::uint32_t compute_instance = any_instance);
};

class State {
public:
  /// Throws StateUnusable.
  explicit State(const std::filesystem::path &path) : file_(path) {}

  [[nodiscard]] bool writable() const { return file_.writable(); }
  [[nodiscard]] bool is_whole() const { return file_.is_whole(); }

  [[nodiscard]] std::uint32_t gpu_count() const;
  [[nodiscard]] SystemRecord system() const;
  [[nodiscard]] GpuRecord gpu(std::size_t index) const;
  [[nodiscard]] PartitionRecord partition(std::size_t index) const;
  [[nodiscard]] PairRecord pair(std::size_t a, std::size_t b) const;
  /// All of the above; what lies beyond the machine's GPUs and pairs is indeterminate.
  [[nodiscard]] std::unique_ptr<MachineRecord> everything() const;

  /// Applies `edit` and publishes the result with its events, in one step that readers
  /// see whole. What `edit` throws leaves everything as it was. Throws Failure
  /// (no_permission, timeout).
  void change(const std::function<void(Draft &)> &edit);

  /// Sequence number of the next event.
  [[nodiscard]] std::uint64_t next_event() const;
  /// Sequence number of the oldest event that can still be read.
  [[nodiscard]] std::uint64_t oldest_event() const;
  /// False when the event has been overwritten.
  bool read_event(std::uint64_t sequence, EventRecord &event) const;
  /// For the record: an event set lost that many events because it read too late.
  void count_missed(std::uint64_t events);
  [[nodiscard]] std::uint64_t events_missed() const;
  [[nodiscard]] std::uint32_t event_signal() const;
  /// Sleeps until event_signal() is no longer `seen`, `limit` has passed, or for no reason.
  void sleep_for_event(std::uint32_t seen, std::chrono::nanoseconds limit) const;
  void wake_sleepers() const;

private:
  StateFile file_;

  class Lock;
  template <class Record> [[nodiscard]] Record read(std::size_t offset) const;
  template <class Copy> void undisturbed(const Copy &copy) const;
  void publish(const Draft &draft);
};

} // namespace plumbline::mocknvml
