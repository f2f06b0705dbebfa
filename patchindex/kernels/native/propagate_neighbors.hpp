// Patches found for some pixels, propagated to the pixels beside them.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace patchindex {

// Along one axis: which two searched places are each place's neighbors (twice the same for one), how
// many pixels it lies behind them, and where patch centers may lie.
struct NeighborAxis {
    const int64_t* neighbors;  // [places][2]
    const int64_t* steps;      // [places][2]
    int64_t num_places, num_searched;
    int64_t first_center, stop_center;
};

struct PropagationInput {
    const int64_t* found;  // [batch][row neighbors][column neighbors][k], ascending; -1 for none
    int64_t batch, k;
    NeighborAxis rows, cols;
    int64_t height, width;
    const int64_t* targets;  // [num_targets][3] batch, row and column place
    int64_t num_targets;
    int threads;
};

// The ids of each target: those of up to four neighbors, moved by its steps, where they are legal;
// ascending, each once. False if interrupted; throws std::invalid_argument for places that are not.
bool propagate_neighbors(const PropagationInput& input, std::vector<std::vector<int64_t>>& ids,
                         const std::function<bool()>& interrupted);

}  // namespace patchindex
