// Which pixel pairs the scan compares: displacements of one image axis at a time.
//
// A displacement d pairs query coordinate q with training coordinate q + d. One rule covers every
// border signature (geometry.py is its spec). Boundary `zeros`: an axis with d = 0 is padded with
// zeros, so that windows are clipped; an axis with d != 0 takes only windows inside both images.
// `circular`: both images wrap. `circular_interior`: only the query wraps.
#pragma once

#include <vector>

namespace patchindex {

enum class Boundary { zeros, circular, circular_interior };

// The cells that one displacement compares along an axis: consecutive query coordinates, which
// may lie outside the image.
struct Strip {
    int displacement;
    int first, stop;  // query coordinates; all windows of cells inside are legal

    int train_first() const { return first + displacement; }
    int train_stop() const { return stop + displacement; }
};

// One image axis: its strips, and the coordinates that they touch.
struct Axis {
    int size;
    int patch_size;
    bool train_wraps, query_wraps;  // otherwise cells outside the image are zero in both
    bool padded;                    // strips[0] is the one with d = 0 in images padded with zeros
    std::vector<Strip> strips;      // by ascending displacement, strips[0] apart if `padded`
    int train_low, train_high, query_low, query_high;

    int radius() const { return patch_size / 2; }
    int wrapped(int coordinate) const { return ((coordinate % size) + size) % size; }
    bool inside(int coordinate) const { return coordinate >= 0 && coordinate < size; }
};

Axis make_axis(int size, int patch_size, Boundary boundary, bool equivariant);

}  // namespace patchindex
