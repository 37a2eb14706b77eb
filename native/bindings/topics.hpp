// What the extension is made of: one function for each topic.
#pragma once

#include <pybind11/pybind11.h>

namespace plumbline::bindings {

void register_placement(pybind11::module_ &m);
void register_topology(pybind11::module_ &m);

} // namespace plumbline::bindings
