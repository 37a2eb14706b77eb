#include <pybind11/pybind11.h>

// Table of contents of the extension: each topic registers itself.
PYBIND11_MODULE(_native, m) { m.doc() = "Native core of Plumbline."; }
