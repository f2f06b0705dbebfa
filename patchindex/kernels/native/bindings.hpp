// What the bindings share: checked arrays, the interpreter lock, records as dictionaries.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "memory.hpp"
#include "shares.hpp"

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
    const bool aligned = array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    if (!array.dtype().is(py::dtype::of<T>()) || array.ndim() != ndim || !contiguous || !aligned)
        throw std::invalid_argument(std::string(name) + " is " + described(array) +
                                    (contiguous ? "" : ", not contiguous") +
                                    (aligned ? "" : ", not aligned") + ". Give a C-contiguous " +
                                    py::str(py::dtype::of<T>()).cast<std::string>() +
                                    " array with shape [" + axes + "], aligned in memory.");
    return static_cast<const T*>(array.data());
}

inline void require(bool holds, const std::string& message) {
    if (!holds) throw std::invalid_argument(message);
}

constexpr int64_t LARGEST = std::numeric_limits<int32_t>::max();  // of what kernels count as int
constexpr int64_t LARGEST_SIDE = 1 << 20;                         // of an image, in pixels
constexpr int64_t MOST_DIMS = 1 << 20;                            // of a vector
constexpr int MOST_THREADS = 1 << 12;
constexpr double SMALLEST_SIGMA = 1e-10, LARGEST_SIGMA = 1e30;  // whose squares floats can hold

// The kernels compute with offsets inside one image as int.
inline void require_image(int64_t channels, int64_t height, int64_t width,
                          const std::string& text) {
    const bool fits = channels >= 1 && height >= 1 && width >= 1 && channels <= LARGEST &&
                      height <= LARGEST_SIDE && width <= LARGEST_SIDE &&
                      height * width <= LARGEST / channels;
    require(fits, text + ". Give images of at least one channel and pixel, at most " +
                      std::to_string(LARGEST_SIDE) + " pixels a side and " +
                      std::to_string(LARGEST) + " values in all.");
}

// Null pointers if there are none.
inline Shares shares_of(const std::optional<py::array>& images,
                        const std::optional<py::array>& displacements, int64_t num_images) {
    require(bool(images) == bool(displacements),
            "there are shares of images or of displacements alone. Give image_shares and "
            "displacement_shares together.");
    if (!images) return {};
    const Shares shares{checked<int32_t>(*images, "image_shares", "images", 1),
                        checked<int32_t>(*displacements, "displacement_shares", "rows, cols", 2),
                        displacements->shape(0), displacements->shape(1)};
    require(images->shape(0) == num_images, "image_shares is " + described(*images) +
                                                " but there are " + std::to_string(num_images) +
                                                " images. Give one share per image.");
    const int32_t* const end = shares.of_images + num_images;
    const int32_t* const none =
        std::find_if(shares.of_images, end, [](int32_t s) { return s < 0; });
    require(none == end, "an image has a share below 0. Give images shares from 0 on.");
    require(shares.rows % 2 == 1 && shares.cols % 2 == 1,
            "displacement_shares is " + described(*displacements) +
                ". Give odd numbers of rows and columns, with displacement 0 in the middle.");
    return shares;
}

inline void require_threads(int threads) {
    require(threads >= 1 && threads <= MOST_THREADS, "threads must be at least 1 and at most " +
                                                         std::to_string(MOST_THREADS) + ", not " +
                                                         std::to_string(threads) + ".");
}

inline void require_sigma(double sigma) {
    require(sigma >= SMALLEST_SIGMA && sigma <= LARGEST_SIGMA,
            "sigma must be positive and finite, from 1e-10 to 1e30, not " + std::to_string(sigma) +
                ".");
}

// Runs `work(interrupted)` without the interpreter lock; Ctrl-C ends it and is raised here.
template <class Work>
void without_lock(const Work& work) {
    bool raised = false;
    const auto interrupted = [&raised] {
        const py::gil_scoped_acquire lock;
        return raised = raised || PyErr_CheckSignals() != 0;
    };
    const auto out_of_memory = [] {
        return OutOfMemory(
            "the kernels are out of memory. Give fewer threads or fewer queries at a "
            "time, or leave them more memory.");
    };
    try {
        const py::gil_scoped_release release;
        work(interrupted);
    } catch (const OutOfMemory&) {
        throw;
    } catch (const std::bad_alloc&) {
        throw out_of_memory();
    } catch (const std::length_error&) {  // more than a vector can ever hold
        throw out_of_memory();
    }
    if (raised) throw py::error_already_set();
}

// An array for results, not filled.
template <class T>
py::array_t<T> allocated(const std::vector<py::ssize_t>& shape) {
    double bytes = sizeof(T);
    for (const py::ssize_t size : shape) bytes *= double(size);
    // NumPy would refuse these, too, but as wrong values
    if (bytes > double(std::numeric_limits<ptrdiff_t>::max() / 2))
        throw OutOfMemory("the results take " + described_bytes(bytes) +
                          ". Ask for fewer neighbors or fewer queries at a time.");
    return py::array_t<T>(shape);
}

template <class T>
py::array_t<T> filled(const std::vector<py::ssize_t>& shape, T value) {
    py::array_t<T> array = allocated<T>(shape);
    std::fill_n(array.mutable_data(), array.size(), value);
    return array;
}

inline py::dict record_dict(const py::array& log_max, const py::array& sum_w,
                            const py::array& sum_wc, const py::array& sum_w2,
                            const py::array& num_scored) {
    return py::dict("log_max"_a = log_max, "sum_w"_a = sum_w, "sum_wc"_a = sum_wc,
                    "sum_w2"_a = sum_w2, "num_scored"_a = num_scored);
}

// Each adds its functions to the module.
void bind_scan(py::module_& module);
void bind_rescore(py::module_& module);
void bind_search(py::module_& module);

}  // namespace patchindex
