#include "kernels.hpp"

#include <algorithm>
#include <stdexcept>

namespace patchindex {

// row terms of two displacements twice, then a ring of row sums with one prefix and one total row
size_t ScanShape::scratch_size() const {
    const size_t size = size_t(rows.patch_size);
    return lanes * (4 * size + 2 * (std::max<size_t>(size, 4) + 2) * (cols.train_count + 1));
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
