// The nearest codes of inverted lists, list after list: each is read once for all queries.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace patchindex {

struct ListSearchInput {
    const uint8_t* codes;  // [num_codes][dims]
    int dims;
    const int64_t* offsets;  // [num_lists + 1] first code of each list
    int64_t num_lists;
    const uint32_t* ids32;  // [num_codes]; one of the two is null
    const int64_t* ids64;
    const float *code_min, *code_span;  // [dims]; code c stands for min + (c + 0.5) / 255 * span
    const float* vectors;               // [num_queries][dims], finite
    int64_t num_queries;
    const int64_t* lists;  // [num_queries][num_probes], -1 for none
    int64_t num_probes;
    int64_t k;
    const bool* image_mask;  // [num_images] images whose patches count, or null for all
    int64_t num_images, patches_per_image;
    int threads;
    std::string isa;

    int64_t id_at(int64_t place) const { return ids32 ? int64_t(ids32[place]) : ids64[place]; }
    bool is_member(int64_t place) const {
        if (!image_mask) return true;
        const int64_t id = id_at(place), image = id / patches_per_image;
        return id >= 0 && image < num_images && image_mask[image];
    }
};

// ids[q][k], nearest code first and -1 where there are fewer. The result does not depend on the
// number of threads. False if interrupted; throws std::invalid_argument for lists that do not exist and for
// values that are not finite.
bool search_lists(const ListSearchInput& input, int64_t* ids,
                  const std::function<bool()>& interrupted);

// positions[q][count] of the rows [num_rows][dims] nearest to each vector [num_vectors][dims],
// nearest first; count <= num_rows. Throws std::invalid_argument for values that are not finite.
bool nearest_rows(const float* rows, int64_t num_rows, int dims, const float* vectors,
                  int64_t num_vectors, int64_t count, int64_t* positions, int threads,
                  const std::string& isa, const std::function<bool()>& interrupted);

}  // namespace patchindex
