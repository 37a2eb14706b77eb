#include "description.hpp"

#include "rules.hpp"

#include <algorithm>
#include <bitset>
#include <map>

namespace plumbline::mocknvml {

namespace {

constexpr std::string_view blank = " \t\r";
constexpr std::string_view first_line = "machine 1";

/// How many records an index of a subject can name.
std::uint32_t index_limit(std::string_view index_name) {
  if (index_name == "link") {
    return max_links;
  }
  return index_name == "profile" ? max_mig_profiles : max_gpus;
}

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

/// Reads a description line by line, then sees to what was left out.
class Parser {
public:
  Parser() : machine_(std::make_unique<MachineRecord>()) {}

  std::unique_ptr<MachineRecord> parse(std::string_view text);

private:
  std::unique_ptr<MachineRecord> machine_;
  std::map<Place, std::bitset<max_fields>> given_;

  void read_line(std::string_view line);
  void count_gpus();
  void check_place(const Place &place) const;
  void require_pairs();
  void fill_in(const Place &place, const std::bitset<max_fields> &given);
  void fill_in_field(const Place &place, const Field &field);
  [[nodiscard]] bool gives(std::string_view subject, std::uint32_t a, std::uint32_t b,
                           std::string_view field) const;
};

std::unique_ptr<MachineRecord> Parser::parse(std::string_view text) {
  std::size_t number = 0;
  bool begun = false;
  for (const std::string_view raw : lines_of(text)) {
    ++number;
    const std::string_view line = trimmed(raw);
    if (line.empty() || line.starts_with('#')) {
      continue;
    }
    try {
      if (!begun && line != first_line) {
        throw DescriptionError("the first line must be '" + std::string(first_line) + "', not " +
                               quoted(line));
      }
      if (begun) {
        read_line(line);
      }
      begun = true;
    } catch (const DescriptionError &error) {
      throw DescriptionError("line " + std::to_string(number) + ": " + error.what());
    }
  }
  if (!begun) {
    throw DescriptionError("line 1: the description is empty; it must begin with '" +
                           std::string(first_line) + "'");
  }
  given_[Place{.subject = &system_subject, .index = {}}];
  count_gpus();
  require_pairs();
  for (const auto &[place, given] : given_) {
    fill_in(place, given);
  }
  derive(*machine_, [this](std::string_view subject, std::uint32_t a, std::uint32_t b,
                           std::string_view field) { return gives(subject, a, b, field); });
  if (const std::string complaint = contradiction(*machine_); !complaint.empty()) {
    throw DescriptionError(complaint);
  }
  return std::move(machine_);
}

void Parser::read_line(std::string_view line) {
  const Place place = take_place(line);
  const std::string_view name = take_word(line);
  const std::string_view value = trimmed(line);
  const Field &field = need_field(place, name, value);
  const auto position = static_cast<std::size_t>(&field - place.subject->fields.data());
  auto &given = given_[place];
  if (given.test(position)) {
    throw DescriptionError(place.text() + " " + std::string(name) + " " + quoted(value) +
                           ": it was given before");
  }
  given.set(position);
  set_value(*machine_, place, field, value);
}

void Parser::count_gpus() {
  for (const auto &[place, given] : given_) {
    if (place.subject == &gpu_subject) {
      machine_->gpu_count = std::max(machine_->gpu_count, place.index[0] + 1);
    }
  }
  for (std::uint32_t gpu = 0; gpu < machine_->gpu_count; ++gpu) {
    if (!given_.contains(Place{.subject = &gpu_subject, .index = {gpu, 0}})) {
      throw DescriptionError("gpu " + std::to_string(gpu) + ": missing, although there is a gpu " +
                             std::to_string(machine_->gpu_count - 1));
    }
  }
  for (const auto &[place, given] : given_) {
    check_place(place);
  }
}

void Parser::check_place(const Place &place) const {
  for (std::size_t i = 0; i < place.subject->indices.size(); ++i) {
    if (place.subject->indices[i] == "gpu" && place.index[i] >= machine_->gpu_count) {
      throw DescriptionError(place.text() + ": there is no gpu " + std::to_string(place.index[i]));
    }
  }
}

void Parser::require_pairs() {
  for (std::uint32_t b = 1; b < machine_->gpu_count; ++b) {
    for (std::uint32_t a = 0; a < b; ++a) {
      given_[Place{.subject = &pair_subject, .index = {a, b}}];
    }
  }
}

void Parser::fill_in(const Place &place, const std::bitset<max_fields> &given) {
  for (std::size_t i = 0; i < place.subject->fields.size(); ++i) {
    if (!given.test(i)) {
      fill_in_field(place, place.subject->fields[i]);
    }
  }
}

void Parser::fill_in_field(const Place &place, const Field &field) {
  std::string text(field.fallback);
  if (field.rule == Default::required) {
    throw DescriptionError(place.text() + " " + std::string(field.name) + ": missing; expected " +
                           field.expects());
  }
  if (field.rule == Default::derived) {
    return;
  }
  if (field.rule == Default::same_as) {
    text.clear();
    find_field(*place.subject, field.fallback)->write_from(record_at(*machine_, place), text);
  }
  set_value(*machine_, place, field, text);
}

bool Parser::gives(std::string_view subject, std::uint32_t a, std::uint32_t b,
                   std::string_view field) const {
  const Subject *kind = find_subject(subject);
  const auto found = given_.find(Place{.subject = kind, .index = {a, b}});
  const Field *entry = find_field(*kind, field);
  return found != given_.end() &&
         found->second.test(static_cast<std::size_t>(entry - kind->fields.data()));
}

void write_record(const MachineRecord &machine, const Place &place, std::string &out) {
  const void *record = record_at(machine, place);
  const std::string prefix = place.text() + " ";
  for (const Field &field : place.subject->fields) {
    std::string value;
    field.write_from(record, value);
    out.append(prefix).append(field.name).append(value.empty() ? "" : " ").append(value) += '\n';
  }
}

} // namespace

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(blank);
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

std::string_view take_word(std::string_view &text) {
  text = trimmed(text);
  const std::string_view word = text.substr(0, text.find_first_of(blank));
  text.remove_prefix(word.size());
  return word;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

std::string Place::text() const {
  std::string out(subject->name);
  for (std::size_t i = 0; i < subject->indices.size(); ++i) {
    out += " " + std::to_string(index[i]);
  }
  return out;
}

Place take_place(std::string_view &text) {
  const std::string_view name = take_word(text);
  Place place{.subject = find_subject(name), .index = {}};
  if (place.subject == nullptr) {
    std::vector<std::string_view> names;
    for (const Subject *subject : all_subjects()) {
      names.push_back(subject->name);
    }
    throw DescriptionError(quoted(name) + ": there is no such subject; the nearest is " +
                           std::string(nearest(name, names)));
  }
  for (std::size_t i = 0; i < place.subject->indices.size(); ++i) {
    const std::string_view word = take_word(text);
    const std::string_view called = place.subject->indices[i];
    if (!read(word, place.index[i]) || place.index[i] >= index_limit(called)) {
      throw DescriptionError(std::string(name) + " " + quoted(word) +
                             ": expected the number of a " + std::string(called) + ", below " +
                             std::to_string(index_limit(called)));
    }
  }
  if (place.subject == &pair_subject) {
    std::ranges::sort(place.index);
    if (place.index[0] == place.index[1]) {
      throw DescriptionError(place.text() + ": a pair is of two different GPUs");
    }
  }
  return place;
}

void *record_at(MachineRecord &machine, const Place &place) {
  const auto [a, b] = place.index;
  if (place.subject == &system_subject) {
    return &machine.system;
  }
  if (place.subject == &gpu_subject) {
    return &machine.gpus[a];
  }
  if (place.subject == &nvlink_subject) {
    return &machine.gpus[a].links[b];
  }
  if (place.subject == &mig_profile_subject) {
    return &machine.partitions[a].profiles[b];
  }
  return &machine.pairs[pair_index(a, b)];
}

const void *record_at(const MachineRecord &machine, const Place &place) {
  return record_at(const_cast<MachineRecord &>(machine), place);
}

const Field &need_field(const Place &place, std::string_view name, std::string_view value) {
  const Field *field = find_field(*place.subject, name);
  if (field == nullptr) {
    throw DescriptionError(place.text() + " " + std::string(name) + " " + quoted(value) +
                           ": there is no such field; the nearest is " +
                           std::string(nearest_field(*place.subject, name, false)));
  }
  return *field;
}

void set_value(MachineRecord &machine, const Place &place, const Field &field,
               std::string_view value) {
  void *record = record_at(machine, place);
  if (!field.read_into(value, record)) {
    throw DescriptionError(place.text() + " " + std::string(field.name) + " " + quoted(value) +
                           ": not a value of this field; expected " + field.expects());
  }
  if (place.subject == &nvlink_subject) {
    static_cast<LinkRecord *>(record)->present = 1;
  }
  if (place.subject == &mig_profile_subject) {
    static_cast<MigProfileRecord *>(record)->present = 1;
  }
}

std::unique_ptr<MachineRecord> parse_description(std::string_view text) {
  return Parser().parse(text);
}

std::string write_description(const MachineRecord &machine) {
  std::string out = std::string(first_line) + "\n";
  write_record(machine, {.subject = &system_subject, .index = {}}, out);
  for (std::uint32_t gpu = 0; gpu < machine.gpu_count; ++gpu) {
    write_record(machine, {.subject = &gpu_subject, .index = {gpu, 0}}, out);
  }
  for (std::uint32_t gpu = 0; gpu < machine.gpu_count; ++gpu) {
    for (std::uint32_t link = 0; link < max_links; ++link) {
      if (machine.gpus[gpu].links[link].present != 0) {
        write_record(machine, {.subject = &nvlink_subject, .index = {gpu, link}}, out);
      }
    }
  }
  for (std::uint32_t gpu = 0; gpu < machine.gpu_count; ++gpu) {
    for (std::uint32_t profile = 0; profile < max_mig_profiles; ++profile) {
      if (machine.partitions[gpu].profiles[profile].present != 0) {
        write_record(machine, {.subject = &mig_profile_subject, .index = {gpu, profile}}, out);
      }
    }
  }
  for (std::uint32_t b = 1; b < machine.gpu_count; ++b) {
    for (std::uint32_t a = 0; a < b; ++a) {
      write_record(machine, {.subject = &pair_subject, .index = {a, b}}, out);
    }
  }
  return out;
}

} // namespace plumbline::mocknvml
