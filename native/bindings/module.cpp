#include "bindings/topics.hpp"

// Table of contents of the extension: each topic registers itself.
PYBIND11_MODULE(_native, m) {
  m.doc() = "Native core of Plumbline.";
  plumbline::bindings::register_placement(m);
  plumbline::bindings::register_topology(m);
}
