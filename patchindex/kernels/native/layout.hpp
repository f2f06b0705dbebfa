// Which pixel pairs the scan compares: displacements of one image axis at a time.
//
// A displacement d pairs query coordinate t - d with training coordinate t. One rule covers every
// border signature (geometry.py is its spec). Boundary `zeros`: an axis with d = 0 is padded with
// zeros, so that windows are clipped; an axis with d != 0 takes only windows inside both images.
// `circular`: both images wrap. `circular_interior`: only the query wraps.
#pragma once

#include <vector>

namespace patchindex {

enum class Boundary { zeros, circular, circular_interior };

// The cells that one displacement compares along an axis, consecutive training coordinates.
struct Strip {
    int first;  // training coordinate of the first cell; negative in a padded or wrapping image
    int shift;  // query coordinate = training coordinate - shift
    int cells;  // windows are one fewer per cell beyond the first patch_size - 1
};

// One image axis: its strips, and the coordinates that they touch.
struct Axis {
    int size;
    int patch_size;
    bool wraps;                 // cells outside the image wrap round; otherwise they are zero
    std::vector<Strip> strips;  // a strip padded with zeros first, the others by ascending shift
    int train_low, train_count;  // training coordinates of all cells
    int query_low, query_count;  // query coordinates of all cells, before wrapping
    int out_low, out_count;      // query coordinates of all window centers, before wrapping

    int radius() const { return patch_size / 2; }
    int wrapped(int coordinate) const { return ((coordinate % size) + size) % size; }
    bool inside(int coordinate) const { return coordinate >= 0 && coordinate < size; }
};

Axis make_axis(int size, int patch_size, Boundary boundary, bool equivariant);

// Legal training centers of each query coordinate.
std::vector<long long> centers_per_coordinate(const Axis& axis);

}  // namespace patchindex
