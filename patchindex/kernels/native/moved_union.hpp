// Patches found for some pixels, lent to the pixels around them.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace patchindex {

// Along one axis: which two searched places each place borrows from (twice the same for one), how
// many pixels it lies behind them, and where patch centers may lie.
struct LoanAxis {
    const int64_t* lenders;  // [places][2]
    const int64_t* steps;    // [places][2]
    int64_t num_places, num_lenders;
    int64_t first_center, stop_center;
};

struct MovedUnionInput {
    const int64_t* found;  // [batch][row lenders][column lenders][k], ascending; -1 for none
    int64_t batch, k;
    LoanAxis rows, cols;
    int64_t height, width;
    const int64_t* borrowers;  // [num_borrowers][3] batch, row and column place
    int64_t num_borrowers;
    int threads;
};

// The ids of each borrower: those of up to four lenders, moved by its steps, where they are legal;
// ascending, each once. False if interrupted; throws std::invalid_argument for places that are not.
bool moved_union(const MovedUnionInput& input, std::vector<std::vector<int64_t>>& ids,
                 const std::function<bool()>& interrupted);

}  // namespace patchindex
