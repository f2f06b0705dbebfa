#include "kernels.hpp"

#include <algorithm>
#include <stdexcept>

namespace patchindex {

// row terms twice, then a ring of row sums with one row of prefix sums
size_t ScanShape::scratch_size() const {
    const size_t size = size_t(rows.patch_size);
    return MAX_GROUP * lanes *
           (2 * size + (std::max<size_t>(size, 3) + 1) * (query_count() + SPARE_WINDOWS));
}

const Kernels& select_kernels(const std::string& isa) {
    std::string known;
    for (const auto find : {kernels_avx512, kernels_avx2, kernels_portable}) {
        const Kernels* const kernels = find();
        if (kernels && (isa.empty() || isa == kernels->name)) return *kernels;
        if (kernels) known += std::string(known.empty() ? "" : ", ") + kernels->name;
    }
    throw std::invalid_argument("instruction set '" + isa +
                                "' is not available here. Give one of " + known + ".");
}

}  // namespace patchindex
