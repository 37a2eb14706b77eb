#include "event_sets.hpp"

#include "boundary.hpp"

#include <algorithm>
#include <utility>

namespace plumbline::mocknvml {

namespace {

/// A publisher may be killed after it published and before it woke the sleepers.
constexpr std::chrono::milliseconds longest_sleep{100};

using Clock = std::chrono::steady_clock;

} // namespace

void EventSet::add(std::size_t gpu, std::uint64_t types) {
  const std::scoped_lock guard(mutex_);
  const std::uint64_t now = state_->next_event();
  if (interests_.empty()) {
    cursor_ = now;
  }
  std::vector<Interest> &of_gpu = interests_[gpu];
  for (std::uint64_t type = 1; type != 0; type <<= 1U) {
    const auto known = [type](const Interest &interest) { return interest.type == type; };
    if ((types & type) != 0 && std::ranges::none_of(of_gpu, known)) {
      of_gpu.push_back({.type = type, .since = now});
    }
  }
}

bool EventSet::wants(const EventRecord &event) const {
  const auto of_gpu = interests_.find(event.gpu);
  if (of_gpu == interests_.end()) {
    return false;
  }
  return std::ranges::any_of(of_gpu->second, [&](const Interest &interest) {
    return interest.type == event.type && event.sequence >= interest.since;
  });
}

std::optional<EventRecord> EventSet::take_next() {
  const std::scoped_lock guard(mutex_);
  require(!closed_, Return::uninitialized);
  require(state_->is_whole(), Return::unknown);
  if (interests_.empty()) {
    return std::nullopt;
  }
  while (cursor_ < state_->next_event()) {
    EventRecord event{};
    if (!state_->read_event(cursor_, event)) {
      skip_overwritten();
      continue;
    }
    ++cursor_;
    if (wants(event)) {
      return event;
    }
  }
  return std::nullopt;
}

void EventSet::skip_overwritten() {
  const std::uint64_t oldest = state_->oldest_event();
  state_->count_missed(oldest - cursor_);
  cursor_ = oldest;
}

std::optional<EventRecord> EventSet::wait(std::chrono::milliseconds patience) {
  const auto deadline = Clock::now() + patience;
  while (true) {
    // Read before looking: an event published after the look changes it.
    const std::uint32_t signal = state_->event_signal();
    if (auto event = take_next()) {
      return event;
    }
    const auto left = deadline - Clock::now();
    if (left <= Clock::duration::zero()) {
      return std::nullopt;
    }
    state_->sleep_for_event(signal, std::min<std::chrono::nanoseconds>(left, longest_sleep));
  }
}

void EventSet::close() {
  {
    const std::scoped_lock guard(mutex_);
    closed_ = true;
  }
  state_->wake_sleepers();
}

EventSets &EventSets::get() {
  // Never destroyed: programs call NVML from exit handlers.
  static auto *sets = new EventSets;
  return *sets;
}

void *EventSets::create(std::shared_ptr<State> state) {
  auto set = std::make_shared<EventSet>(std::move(state));
  void *handle = set.get();
  const std::scoped_lock guard(mutex_);
  sets_.emplace(handle, std::move(set));
  return handle;
}

std::shared_ptr<EventSet> EventSets::find(void *handle) {
  const std::scoped_lock guard(mutex_);
  const auto found = sets_.find(handle);
  require(found != sets_.end(), Return::invalid_argument);
  return found->second;
}

std::shared_ptr<EventSet> EventSets::remove(void *handle) {
  const std::scoped_lock guard(mutex_);
  auto node = sets_.extract(handle);
  require(!node.empty(), Return::invalid_argument);
  return std::move(node.mapped());
}

void EventSets::close_all() {
  std::map<void *, std::shared_ptr<EventSet>> closing;
  {
    const std::scoped_lock guard(mutex_);
    closing.swap(sets_);
  }
  for (const auto &[handle, set] : closing) {
    set->close();
  }
}

} // namespace plumbline::mocknvml
