// The sysfs reader as Python sees it; agent/_native.pyi says what each name means.
#include <pybind11/native_enum.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include "bindings/topics.hpp"
#include "topology/system_tree.hpp"

namespace plumbline::bindings {

namespace py = pybind11;

using topology::Distance;
using topology::LinkCapability;
using topology::Nic;
using topology::NicPort;
using topology::NumaNode;
using topology::PciDevice;
using topology::SystemTree;

namespace {

/// A class without constructor and without pybind11's metaclass, which adds nothing here and
/// which no stub could name.
template <typename T> py::class_<T> define_value(py::module_ &m, const char *name) {
  const py::handle plain_type{reinterpret_cast<PyObject *>(&PyType_Type)};
  return py::class_<T>(m, name, py::metaclass(plain_type), py::is_final());
}

/// A getter for one half of one of a device's links.
template <LinkCapability PciDevice::*Link, std::optional<int> LinkCapability::*Half>
std::optional<int> link_half(const PciDevice &device) {
  return device.*Link.*Half;
}

void register_distance(py::module_ &m) {
  py::native_enum<Distance>(m, "Distance", "enum.IntEnum")
      .value("PIX", Distance::pix)
      .value("PXB", Distance::pxb)
      .value("PHB", Distance::phb)
      .value("NODE", Distance::node)
      .value("SYS", Distance::sys)
      .finalize();
}

void register_device(py::module_ &m) {
  constexpr auto generation = &LinkCapability::generation;
  constexpr auto width = &LinkCapability::width;
  define_value<PciDevice>(m, "PciDevice")
      .def_readonly("address", &PciDevice::address)
      .def_readonly("root", &PciDevice::root)
      .def_readonly("path", &PciDevice::path)
      .def_readonly("switch_address", &PciDevice::switch_address)
      .def_readonly("vendor_id", &PciDevice::vendor_id)
      .def_readonly("device_id", &PciDevice::device_id)
      .def_readonly("class_code", &PciDevice::class_code)
      .def_readonly("numa_node", &PciDevice::numa_node)
      .def_property_readonly("max_link_generation", link_half<&PciDevice::max_link, generation>)
      .def_property_readonly("max_link_width", link_half<&PciDevice::max_link, width>)
      .def_property_readonly("current_link_generation",
                             link_half<&PciDevice::current_link, generation>)
      .def_property_readonly("current_link_width", link_half<&PciDevice::current_link, width>)
      .def_property_readonly("path_max_generation",
                             link_half<&PciDevice::path_max_link, generation>)
      .def_property_readonly("path_max_width", link_half<&PciDevice::path_max_link, width>)
      .def_readonly("acs_redirect", &PciDevice::acs_redirect)
      .def_readonly("iommu_group", &PciDevice::iommu_group)
      .def_readonly("driver", &PciDevice::driver)
      .def_readonly("physical_function", &PciDevice::physical_function);
}

void register_nic(py::module_ &m) {
  define_value<NicPort>(m, "NicPort")
      .def_readonly("number", &NicPort::number)
      .def_readonly("state", &NicPort::state)
      .def_readonly("rate_gbps", &NicPort::rate_gbps)
      .def_readonly("link_layer", &NicPort::link_layer);
  define_value<Nic>(m, "Nic")
      .def_readonly("name", &Nic::name)
      .def_readonly("address", &Nic::address)
      .def_readonly("rdma", &Nic::rdma)
      .def_readonly("interfaces", &Nic::interfaces)
      .def_readonly("ports", &Nic::ports)
      .def_readonly("numa_node", &Nic::numa_node)
      .def_readonly("physical_function", &Nic::physical_function)
      .def_readonly("nvlink_management", &Nic::nvlink_management);
}

void register_numa_node(py::module_ &m) {
  define_value<NumaNode>(m, "NumaNode")
      .def_readonly("id", &NumaNode::id)
      .def_readonly("cpus", &NumaNode::cpus)
      .def_readonly("distances", &NumaNode::distances)
      .def_readonly("memory_bytes", &NumaNode::memory_bytes)
      .def_readonly("socket", &NumaNode::socket);
}

void register_system_tree(py::module_ &m) {
  define_value<SystemTree>(m, "SystemTree")
      .def_readonly("devices", &SystemTree::devices)
      .def_readonly("nics", &SystemTree::nics)
      .def_readonly("nvswitches", &SystemTree::nvswitches)
      .def_readonly("nvmes", &SystemTree::nvmes)
      .def_readonly("numa_nodes", &SystemTree::numa_nodes)
      .def_readonly("warnings", &SystemTree::warnings)
      .def("device", &SystemTree::device, py::arg("address"),
           py::return_value_policy::reference_internal)
      .def("distance", &SystemTree::distance, py::arg("a"), py::arg("b"))
      .def("acs_redirect", &SystemTree::acs_redirect, py::arg("a"), py::arg("b"));
}

} // namespace

void register_topology(py::module_ &m) {
  register_distance(m);
  register_device(m);
  register_nic(m);
  register_numa_node(m);
  register_system_tree(m);
  m.def(
      "read_system",
      [](const std::filesystem::path &root) { return topology::read_system(root.native()); },
      py::arg("root"), py::call_guard<py::gil_scoped_release>());
}

} // namespace plumbline::bindings
