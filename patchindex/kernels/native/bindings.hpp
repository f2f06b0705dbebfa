// What the bindings share: checked arrays, the interpreter lock, records as dictionaries.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace patchindex {

namespace py = pybind11;
using namespace py::literals;

inline std::string described(const py::array& array) {
    return py::str(array.dtype()).cast<std::string>() + " with shape " +
           py::str(array.attr("shape")).cast<std::string>();
}

// The array's data, if it is what the kernels read: nothing is converted or copied here.
template <class T>
const T* checked(const py::array& array, const char* name, const char* axes, int ndim) {
    const bool contiguous = array.flags() & py::array::c_style;
    if (!array.dtype().is(py::dtype::of<T>()) || array.ndim() != ndim || !contiguous)
        throw std::invalid_argument(
            std::string(name) + " is " + described(array) + (contiguous ? "" : ", not contiguous") +
            ". Give a C-contiguous " + py::str(py::dtype::of<T>()).cast<std::string>() +
            " array with shape [" + axes + "].");
    return static_cast<const T*>(array.data());
}

inline void require(bool holds, const std::string& message) {
    if (!holds) throw std::invalid_argument(message);
}

// Runs `work(interrupted)` without the interpreter lock; Ctrl-C ends it and is raised here.
template <class Work>
void without_lock(const Work& work) {
    bool raised = false;
    const auto interrupted = [&raised] {
        const py::gil_scoped_acquire lock;
        return raised = raised || PyErr_CheckSignals() != 0;
    };
    {
        const py::gil_scoped_release release;
        work(interrupted);
    }
    if (raised) throw py::error_already_set();
}

template <class T>
py::array_t<T> filled(const std::vector<py::ssize_t>& shape, T value) {
    py::array_t<T> array(shape);
    std::fill_n(array.mutable_data(), array.size(), value);
    return array;
}

inline py::dict record_dict(const py::array& log_max, const py::array& sum_w, const py::array& sum_wc,
                     const py::array& sum_w2, const py::array& num_scored) {
    return py::dict("log_max"_a = log_max, "sum_w"_a = sum_w, "sum_wc"_a = sum_wc,
                    "sum_w2"_a = sum_w2, "num_scored"_a = num_scored);
}

// Each adds its functions to the module.
void bind_scan(py::module_& module);
void bind_rescore(py::module_& module);
void bind_search(py::module_& module);

}  // namespace patchindex
