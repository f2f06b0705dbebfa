// What one thread does with the distances of a block of patches.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

#include "kernels.hpp"
#include "memory.hpp"
#include "patches.hpp"
#include "rescore.hpp"

namespace patchindex {

constexpr int64_t QUERIES_PER_TILE = 256;  // whose distances to one block of patches fit the cache

// Whether patches are gathered once for all queries: it pays from a few queries on.
inline bool shares_patches(const RescoreInput& in) { return in.shared && in.num_queries >= 8; }

constexpr float NO_WEIGHT = -1e30f;  // log2 weight of no patch
constexpr double GREY_LEVELS_SQ = 127.5 * 127.5;

// Queries in grey levels, cut to the compared cells; rows are padded to whole vectors if `padded`.
class Queries {
  public:
    Queries(const RescoreInput& in, int lanes, bool padded)
        : cols_(in.col_stop - in.col_first), padded_(padded ? padded_cols(cols_, lanes) : cols_),
          size_(int64_t(in.channels) * (in.row_stop - in.row_first) * padded_),
          values_(in.num_queries * size_) {
        const int p = in.patch_size, r = p / 2;
        float* out = values_.data();
        for (int64_t plane = 0; plane < in.num_queries * in.channels; ++plane)
            for (int y = in.row_first; y < in.row_stop; ++y, out += padded_)
                for (int x = 0; x < cols_; ++x) {
                    const float value = in.windows[(plane * p + y + r) * p + x + in.col_first + r];
                    if (!std::isfinite(value))
                        throw std::invalid_argument(
                            "windows hold values that are not finite. Give finite states.");
                    out[x] = (value + 1.0f) * 127.5f;
                }
    }
    const float* at(int64_t query) { return values_.data() + query * size_; }
    int64_t size() const { return size_; }

  private:
    int cols_, padded_;
    int64_t size_;
    AlignedFloats values_;
};

// Sums of one query, w = 2^(log2_w - reference).
struct RunningRecord {
    double reference = -std::numeric_limits<double>::infinity();
    std::vector<double> sums;  // w, w^2, w c; empty before the first patch
    int64_t num_scored = 0;

    void add(const RunningRecord& other) {
        num_scored += other.num_scored;
        if (other.sums.empty()) return;
        if (sums.empty()) sums.assign(other.sums.size(), 0.0);
        const double level = std::max(reference, other.reference);
        const double keep = std::exp2(reference - level), gain = std::exp2(other.reference - level);
        for (size_t i = 0; i < sums.size(); ++i)
            sums[i] = sums[i] * (i == 1 ? keep * keep : keep) +
                      other.sums[i] * (i == 1 ? gain * gain : gain);
        reference = level;
    }
};

using Near = std::vector<std::pair<float, int64_t>>;  // distances and ids

// One thread's arrays, and what it does with a block of patches.
class Worker {
  public:
    Worker(const RescoreInput& in, const Kernels& kernels)
        : in_(in), kernels_(kernels), patches_(in), shared_(shares_patches(in)),
          dist_((shared_ ? QUERIES_PER_TILE : 1) * PATCH_BLOCK), logs_(PATCH_BLOCK),
          centers_(PATCH_BLOCK * in.channels),
          packed_(int64_t(in.channels) * (in.row_stop - in.row_first) *
                  (in.col_stop - in.col_first) * kernels.lanes) {}

    // Distances in grey levels of ids first .. first + num - 1 to queries; row i of the result, of
    // PATCH_BLOCK floats, belongs to query first_query + i.
    const float* distances(Queries& queries, int64_t first_query, int64_t num_queries,
                           const int64_t* ids, int64_t num) {
        if (ids != decoded_) patches_.decode(ids, num);
        decoded_ = ids;
        if (shared_)
            kernels_.shared_distances(patches_.task(), queries.at(first_query), num_queries,
                                      dist_.data(), PATCH_BLOCK, packed_.data());
        else
            kernels_.distances(patches_.task(), queries.at(first_query), dist_.data());
        return dist_.data();
    }

    // Adds the block last measured to one query's record; `dist` is that query's row.
    void add_to(RunningRecord& record, const float* dist) {
        const int64_t num = patches_.task().num_patches;
        const int64_t whole = (num + kernels_.lanes - 1) / kernels_.lanes * kernels_.lanes;
        const float factor = float(0.5 / (std::log(2.0) * in_.sigma * in_.sigma * GREY_LEVELS_SQ));
        float* const logs = logs_.data();
        float largest = NO_WEIGHT;
        for (int64_t i = 0; i < num; ++i) {
            logs[i] = std::max(-dist[i] * factor, NO_WEIGHT);
            largest = std::max(largest, logs[i]);
        }
        for (int64_t i = num; i < whole; ++i) logs[i] = NO_WEIGHT;
        RunningRecord block;
        block.num_scored = patches_.num_present();
        if (largest > 0.5f * NO_WEIGHT) {
            if (decoded_ != centered_) patches_.centers(centers_.data(), PATCH_BLOCK);
            centered_ = decoded_;
            block.reference = largest;
            block.sums.assign(2 + in_.channels, 0.0);
            kernels_.add_weights(logs, centers_.data(), PATCH_BLOCK, in_.channels, whole, largest,
                                 block.sums.data());
        }
        record.add(block);
    }

    // of the unit in hand, for its owner to fill and take
    std::vector<RunningRecord> records;
    std::vector<Grouped> grouped;
    std::vector<Near> near;

  private:
    const RescoreInput& in_;
    const Kernels& kernels_;
    PatchBlock patches_;
    const bool shared_;
    AlignedFloats dist_, logs_, centers_, packed_;
    const int64_t *decoded_ = nullptr, *centered_ = nullptr;
};

}  // namespace patchindex
