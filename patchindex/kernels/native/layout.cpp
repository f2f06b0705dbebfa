#include "layout.hpp"

#include <algorithm>

namespace patchindex {
namespace {

std::vector<Strip> make_strips(int size, int patch_size, Boundary boundary, bool equivariant) {
    const int r = patch_size / 2;
    const Strip in_place{0, -r, size + r};
    if (!equivariant) return {in_place};
    std::vector<Strip> strips;
    if (boundary == Boundary::zeros) {
        strips.push_back(in_place);
        const int farthest = std::max(0, size - patch_size);
        for (int d = -farthest; d <= farthest; ++d)
            if (d) strips.push_back({d, std::max(0, -d), std::min(size, size - d)});
    } else if (boundary == Boundary::circular) {
        for (int d = 0; d < size; ++d) strips.push_back({d, -r, size + r});
    } else {  // training centers r .. size - 1 - r, query centers 0 .. size - 1
        const int farthest = size - 1 - r;
        for (int d = -farthest; d <= farthest; ++d)
            strips.push_back({d, std::max(-r, -d), std::min(size + r, size - d)});
    }
    return strips;
}

}  // namespace

Axis make_axis(int size, int patch_size, Boundary boundary, bool equivariant) {
    Axis axis{};
    axis.size = size;
    axis.patch_size = patch_size;
    axis.query_wraps = boundary != Boundary::zeros;
    axis.train_wraps = boundary == Boundary::circular || (axis.query_wraps && !equivariant);
    axis.padded = boundary == Boundary::zeros;
    axis.strips = make_strips(size, patch_size, boundary, equivariant);
    for (const Strip& strip : axis.strips) {
        axis.query_low = std::min(axis.query_low, strip.first);
        axis.query_high = std::max(axis.query_high, strip.stop);
        axis.train_low = std::min(axis.train_low, strip.train_first());
        axis.train_high = std::max(axis.train_high, strip.train_stop());
    }
    return axis;
}

}  // namespace patchindex
