// The Python module `patchindex.kernels._native`: checks arrays, releases the lock, calls kernels.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.hpp"
#include "scan.hpp"

namespace py = pybind11;
using namespace py::literals;

namespace patchindex {
namespace {

std::string described(const py::array& array) {
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

void require(bool holds, const std::string& message) {
    if (!holds) throw std::invalid_argument(message);
}

Boundary boundary_named(const std::string& name) {
    if (name == "zeros") return Boundary::zeros;
    if (name == "circular") return Boundary::circular;
    require(name == "circular_interior",
            "boundary is '" + name + "'. Give one of zeros, circular, circular_interior.");
    return Boundary::circular_interior;
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

py::dict scan_arrays(const py::array& pixels, const py::array& y, double sigma, int patch_size,
                     const std::string& boundary, bool equivariant, int threads,
                     const std::string& isa) {
    ScanInput in{};
    in.pixels = checked<uint8_t>(pixels, "pixels", "images, channels, height, width", 4);
    in.y = checked<float>(y, "y", "batch, channels, height, width", 4);
    in.num_images = pixels.shape(0);
    in.channels = int(pixels.shape(1));
    in.height = int(pixels.shape(2));
    in.width = int(pixels.shape(3));
    in.batch = int(y.shape(0));
    for (int axis = 1; axis < 4; ++axis)
        require(y.shape(axis) == pixels.shape(axis) && pixels.shape(axis) > 0,
                "y is " + described(y) + " but pixels are " + described(pixels) +
                    ". Give states of the images' own channels, height and width.");
    require(sigma > 0 && std::isfinite(sigma), "sigma must be positive and finite.");
    require(threads >= 1, "threads must be at least 1.");
    in.sigma = sigma;
    in.patch_size = patch_size;
    in.boundary = boundary_named(boundary);
    in.equivariant = equivariant;
    in.threads = threads;
    in.isa = isa;
    const int largest = in.boundary == Boundary::circular_interior
                            ? std::min(in.height, in.width)
                            : 2 * std::max(in.height, in.width) - 1;
    require(patch_size >= 1 && patch_size % 2 == 1 && patch_size <= largest,
            "patch_size is " + std::to_string(patch_size) + ". Give an odd number in 1.." +
                std::to_string(largest) + ".");

    const std::vector<py::ssize_t> shape{in.batch, in.height, in.width};
    const std::vector<py::ssize_t> shape_c{in.batch, in.height, in.width, in.channels};
    py::array_t<double> log_max(shape), sum_w(shape), sum_wc(shape_c), sum_w2(shape);
    py::array_t<int64_t> num_scored(shape);
    ScanOutput out{log_max.mutable_data(), sum_w.mutable_data(), sum_wc.mutable_data(),
                   sum_w2.mutable_data(), num_scored.mutable_data()};
    std::fill_n(out.log_max, log_max.size(), -std::numeric_limits<double>::infinity());
    std::fill_n(out.sum_w, sum_w.size(), 0.0);
    std::fill_n(out.sum_wc, sum_wc.size(), 0.0);
    std::fill_n(out.sum_w2, sum_w2.size(), 0.0);
    std::fill_n(out.num_scored, num_scored.size(), int64_t{0});
    if (in.batch > 0 && in.num_images > 0)
        without_lock([&](const auto& interrupted) { scan(in, out, interrupted); });
    return py::dict("log_max"_a = log_max, "sum_w"_a = sum_w, "sum_wc"_a = sum_wc,
                    "sum_w2"_a = sum_w2, "num_scored"_a = num_scored);
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const auto find : {kernels_avx512, kernels_avx2, kernels_portable})
        if (const Kernels* const kernels = find()) names.push_back(kernels->name);
    return names;
}

}  // namespace
}  // namespace patchindex

PYBIND11_MODULE(_native, module) {
    module.doc() = "Exact scan and rescoring of patches in C++; see native_backend.py.";
    module.def("instruction_sets", &patchindex::instruction_sets,
               "Instruction sets of this build and processor, fastest first.");
    module.def("scan", &patchindex::scan_arrays, "pixels"_a, "y"_a, "sigma"_a, py::kw_only(),
               "patch_size"_a, "boundary"_a, "equivariant"_a, "threads"_a, "isa"_a = "",
               "Sums over every legal training patch, per query pixel.");
}
