// The Python module `patchindex.kernels._native`: checks arrays, releases the lock, calls kernels.
#include "bindings.hpp"

#include <exception>

#include "kernels.hpp"

namespace patchindex {
namespace {

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const auto find : {kernels_avx512, kernels_avx2, kernels_portable})
        if (const Kernels* const kernels = find()) names.emplace_back(kernels->name);
    return names;
}

// What the kernels refuse becomes an error that users can mend.
// NOLINTNEXTLINE(performance-unnecessary-value-param): pybind11 asks for a function of a copy
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
}
