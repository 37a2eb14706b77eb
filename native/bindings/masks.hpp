// Masks as Python's integers of any size.
#pragma once

#include <pybind11/pybind11.h>

#include "placement/bits.hpp"

namespace plumbline::bindings {

/// The low 256 bits of a number that is not negative.
inline placement::WideMask mask_from(const pybind11::int_ &value) {
  placement::WideMask mask;
  pybind11::object left = value;
  const pybind11::int_ width(64);
  for (auto &word : mask.words) {
    word = PyLong_AsUnsignedLongLongMask(left.ptr());
    left = left >> width;
    if (left.equal(pybind11::int_(0))) {
      break;
    }
  }
  return mask;
}

inline pybind11::int_ mask_to(const placement::WideMask &mask) {
  const int words = (placement::highest(mask) / 64) + 1;
  pybind11::object value = pybind11::int_(mask.words[0]);
  for (int i = 1; i < words; ++i) {
    const pybind11::int_ word(mask.words[static_cast<std::size_t>(i)]);
    value = value | (word << pybind11::int_(64 * i));
  }
  return value;
}

} // namespace plumbline::bindings

namespace pybind11::detail {

template <> struct type_caster<plumbline::placement::WideMask> {
  PYBIND11_TYPE_CASTER(plumbline::placement::WideMask, const_name("int"));

  /// Refuses what has no place in a mask.
  bool load(handle source, bool /*convert*/) {
    if (!isinstance<int_>(source)) {
      return false;
    }
    const auto number = reinterpret_borrow<int_>(source);
    if (number < int_(0) || !(number >> int_(8 * sizeof(value))).equal(int_(0))) {
      return false;
    }
    value = plumbline::bindings::mask_from(number);
    return true;
  }

  static handle cast(const plumbline::placement::WideMask &mask, return_value_policy /*policy*/,
                     handle /*parent*/) {
    return plumbline::bindings::mask_to(mask).release();
  }
};

} // namespace pybind11::detail
