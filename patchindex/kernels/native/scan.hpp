// The exact scan: every legal training patch against every window of the query images.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

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

// A patch with a large share of a pixel.
struct ListedPatch {
    int64_t place;  // state, row and column of the pixel, as one number
    int64_t id;     // image, row and column of the patch's center, as one number
    double share;
};

// Divides the weights of all patches by known masses of the pixels; what takes no part has an
// infinite one. Of each image the shares are added over the pixels of a state.
struct ShareInput {
    const double* log_mass;  // [batch][height][width]
    double least_share;      // of the patches that are listed
};

struct ShareOutput {
    double* images;                    // [batch][num_images], zeros
    std::vector<ListedPatch>& listed;  // in an order that threads do not change
};

// Like exact_scan, of input without shares.
bool scan_shares(const ScanInput& input, const ShareInput& shares, const ShareOutput& output,
                 const std::function<bool()>& interrupted);

}  // namespace patchindex
