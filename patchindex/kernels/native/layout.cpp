#include "layout.hpp"

#include <algorithm>
#include <cstdlib>

namespace patchindex {
namespace {

std::vector<Strip> make_strips(int size, int patch_size, Boundary boundary, bool equivariant) {
    const int r = patch_size / 2;
    const Strip in_place{-r, 0, size + 2 * r};
    std::vector<Strip> strips;
    if (!equivariant) {
        strips.push_back(in_place);
    } else if (boundary == Boundary::zeros) {
        const int farthest = std::max(0, size - patch_size);
        strips.push_back(in_place);
        for (int d = -farthest; d <= farthest; ++d)
            if (d) strips.push_back({std::max(0, d), d, size - std::abs(d)});
    } else if (boundary == Boundary::circular) {
        for (int d = 0; d < size; ++d) strips.push_back({-r, d, size + 2 * r});
    } else {
        for (int d = 0; d < size; ++d) strips.push_back({0, d, size});
    }
    return strips;
}

}  // namespace

Axis make_axis(int size, int patch_size, Boundary boundary, bool equivariant) {
    Axis axis{size, patch_size, boundary != Boundary::zeros, {}, 0, 0, 0, 0, 0, 0};
    axis.strips = make_strips(size, patch_size, boundary, equivariant);
    int train_high = 0, query_high = 0;
    for (const Strip& strip : axis.strips) {
        axis.train_low = std::min(axis.train_low, strip.first);
        axis.query_low = std::min(axis.query_low, strip.first - strip.shift);
        train_high = std::max(train_high, strip.first + strip.cells);
        query_high = std::max(query_high, strip.first + strip.cells - strip.shift);
    }
    axis.train_count = train_high - axis.train_low;
    axis.query_count = query_high - axis.query_low;
    // every query pixel has a center, so the strips' centers leave no gap at either end
    axis.out_low = axis.query_low + axis.radius();
    axis.out_count = axis.query_count - 2 * axis.radius();
    return axis;
}

std::vector<long long> centers_per_coordinate(const Axis& axis) {
    std::vector<long long> counts(axis.size, 0);
    for (const Strip& strip : axis.strips)
        for (int i = axis.radius(); i < strip.cells - axis.radius(); ++i)
            ++counts[axis.wrapped(strip.first + i - strip.shift)];
    return counts;
}

}  // namespace patchindex
