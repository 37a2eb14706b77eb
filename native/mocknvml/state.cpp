#include "state.hpp"

#include "boundary.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstddef>
#include <ctime>

namespace plumbline::mocknvml {

namespace {

/// A stopped owner must not hang the callers of everybody else for ever.
constexpr std::time_t lock_patience_s = 10;

// Shared memory is copied in words with relaxed atomic accesses: a reader may look while a
// writer is at work, and finds out afterwards whether that spoilt what it read.

void copy_out(const void *shared, void *own, std::size_t size) {
  auto *from = static_cast<std::uint64_t *>(const_cast<void *>(shared));
  auto *to = static_cast<std::byte *>(own);
  for (std::size_t word = 0; word < size / 8; ++word) {
    const std::uint64_t value = __atomic_load_n(from + word, __ATOMIC_RELAXED);
    std::memcpy(to + word * 8, &value, 8);
  }
}

void copy_in(const void *own, void *shared, std::size_t size) {
  const auto *from = static_cast<const std::byte *>(own);
  auto *to = static_cast<std::uint64_t *>(shared);
  for (std::size_t word = 0; word < size / 8; ++word) {
    std::uint64_t value = 0;
    std::memcpy(&value, from + word * 8, 8);
    __atomic_store_n(to + word, value, __ATOMIC_RELAXED);
  }
}

constexpr std::size_t whole_words(std::size_t size) { return (size + 7) / 8 * 8; }

struct Range {
  std::size_t offset;
  std::size_t size;
};

/// The parts of a MachineRecord that a machine of that many GPUs uses.
std::array<Range, 4> used_parts(std::size_t gpus) {
  const std::size_t pairs = gpus * (gpus > 0 ? gpus - 1 : 0) / 2;
  return {Range{0, offsetof(MachineRecord, gpus)},
          Range{offsetof(MachineRecord, gpus), gpus * sizeof(GpuRecord)},
          Range{offsetof(MachineRecord, partitions), gpus * sizeof(PartitionRecord)},
          Range{offsetof(MachineRecord, pairs), whole_words(pairs * sizeof(PairRecord))}};
}

void copy_used(const void *shared, MachineRecord &own, std::size_t gpus) {
  for (const auto [offset, size] : used_parts(gpus)) {
    copy_out(static_cast<const std::byte *>(shared) + offset,
             reinterpret_cast<std::byte *>(&own) + offset, size);
  }
}

static_assert(offsetof(MachineRecord, gpus) % 8 == 0 && offsetof(MachineRecord, pairs) % 8 == 0);
static_assert(offsetof(MachineRecord, partitions) % 8 == 0 && sizeof(PartitionRecord) % 8 == 0);
static_assert(sizeof(GpuRecord) % 8 == 0 && sizeof(EventRecord) % 8 == 0);

long futex(const std::atomic<std::uint32_t> &word, int operation, std::uint32_t value,
           const timespec *limit) {
  return ::syscall(SYS_futex, &word, operation, value, limit, nullptr, 0);
}

} // namespace

void Draft::emit(std::uint32_t gpu, std::uint64_t type, std::uint64_t data,
                 std::uint32_t gpu_instance, std::uint32_t compute_instance) {
  events.push_back(EventRecord{.sequence = 0,
                               .type = type,
                               .data = data,
                               .gpu = gpu,
                               .gpu_instance = gpu_instance,
                               .compute_instance = compute_instance,
                               .reserved = 0});
}

/// The right to change the state; taken over from an owner that died.
class State::Lock {
public:
  explicit Lock(StateHeader &header) : header_(header) {
    timespec deadline{};
    ::clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += lock_patience_s;
    const int error = pthread_mutex_clocklock(&header_.lock, CLOCK_MONOTONIC, &deadline);
    if (error == EOWNERDEAD) {
      // Its half-written copy was never published and will be overwritten; only those it
      // may have published events for without waking them need something.
      pthread_mutex_consistent(&header_.lock);
      header_.event_signal.fetch_add(1);
      futex(header_.event_signal, FUTEX_WAKE, INT_MAX, nullptr);
    } else if (error != 0) {
      throw Failure{error == ETIMEDOUT ? Return::timeout : Return::operating_system};
    }
  }
  ~Lock() { pthread_mutex_unlock(&header_.lock); }
  Lock(const Lock &) = delete;
  Lock &operator=(const Lock &) = delete;

private:
  StateHeader &header_;
};

/// Runs `copy` on the current facts until no writer can have disturbed it.
template <class Copy> void State::undisturbed(const Copy &copy) const {
  const StateImage &image = file_.image();
  while (true) {
    const std::uint64_t commit = image.header.published.load(std::memory_order_acquire);
    copy(reinterpret_cast<const std::byte *>(&image.copies[commit % 2]));
    std::atomic_thread_fence(std::memory_order_acquire);
    // The next commit goes into the other copy; only the one after it spoils this one.
    if (image.header.writing.load(std::memory_order_relaxed) <= commit + 1) {
      return;
    }
  }
}

template <class Record> Record State::read(std::size_t offset) const {
  // Records start anywhere on four bytes; the copy is of the whole words around them.
  const std::size_t start = offset / 8 * 8;
  alignas(8) std::array<std::byte, whole_words(sizeof(Record)) + 8> words;
  undisturbed([&](const std::byte *facts) {
    copy_out(facts + start, words.data(), whole_words(offset - start + sizeof(Record)));
  });
  Record record;
  std::memcpy(&record, words.data() + (offset - start), sizeof(Record));
  return record;
}

std::uint32_t State::gpu_count() const {
  const auto count = read<std::uint32_t>(offsetof(MachineRecord, gpu_count));
  return count < max_gpus ? count : max_gpus;
}

SystemRecord State::system() const { return read<SystemRecord>(offsetof(MachineRecord, system)); }

GpuRecord State::gpu(std::size_t index) const {
  return read<GpuRecord>(offsetof(MachineRecord, gpus) + index * sizeof(GpuRecord));
}

PartitionRecord State::partition(std::size_t index) const {
  return read<PartitionRecord>(offsetof(MachineRecord, partitions) +
                               index * sizeof(PartitionRecord));
}

PairRecord State::pair(std::size_t a, std::size_t b) const {
  return read<PairRecord>(offsetof(MachineRecord, pairs) + pair_index(a, b) * sizeof(PairRecord));
}

std::unique_ptr<MachineRecord> State::everything() const {
  auto machine = std::make_unique_for_overwrite<MachineRecord>();
  const std::uint32_t gpus = gpu_count();
  undisturbed([&](const std::byte *facts) { copy_used(facts, *machine, gpus); });
  return machine;
}

void State::change(const std::function<void(Draft &)> &edit) {
  if (!writable()) {
    throw Failure{Return::no_permission};
  }
  StateImage &image = file_.image();
  const Lock lock(image.header);
  const MachineRecord &current = image.copies[image.header.published.load() % 2];
  const auto machine = std::make_unique_for_overwrite<MachineRecord>();
  copy_used(&current, *machine, current.gpu_count);
  Draft draft{.machine = *machine, .events = {}};
  edit(draft);
  publish(draft);
}

void State::publish(const Draft &draft) {
  if (draft.events.size() > events_per_commit) {
    throw Failure{Return::insufficient_resources};
  }
  StateImage &image = file_.image();
  StateHeader &header = image.header;
  const std::uint64_t commit = header.published.load(std::memory_order_relaxed) + 1;
  header.writing.store(commit, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);

  for (EventRecord event : draft.events) {
    event.sequence = draft.machine.events_published++;
    copy_in(&event, &image.ring[event.sequence % ring_size], sizeof(event));
  }
  auto *spare = reinterpret_cast<std::byte *>(&image.copies[commit % 2]);
  for (const auto [offset, size] : used_parts(draft.machine.gpu_count)) {
    copy_in(reinterpret_cast<const std::byte *>(&draft.machine) + offset, spare + offset, size);
  }
  header.published.store(commit, std::memory_order_release);

  if (!draft.events.empty()) {
    header.event_signal.fetch_add(1);
    wake_sleepers();
  }
}

std::uint64_t State::next_event() const {
  return read<std::uint64_t>(offsetof(MachineRecord, events_published));
}

std::uint64_t State::oldest_event() const {
  const std::uint64_t next = next_event();
  constexpr std::uint64_t readable = ring_size - events_per_commit;
  return next > readable ? next - readable : 0;
}

bool State::read_event(std::uint64_t sequence, EventRecord &event) const {
  copy_out(&file_.image().ring[sequence % ring_size], &event, sizeof(event));
  std::atomic_thread_fence(std::memory_order_acquire);
  return sequence >= oldest_event();
}

void State::count_missed(std::uint64_t events) {
  if (writable()) {
    file_.image().header.events_missed.fetch_add(events, std::memory_order_relaxed);
  }
}

std::uint64_t State::events_missed() const {
  return file_.image().header.events_missed.load(std::memory_order_relaxed);
}

std::uint32_t State::event_signal() const {
  return file_.image().header.event_signal.load(std::memory_order_acquire);
}

void State::sleep_for_event(std::uint32_t seen, std::chrono::nanoseconds limit) const {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
  const timespec time{.tv_sec = seconds.count(), .tv_nsec = (limit - seconds).count()};
  futex(file_.image().header.event_signal, FUTEX_WAIT, seen, &time);
}

void State::wake_sleepers() const {
  futex(file_.image().header.event_signal, FUTEX_WAKE, INT_MAX, nullptr);
}

} // namespace plumbline::mocknvml
