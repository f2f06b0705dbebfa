// The nearest codes of inverted lists, list after list: each is read once for all queries.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace patchindex {

// The members that consecutive images have in all lists.
struct ListShard {
    const uint8_t* codes;    // [num_codes][dims]
    const uint32_t* ids;     // [num_codes] ids of patches, less `first_id`
    const int64_t* offsets;  // [num_lists + 1] first code of each list
    int64_t num_codes, first_id;
};

// A code has a place in the order of lists, then shards, then codes of a shard: the same however
// the images were divided.
struct ListSearchInput {
    std::vector<ListShard> shards;
    int dims;
    const int64_t* offsets;  // [num_lists + 1] first place of each list
    int64_t num_lists;
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

    bool is_member(int64_t id) const {
        if (!image_mask) return true;
        const int64_t image = id / patches_per_image;
        return image < num_images && image_mask[image];
    }
};

// ids[q][k], nearest code first and -1 where there are fewer. The result does not depend on the
// number of threads. False if interrupted; throws std::invalid_argument for lists that do not exist or
// do not lie in their shards, and for values that are not finite.
bool search_lists(const ListSearchInput& input, int64_t* ids,
                  const std::function<bool()>& interrupted);

}  // namespace patchindex
