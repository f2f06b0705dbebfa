#include "nearest_rows.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "kernels.hpp"
#include "memory.hpp"
#include "nearest.hpp"
#include "parallel.hpp"

namespace patchindex {
namespace {

constexpr const char* NOT_FINITE =
    "vectors hold values that are not finite, or over 1e18. Give finite queries.";

// Rows turned over block by block, so that a register holds the same dimension of several rows.
class TurnedRows {
  public:
    TurnedRows(const float* rows, int64_t num_rows, int dims)
        : num_rows_(num_rows), dims_(dims), turned_(num_blocks() * dims * CODE_BLOCK),
          norms_(num_blocks() * CODE_BLOCK) {
        for (int64_t row = 0; row < num_rows; ++row) {
            float norm = 0;
            for (int i = 0; i < dims; ++i) {
                const float value = rows[row * dims + i];
                turned_.data()[(row / CODE_BLOCK * dims + i) * CODE_BLOCK + row % CODE_BLOCK] =
                    value;
                norm += value * value;
            }
            if (!std::isfinite(norm))
                throw std::invalid_argument(
                    "row " + std::to_string(row) +
                    " holds values that are not finite, or over 1e18. If it comes from an index, "
                    "that is damaged: see what `patchindex verify` says of it.");
            norms_.data()[row] = norm;
        }
    }
    int64_t num_blocks() const { return (num_rows_ + CODE_BLOCK - 1) / CODE_BLOCK; }

    // The rows of a block that are nearer to queries than their limits.
    void near(const Kernels& kernels, int64_t block, CodeQuery* const* queries,
              int64_t num_queries) const {
        const int64_t here = std::min<int64_t>(CODE_BLOCK, num_rows_ - block * CODE_BLOCK);
        kernels.near_codes({dims_, nullptr}, turned_.data() + block * dims_ * CODE_BLOCK,
                           norms_.data() + block * CODE_BLOCK, here, queries, num_queries);
    }

  private:
    const int64_t num_rows_;
    const int dims_;
    AlignedFloats turned_, norms_;
};

// What all threads read of the cells.
struct Cells {
    TurnedRows centers;
    std::vector<std::unique_ptr<TurnedRows>> rows;

    explicit Cells(const CellInput& in) : centers(in.centers, in.num_cells, in.dims) {
        for (int64_t cell = 0; cell < in.num_cells; ++cell)
            rows.push_back(std::make_unique<TurnedRows>(in.rows + in.offsets[cell] * in.dims,
                                                        in.offsets[cell + 1] - in.offsets[cell],
                                                        in.dims));
    }
};

// One thread's arrays.
class CellSearcher {
  public:
    static constexpr int64_t MOST_VECTORS = 4096;  // so many share the rows of a cell

    CellSearcher(const CellInput& in, const Cells& cells, const Kernels& kernels)
        : in_(in), cells_(cells), kernels_(kernels), queries_(TOGETHER),
          scaled_(MOST_VECTORS * in.dims), best_(MOST_VECTORS), near_(TOGETHER * MOST_VISITS),
          visits_(MOST_VECTORS * in.num_visits), visitors_(MOST_VECTORS * in.num_visits) {
        for (CodeQuery& query : queries_) pointers_.push_back(&query);
    }

    void search(int64_t first, int64_t num, int32_t* positions) {
        for (int64_t i = 0; i < num * in_.dims; ++i)
            scaled_[i] = -2.0f * in_.vectors[first * in_.dims + i];
        for (int64_t at = 0; at < num; at += TOGETHER)
            choose_cells(at, std::min(TOGETHER, num - at));
        std::fill_n(best_.begin(), num, INFINITE);
        std::fill_n(positions + first, num, -1);
        // the nearest cell of each vector first: few rows of the others are nearer
        search_visits(num, 0, 1, positions + first);
        search_visits(num, 1, in_.num_visits, positions + first);
        for (int64_t i = 0; i < num; ++i)
            if (positions[first + i] < 0) throw std::invalid_argument(NOT_FINITE);
    }

  private:
    static constexpr int64_t TOGETHER = 64;
    const CellInput& in_;
    const Cells& cells_;
    const Kernels& kernels_;
    std::vector<CodeQuery> queries_;
    std::vector<CodeQuery*> pointers_;
    std::vector<float> scaled_, best_, near_;
    std::vector<int32_t> visits_, visitors_;
    std::vector<int64_t> starts_, filled_;

    // The cells that each vector visits, nearest first.
    void choose_cells(int64_t first, int64_t num) {
        const int64_t most = in_.num_visits;
        for (int64_t i = 0; i < num; ++i) {
            queries_[i].vector = scaled_.data() + (first + i) * in_.dims;
            std::fill_n(near_.begin() + i * MOST_VISITS, most, INFINITE);
        }
        for (int64_t block = 0; block < cells_.centers.num_blocks(); ++block) {
            for (int64_t i = 0; i < num; ++i) queries_[i].limit = near_[i * MOST_VISITS + most - 1];
            cells_.centers.near(kernels_, block, pointers_.data(), num);
            for (int64_t i = 0; i < num; ++i) {
                float* const dist = near_.data() + i * MOST_VISITS;
                int32_t* const cells = visits_.data() + (first + i) * most;
                for (int32_t j = 0; j < queries_[i].num_near; ++j)
                    insert(queries_[i].dist[j], int32_t(block * CODE_BLOCK + queries_[i].at[j]),
                           dist, cells);
            }
        }
        for (int64_t i = 0; i < num; ++i)
            if (!(near_[i * MOST_VISITS + most - 1] < INFINITE))
                throw std::invalid_argument(NOT_FINITE);
    }

    // Puts a cell where it belongs among the nearest; of equally near ones the first stays first.
    void insert(float near, int32_t cell, float* dist, int32_t* cells) const {
        int64_t at = in_.num_visits - 1;
        if (!(near < dist[at])) return;
        for (; at > 0 && near < dist[at - 1]; --at) {
            dist[at] = dist[at - 1];
            cells[at] = cells[at - 1];
        }
        dist[at] = near;
        cells[at] = cell;
    }

    // Goes from cell to cell, and in each compares the vectors that visit it in these turns.
    void search_visits(int64_t num, int64_t first, int64_t stop, int32_t* positions) {
        starts_.assign(in_.num_cells + 1, 0);
        for (int64_t i = 0; i < num; ++i)
            for (int64_t j = first; j < stop; ++j) ++starts_[visits_[i * in_.num_visits + j] + 1];
        for (int64_t cell = 0; cell < in_.num_cells; ++cell) starts_[cell + 1] += starts_[cell];
        filled_.assign(starts_.begin(), starts_.end() - 1);
        for (int64_t i = 0; i < num; ++i)
            for (int64_t j = first; j < stop; ++j)
                visitors_[filled_[visits_[i * in_.num_visits + j]]++] = int32_t(i);
        for (int64_t cell = 0; cell < in_.num_cells; ++cell)
            for (int64_t at = starts_[cell]; at < starts_[cell + 1]; at += TOGETHER)
                search_cell(cell, visitors_.data() + at, std::min(TOGETHER, starts_[cell + 1] - at),
                            positions);
    }

    void search_cell(int64_t cell, const int32_t* visitors, int64_t num, int32_t* positions) {
        const TurnedRows& rows = *cells_.rows[cell];
        for (int64_t i = 0; i < num; ++i)
            queries_[i].vector = scaled_.data() + int64_t(visitors[i]) * in_.dims;
        for (int64_t block = 0; block < rows.num_blocks(); ++block) {
            for (int64_t i = 0; i < num; ++i) queries_[i].limit = best_[visitors[i]];
            rows.near(kernels_, block, pointers_.data(), num);
            for (int64_t i = 0; i < num; ++i)
                for (int32_t j = 0; j < queries_[i].num_near; ++j)
                    if (queries_[i].dist[j] < best_[visitors[i]]) {
                        best_[visitors[i]] = queries_[i].dist[j];
                        positions[visitors[i]] =
                            int32_t(in_.offsets[cell] + block * CODE_BLOCK + queries_[i].at[j]);
                    }
        }
    }
};

}  // namespace

bool nearest_rows(const float* rows, int64_t num_rows, int dims, const float* vectors,
                  int64_t num_vectors, int64_t count, int64_t* positions, int threads,
                  const std::string& isa, const std::function<bool()>& interrupted) {
    constexpr int64_t VECTORS_PER_UNIT = 64;
    const Kernels& kernels = select_kernels(isa);
    const TurnedRows turned(rows, num_rows, dims);
    std::atomic<bool> stop{false};
    const auto work = [&](int64_t unit, int) {
        const int64_t first = unit * VECTORS_PER_UNIT;
        const int64_t num = std::min(VECTORS_PER_UNIT, num_vectors - first);
        std::vector<float> scaled(num * dims);
        std::vector<CodeQuery> queries(num);
        std::vector<CodeQuery*> pointers;
        const std::unique_ptr<Nearest[]> nearest(new Nearest[num]);
        for (int64_t q = 0; q < num; ++q) {
            for (int i = 0; i < dims; ++i)
                scaled[q * dims + i] = -2.0f * vectors[(first + q) * dims + i];
            queries[q].vector = scaled.data() + q * dims;
            pointers.push_back(&queries[q]);
        }
        for (int64_t block = 0; block < turned.num_blocks() && !stop; ++block) {
            for (int64_t q = 0; q < num; ++q) queries[q].limit = nearest[q].limit();
            turned.near(kernels, block, pointers.data(), num);
            for (int64_t q = 0; q < num; ++q)
                nearest[q].add(queries[q], block * CODE_BLOCK, count, [](int64_t) { return true; });
        }
        for (int64_t q = 0; q < num && !stop; ++q) {
            const std::vector<Found>& found = nearest[q].sorted(count);
            if (int64_t(found.size()) < count)  // a distance was no number
                throw std::invalid_argument(NOT_FINITE);
            for (int64_t i = 0; i < count; ++i)
                positions[(first + q) * count + i] = found[i].place();
        }
    };
    const int64_t units = (num_vectors + VECTORS_PER_UNIT - 1) / VECTORS_PER_UNIT;
    run_units(units, threads, stop, work, interrupted);
    return !stop;
}

bool nearest_in_cells(const CellInput& in, int32_t* positions,
                      const std::function<bool()>& interrupted) {
    const Kernels& kernels = select_kernels(in.isa);
    const Cells cells(in);
    std::vector<std::unique_ptr<CellSearcher>> searchers(in.threads);
    std::atomic<bool> stop{false};
    const auto work = [&](int64_t unit, int thread) {
        if (!searchers[thread])
            searchers[thread] = std::make_unique<CellSearcher>(in, cells, kernels);
        const int64_t first = unit * CellSearcher::MOST_VECTORS;
        searchers[thread]->search(
            first, std::min(CellSearcher::MOST_VECTORS, in.num_vectors - first), positions);
    };
    const int64_t units =
        (in.num_vectors + CellSearcher::MOST_VECTORS - 1) / CellSearcher::MOST_VECTORS;
    run_units(units, in.threads, stop, work, interrupted);
    return !stop;
}

}  // namespace patchindex
