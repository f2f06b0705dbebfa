// The Python module `patchindex.kernels._native`: checks arrays, releases the lock, calls kernels.
#include "bindings.hpp"

#include <exception>
#include <utility>

#include "kernels.hpp"
#include "peak.hpp"

namespace patchindex {
namespace {

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const auto find : {kernels_avx512, kernels_avx2, kernels_portable})
        if (const Kernels* const kernels = find()) names.push_back(kernels->name);
    return names;
}

// (multiply-adds, random cache lines) a second, for benchmarks.
std::pair<double, double> peak_rates(const py::array& pixels, int threads, const std::string& isa) {
    const auto* const data = checked<uint8_t>(pixels, "pixels", "images, channels, height, width", 4);
    require_threads(threads);
    require(pixels.size() > 0, "pixels are " + described(pixels) + ". Give some.");
    const py::gil_scoped_release release;
    return {multiply_adds_per_second(threads, isa),
            random_lines_per_second(data, pixels.size(), threads)};
}

// What the kernels refuse becomes an error that users can mend.
void translate(std::exception_ptr error) {
    try {
        if (error) std::rethrow_exception(error);
    } catch (const std::invalid_argument& refused) {
        const py::object kind = py::module_::import("patchindex.errors").attr("KernelInputError");
        py::set_error(kind, refused.what());
    }
}

}  // namespace
}  // namespace patchindex

namespace py = pybind11;
using namespace py::literals;

PYBIND11_MODULE(_native, module) {
    module.doc() = "Exact scan, rescoring and search of patches in C++; see native_backend.py.";
    module.def("instruction_sets", &patchindex::instruction_sets,
               "Instruction sets of this build and processor, fastest first.");
    py::register_local_exception_translator(&patchindex::translate);
    patchindex::bind_scan(module);
    patchindex::bind_rescore(module);
    patchindex::bind_search(module);
    module.def("peak_rates", &patchindex::peak_rates, "pixels"_a, py::kw_only(), "threads"_a,
               "isa"_a = "", "Multiply-adds and random cache lines a second, for benchmarks.");
}
