#include "propagate_neighbors.hpp"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string>

#include "parallel.hpp"

namespace patchindex {
namespace {

constexpr int64_t TARGETS_PER_UNIT = 64;

void check_axis(const NeighborAxis& axis, int64_t size) {
    for (int64_t i = 0; i < 2 * axis.num_places; ++i) {
        if (axis.neighbors[i] < 0 || axis.neighbors[i] >= axis.num_searched)
            throw std::invalid_argument("place " + std::to_string(i / 2) + " has place " +
                                        std::to_string(axis.neighbors[i]) +
                                        " for a neighbor, which was not searched. Give 0.." +
                                        std::to_string(axis.num_searched - 1) + ".");
        if (axis.steps[i] < -size || axis.steps[i] > size)
            throw std::invalid_argument("a step of " + std::to_string(axis.steps[i]) +
                                        " pixels leaves the image. Give at most " +
                                        std::to_string(size) + ".");
    }
}

// One thread's buffers.
class Union {
  public:
    explicit Union(const PropagationInput& in) : in_(in) {}

    std::vector<int64_t> of(const int64_t* target) {
        const int64_t batch = target[0], row = target[1], col = target[2];
        all_.clear();
        for (int i = 0; i < 2; ++i)
            for (int j = 0; j < 2; ++j) {
                const int64_t row_neighbor = in_.rows.neighbors[2 * row + i];
                const int64_t col_neighbor = in_.cols.neighbors[2 * col + j];
                const bool again = (i == 1 && row_neighbor == in_.rows.neighbors[2 * row]) ||
                                   (j == 1 && col_neighbor == in_.cols.neighbors[2 * col]);
                if (again) continue;
                const int64_t neighbor =
                    (batch * in_.rows.num_searched + row_neighbor) * in_.cols.num_searched +
                    col_neighbor;
                take(in_.found + neighbor * in_.k, in_.rows.steps[2 * row + i],
                     in_.cols.steps[2 * col + j]);
            }
        return all_;
    }

  private:
    const PropagationInput& in_;
    std::vector<int64_t> all_, moved_, merged_;

    void take(const int64_t* found, int64_t row_step, int64_t col_step) {
        const auto moved_by_step = [step = row_step * in_.width + col_step](int64_t id) {
            return int64_t(uint64_t(id) + uint64_t(step));  // which may overflow, for no image's id
        };
        moved_.clear();
        for (int64_t i = 0; i < in_.k; ++i) {
            const int64_t id = found[i];
            if (id < 0) continue;
            const int64_t row = id / in_.width % in_.height + row_step;
            const int64_t col = id % in_.width + col_step;
            if (row >= in_.rows.first_center && row < in_.rows.stop_center &&
                col >= in_.cols.first_center && col < in_.cols.stop_center &&
                (moved_.empty() || moved_.back() != moved_by_step(id)))
                moved_.push_back(moved_by_step(id));
        }
        merged_.clear();  // one step for all ids: they still ascend
        std::set_union(all_.begin(), all_.end(), moved_.begin(), moved_.end(),
                       std::back_inserter(merged_));
        all_.swap(merged_);
    }
};

}  // namespace

bool propagate_neighbors(const PropagationInput& in, std::vector<std::vector<int64_t>>& ids,
                         const std::function<bool()>& interrupted) {
    check_axis(in.rows, in.height);
    check_axis(in.cols, in.width);
    for (int64_t i = 0; i < in.num_targets; ++i) {
        const int64_t* const at = in.targets + 3 * i;
        if (at[0] < 0 || at[0] >= in.batch || at[1] < 0 || at[1] >= in.rows.num_places ||
            at[2] < 0 || at[2] >= in.cols.num_places)
            throw std::invalid_argument("target " + std::to_string(i) +
                                        " lies outside the searched field. Give state, row and "
                                        "column of places.");
    }
    ids.assign(in.num_targets, {});
    std::vector<Union> unions(in.threads, Union(in));
    std::atomic<bool> stop{false};
    const int64_t units = (in.num_targets + TARGETS_PER_UNIT - 1) / TARGETS_PER_UNIT;
    const auto work = [&](int64_t unit, int thread) {
        const int64_t first = unit * TARGETS_PER_UNIT;
        const int64_t end = std::min(first + TARGETS_PER_UNIT, in.num_targets);
        for (int64_t i = first; i < end; ++i) ids[i] = unions[thread].of(in.targets + 3 * i);
    };
    run_units(units, in.threads, stop, work, interrupted);
    return !stop;
}

}  // namespace patchindex
