// The description: a MachineRecord as text, one fact a line.
#pragma once

#include "fields.hpp"

#include <memory>
#include <stdexcept>
#include <tuple>
#include <vector>

namespace plumbline::mocknvml {

/// A description or command that cannot be used; the message names line, subject, field
/// and value, and says what would do.
class DescriptionError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Takes the first word off the text; the empty text when there is none.
std::string_view take_word(std::string_view &text);
std::string_view trimmed(std::string_view text);
std::vector<std::string_view> lines_of(std::string_view text);

/// Which record a line speaks of.
struct Place {
  const Subject *subject;
  std::array<std::uint32_t, 2> index;

  friend bool operator==(const Place &, const Place &) = default;
  friend bool operator<(const Place &a, const Place &b) {
    return std::tie(a.subject->name, a.index) < std::tie(b.subject->name, b.index);
  }
  /// As it is written: `nvlink 0 3`.
  [[nodiscard]] std::string text() const;
};

/// Takes a subject and its indices off the text. Throws DescriptionError.
Place take_place(std::string_view &text);
/// The record of a place. The indices must be below the limits of MachineRecord.
void *record_at(MachineRecord &machine, const Place &place);
const void *record_at(const MachineRecord &machine, const Place &place);
/// Reads a value into the place's record. Throws DescriptionError.
void set_value(MachineRecord &machine, const Place &place, const Field &field,
               std::string_view value);
/// Finds a field by name. Throws DescriptionError that names the nearest one.
const Field &need_field(const Place &place, std::string_view name, std::string_view value);

/// Throws DescriptionError.
std::unique_ptr<MachineRecord> parse_description(std::string_view text);
std::string write_description(const MachineRecord &machine);

} // namespace plumbline::mocknvml
