// The exact scan: every legal training patch against every window of the query images.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "layout.hpp"
#include "shares.hpp"

namespace patchindex {

struct ScanInput {
    const uint8_t* pixels;  // [num_images][channels][height][width]
    int64_t num_images;
    int channels, height, width;
    const float* y;  // [batch][channels][height][width], finite
    int64_t batch;
    double sigma;
    int patch_size;
    Boundary boundary;
    bool equivariant;
    const Shares* shares;  // null: all images at all displacements
    int threads;
    std::string isa;  // empty: the fastest
};

// Mergeable sums per query pixel, as records.py defines them; the caller owns the arrays and has
// filled them with log_max = -inf and zeros.
struct ScanOutput {
    double* log_max;  // [batch][height][width]; a scale near the log of the mass, not the maximum
    double* sum_w;
    double* sum_wc;  // [batch][height][width][channels]
    double* sum_w2;
    int64_t* num_scored;
};

// False if `interrupted` ended it early. Throws std::invalid_argument.
bool exact_scan(const ScanInput& input, const ScanOutput& output,
                const std::function<bool()>& interrupted);

}  // namespace patchindex
