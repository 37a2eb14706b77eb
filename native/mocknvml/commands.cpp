#include "commands.hpp"

#include "boundary.hpp"
#include "description.hpp"
#include "events.hpp"
#include "mig_files.hpp"
#include "rules.hpp"

namespace plumbline::mocknvml {

namespace {

/// The GPU has fallen off the bus.
constexpr std::uint64_t xid_gpu_lost = 79;

constexpr std::array event_words{
    Word{"ecc-single", event_type::ecc_single},
    Word{"ecc-double", event_type::ecc_double},
    Word{"clock", event_type::clock},
    Word{"pstate", event_type::pstate},
    Word{"power-source", event_type::power_source},
    Word{"mig-config", event_type::mig_config},
};

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

/// Takes the number of a GPU the machine has off the text.
std::uint32_t take_gpu(const Draft &draft, std::string_view &text) {
  const std::string_view word = take_word(text);
  std::uint32_t gpu = 0;
  if (!read(word, gpu) || gpu >= draft.machine.gpu_count) {
    throw DescriptionError(quoted(word) + ": expected the number of a gpu, below " +
                           std::to_string(draft.machine.gpu_count));
  }
  return gpu;
}

template <class Number> Number take_number(std::string_view &text, std::string_view called) {
  const std::string_view word = take_word(text);
  Number number = 0;
  if (!read(word, number)) {
    throw DescriptionError(std::string(called) + " " + quoted(word) + ": expected " +
                           expectation(As<Number>{}));
  }
  return number;
}

void require_end(std::string_view text) {
  if (!trimmed(text).empty()) {
    throw DescriptionError(quoted(trimmed(text)) + ": nothing is expected here");
  }
}

void run_set(Draft &draft, std::string_view text) {
  const Place place = take_place(text);
  const std::string_view name = take_word(text);
  const std::string_view value = trimmed(text);
  const Field &field = need_field(place, name, value);
  const std::string what = place.text() + " " + std::string(name) + " " + quoted(value);
  if (!field.changeable) {
    const std::string_view other = nearest_field(*place.subject, name, true);
    throw DescriptionError(
        what + ": this field cannot be changed" +
        (other.empty() ? "" : "; the nearest that can is " + std::string(other)));
  }
  const std::string_view first_index = place.subject->indices[0];
  if (first_index == "gpu" && place.index[0] >= draft.machine.gpu_count) {
    throw DescriptionError(what + ": expected the number of a gpu, below " +
                           std::to_string(draft.machine.gpu_count));
  }
  if (place.subject == &nvlink_subject &&
      draft.machine.gpus[place.index[0]].links[place.index[1]].present == 0) {
    throw DescriptionError(what + ": the gpu has no such link");
  }
  set_value(draft.machine, place, field, value);
}

void run_xid(Draft &draft, std::string_view text) {
  const std::uint32_t gpu = take_gpu(draft, text);
  const auto code = take_number<std::uint64_t>(text, "code");
  std::uint32_t gpu_instance = any_instance;
  std::uint32_t compute_instance = any_instance;
  if (!trimmed(text).empty()) {
    gpu_instance = take_number<std::uint32_t>(text, "gi");
    compute_instance = take_number<std::uint32_t>(text, "ci");
  }
  require_end(text);
  draft.emit(gpu, event_type::xid, code, gpu_instance, compute_instance);
}

void run_event(Draft &draft, std::string_view text) {
  const std::uint32_t gpu = take_gpu(draft, text);
  const std::string_view name = take_word(text);
  const auto *const word = std::ranges::find(event_words, name, &Word<std::uint64_t>::spelling);
  if (word == event_words.end()) {
    std::vector<std::string_view> names;
    names.reserve(event_words.size());
    for (const auto &known : event_words) {
      names.push_back(known.spelling);
    }
    throw DescriptionError(quoted(name) + ": there is no such event; the nearest is " +
                           std::string(nearest(name, names)));
  }
  if ((supported_events(draft.machine.gpus[gpu]) & word->value) == 0) {
    throw DescriptionError("gpu " + std::to_string(gpu) + " has no " + std::string(name) +
                           " events: its ecc_mode or mig_mode is none");
  }
  const std::uint64_t data = trimmed(text).empty() ? 0 : take_number<std::uint64_t>(text, "data");
  require_end(text);
  draft.emit(gpu, word->value, data);
}

void run_lose(Draft &draft, std::string_view text) {
  const std::uint32_t gpu = take_gpu(draft, text);
  const std::string_view how = take_word(text);
  if (!how.empty() && how != "silently") {
    throw DescriptionError(quoted(how) + ": expected silently, or nothing");
  }
  require_end(text);
  const bool was_there = draft.machine.gpus[gpu].lost == Answer::no;
  draft.machine.gpus[gpu].lost = Answer::yes;
  if (was_there && how.empty()) {
    draft.emit(gpu, event_type::xid, xid_gpu_lost);
  }
}

void run_restore(Draft &draft, std::string_view text) {
  const std::uint32_t gpu = take_gpu(draft, text);
  require_end(text);
  draft.machine.gpus[gpu].lost = Answer::no;
}

/// occupy <gpu> <pid> <memory MiB> [<gpu instance> <compute instance>]
void run_occupy(Draft &draft, std::string_view text) {
  const std::uint32_t gpu = take_gpu(draft, text);
  PartitionRecord &partition = draft.machine.partitions[gpu];
  ProcessRecord process{.present = 1,
                        .pid = take_number<std::uint32_t>(text, "pid"),
                        .memory_bytes = take_number<std::uint64_t>(text, "memory in MiB") << 20U,
                        .gpu_instance = any_instance,
                        .compute_instance = any_instance};
  if (!trimmed(text).empty()) {
    const auto gi = take_number<std::uint32_t>(text, "gi");
    const auto ci = take_number<std::uint32_t>(text, "ci");
    if (gi >= max_gpu_instances || ci >= max_compute_instances ||
        partition.instances[gi].present == 0 || partition.instances[gi].compute[ci].present == 0) {
      throw DescriptionError("gpu " + std::to_string(gpu) + " has no compute instance " +
                             std::to_string(ci) + " in a GPU instance " + std::to_string(gi));
    }
    process.gpu_instance = gi;
    process.compute_instance = ci;
  } else if (draft.machine.gpus[gpu].mig_mode == Feature::on) {
    throw DescriptionError("gpu " + std::to_string(gpu) +
                           " is in MIG mode: name a GPU instance and a compute instance");
  }
  require_end(text);
  auto *const slot = std::ranges::find(partition.processes, 0U, &ProcessRecord::present);
  if (slot == partition.processes.end()) {
    throw DescriptionError("gpu " + std::to_string(gpu) + " has " + std::to_string(max_processes) +
                           " processes: there is no room for more");
  }
  *slot = process;
}

/// release <gpu> <pid>
void run_release(Draft &draft, std::string_view text) {
  const std::uint32_t gpu = take_gpu(draft, text);
  const auto pid = take_number<std::uint32_t>(text, "pid");
  require_end(text);
  bool found = false;
  for (ProcessRecord &process : draft.machine.partitions[gpu].processes) {
    if (process.present != 0 && process.pid == pid) {
      process = {};
      found = true;
    }
  }
  if (!found) {
    throw DescriptionError("gpu " + std::to_string(gpu) + " has no process " + std::to_string(pid));
  }
}

/// reset <gpu>: what nvidia-smi --gpu-reset does. Pending modes become current, instances are
/// gone; refused while a process is at work on the GPU.
void run_reset(Draft &draft, std::string_view text) {
  const std::uint32_t gpu = take_gpu(draft, text);
  require_end(text);
  GpuRecord &record = draft.machine.gpus[gpu];
  PartitionRecord &partition = draft.machine.partitions[gpu];
  for (const ProcessRecord &process : partition.processes) {
    if (process.present != 0) {
      throw DescriptionError("gpu " + std::to_string(gpu) + " is in use by process " +
                             std::to_string(process.pid));
    }
  }
  const bool changed = record.mig_mode != record.mig_pending;
  record.mig_mode = record.mig_pending;
  record.ecc_mode = record.ecc_pending;
  record.lost = Answer::no;
  partition.instances = {};
  if (changed) {
    draft.emit(gpu, event_type::mig_config, 0);
  }
}

using Run = void (*)(Draft &, std::string_view);
constexpr std::array<std::pair<std::string_view, Run>, 8> commands{{
    {"set", run_set},
    {"xid", run_xid},
    {"event", run_event},
    {"lose", run_lose},
    {"restore", run_restore},
    {"occupy", run_occupy},
    {"release", run_release},
    {"reset", run_reset},
}};

void run_line(Draft &draft, std::string_view line) {
  const std::string_view name = take_word(line);
  std::vector<std::string_view> names;
  names.reserve(commands.size());
  for (const auto &[known, run] : commands) {
    if (known == name) {
      run(draft, line);
      return;
    }
    names.push_back(known);
  }
  throw DescriptionError(quoted(name) + ": there is no such command; the nearest is " +
                         std::string(nearest(name, names)));
}

void run_lines(Draft &draft, std::string_view text) {
  std::size_t number = 0;
  for (const std::string_view raw : lines_of(text)) {
    ++number;
    const std::string_view line = trimmed(raw);
    if (line.empty() || line.starts_with('#')) {
      continue;
    }
    try {
      run_line(draft, line);
    } catch (const DescriptionError &error) {
      throw DescriptionError("line " + std::to_string(number) + ": " + error.what());
    }
  }
}

} // namespace

void run_command(State &state, std::string_view text) {
  state.change([text](Draft &draft) {
    run_lines(draft, text);
    if (draft.events.size() > events_per_commit) {
      throw DescriptionError("a command can cause at most " + std::to_string(events_per_commit) +
                             " events");
    }
    if (const std::string complaint = contradiction(draft.machine); !complaint.empty()) {
      throw DescriptionError(complaint);
    }
  });
  show_all_instances(state);
}

} // namespace plumbline::mocknvml
