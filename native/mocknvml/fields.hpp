// The one table of what a description can say: `create`, `set` and `describe` all
// read it.
#pragma once

#include "codec.hpp"
#include "records.hpp"

#include <span>

namespace plumbline::mocknvml {

enum class Default {
  required, // the description must say it
  value,    // Field::fallback is its text
  same_as,  // Field::fallback is the name of an earlier field of the same subject
  derived,  // rules.cpp works it out from other facts
};

/// One fact of a record, by name.
struct Field {
  std::string_view name;
  bool changeable;
  Default rule;
  std::string_view fallback;
  bool (*read_into)(std::string_view text, void *record);
  void (*write_from)(const void *record, std::string &out);
  std::string (*expects)();
};

/// A kind of record. A line of a description names one by the subject and its indices.
struct Subject {
  std::string_view name;
  std::span<const std::string_view> indices; // what each index is called
  std::span<const Field> fields;
};

/// Fields are counted in a 64-bit set while a description is read.
inline constexpr std::size_t max_fields = 128;

extern const Subject system_subject;
extern const Subject gpu_subject;
extern const Subject nvlink_subject;
extern const Subject mig_profile_subject;
extern const Subject pair_subject;

std::span<const Subject *const> all_subjects();

/// Null when there is none of that name.
const Subject *find_subject(std::string_view name);
const Field *find_field(const Subject &subject, std::string_view name);

/// The name among the candidates that is most like the given one.
std::string_view nearest(std::string_view name, std::span<const std::string_view> candidates);
std::string_view nearest_field(const Subject &subject, std::string_view name, bool changeable_only);

} // namespace plumbline::mocknvml
