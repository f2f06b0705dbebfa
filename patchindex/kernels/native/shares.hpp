// Shares of displacements: which (image, displacement) pairs are compared.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace patchindex {

constexpr int32_t NO_SHARE = -1;

// An image is compared at the displacements of its own share only.
struct Shares {
    const int32_t* of_images;         // [num_images]; fastest where equal shares follow each other
    const int32_t* of_displacements;  // [rows][cols], both odd, displacement 0 in the middle
    int64_t rows, cols;

    int32_t at(int64_t dy, int64_t dx) const {
        if (std::abs(dy) > rows / 2 || std::abs(dx) > cols / 2) return NO_SHARE;
        return of_displacements[(dy + rows / 2) * cols + dx + cols / 2];
    }
};

}  // namespace patchindex
