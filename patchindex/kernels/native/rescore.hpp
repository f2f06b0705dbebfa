// Exact distances and weights of given patches, regathered from the images.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "shares.hpp"

namespace patchindex {

struct RescoreInput {
    const uint8_t* pixels;  // [num_images][channels][height][width]
    int64_t num_images;
    int channels, height, width;
    const float* windows;  // [num_queries][channels][patch_size][patch_size], finite
    int64_t num_queries;
    int patch_size;
    // Cells relative to the center that are compared; elsewhere query and patches are zero.
    int row_first, row_stop, col_first, col_stop;
    bool wraps;          // windows may leave the image and come in on the other side
    const int64_t* ids;  // [num_queries][num_ids], or [num_ids] if shared; -1 stands for no patch
    int64_t num_ids;
    bool shared;
    double sigma;  // of records
    int threads;
    std::string isa;
};

// Sums per query as records.py defines them; log_max is the largest log weight.
struct RecordOutput {
    double* log_max;  // [num_queries]
    double* sum_w;
    double* sum_wc;  // [num_queries][channels]
    double* sum_w2;
    int64_t* num_scored;
};

// dist_sq[q][k], infinite where the id is -1. False if interrupted; throws std::invalid_argument
// for ids that are no patches or whose windows leave the image.
bool patch_distances(const RescoreInput& input, float* dist_sq,
                     const std::function<bool()>& interrupted);

// One patch among those of a query that belongs to a group.
struct Grouped {
    int64_t query, group, id;
    float dist_sq;
};

// Groups of (image, displacement) pairs; a patch of a query is one pair.
struct GroupInput {
    const int64_t* of_images;  // [num_images], -1 for none
    Shares shares;
    const int64_t* pixels;  // [num_queries]: y * width + x
};

// Also lists the patches that are in a group, query by query, unless `groups` is null; and the ids
// of the `num_nearest` nearest patches of each query, [num_queries][num_nearest] in any order, filled
// up with -1.
bool sum_patches(const RescoreInput& input, const RecordOutput& output, const GroupInput* groups,
                 std::vector<Grouped>& grouped, int64_t num_nearest, int64_t* nearest,
                 const std::function<bool()>& interrupted);

}  // namespace patchindex
