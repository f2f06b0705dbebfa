// What the drivers and the instruction sets agree on.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "layout.hpp"

namespace patchindex {

// Displacements along x that are scanned together, at most: sums are then loaded and stored once for
// all of them. Running sums leave registers for one more.
constexpr int MAX_GROUP = 4, MAX_GROUP_AFRESH = 3;
// Columns that a group may touch beyond its strips, and windows beyond its last.
constexpr int MARGIN = MAX_GROUP + 2;
constexpr int SPARE_WINDOWS = 3;

// Shapes of the arrays of a ScanTask.
struct ScanShape {
    Axis rows, cols;
    int channels;
    int lanes;

    // columns of the arrays: coordinates from *_low on
    int train_low() const { return cols.train_low - MARGIN; }
    int train_count() const { return cols.train_high - cols.train_low + 2 * MARGIN; }
    int query_low() const { return cols.query_low - MARGIN; }
    int query_count() const { return cols.query_high - cols.query_low + 2 * MARGIN; }

    size_t block_size() const { return size_t(channels) * rows.size * train_count() * lanes; }
    size_t query_size() const { return size_t(channels) * rows.size * query_count(); }
    size_t num_pixels() const { return size_t(rows.size) * cols.size; }
    bool has_padded_block() const { return !cols.train_wraps; }
    int num_sums() const { return 2 + channels; }  // of w, w^2, w c
    size_t scratch_size() const;
};

// How weights are summed: `checked` compares every vector with its pixel's reference, skips what
// cannot count and moves the reference when it must; `dense` uses one reference for the image;
// `shares` sums each image's weights over the pixels, whose references are their known masses.
enum class Mode { checked, dense, shares };

// What hears of vectors in which some weight is large, in mode `shares`: of `pixel`, with the center
// at a row of the training images and a column that may lie outside where they wrap.
struct ShareListener {
    virtual void hear(int64_t pixel, int train_row, int train_col, const float* log2_shares) = 0;

  protected:
    ~ShareListener() = default;
};

struct ScanTask {
    const ScanShape* shape;
    // [channels][rows][train cols][lanes], scaled so that log2 w = -distance. Pixels outside the
    // image are zero in `padded_block`, which strips padded with zeros and running sums read. In
    // `block` they wrap round (and both are the same), or are far away from anything: windows that
    // touch them weigh nothing.
    const float* block;
    const float* padded_block;
    const float* query;  // [channels][rows][query cols], scaled alike; wraps round or is zero
    float* references;   // [rows][cols]: log2 scale of each pixel's sums; weights are 2^(ref - S)
    float* sums;         // [rows][cols][num_sums][lanes]
    float* scratch;
    const float* zeros;     // a row of training pixels, or of a query
    float dense_reference;  // the reference of every pixel in dense mode
    float skip_below;       // log2 weights under this never count
    bool running;           // sum windows by adding and taking away, where rounding allows
    // [row strips][col strips]: only displacements of this share are compared; all if null
    const int32_t* shares;
    int32_t share;
    const float* factors;     // mode shares, [rows][cols]: what references lack to the masses
    double* image_sums;       // mode shares, [lanes]: added to
    float list_above;         // mode shares: log2 of the shares that the listener hears of
    ShareListener* listener;  // mode shares
    const std::atomic<bool>* stop;
    int64_t visited, summed;  // out, checked mode: vectors compared, vectors not skipped
};

// Windows of given patches, decoded: what the distance kernels read.
struct PatchTask {
    // Top left compared cell of each patch in channel 0; null for no patch.
    const uint8_t* const* corners;
    int64_t num_patches;
    int64_t row_stride, channel_stride;  // from row to row, from channel to channel
    int channels, rows, cols;            // of the compared cells
    const uint8_t* pixels_end;
};

constexpr int MOST_LANES = 16;       // floats in a register of any kind
constexpr int64_t CODE_BLOCK = 128;  // codes that are decoded together; whole vectors of any kind

// How codes stand for vectors.
struct CodeTask {
    int dims;
    const float* steps;  // [dims] from one code to the next
};

// A query of a block of codes. Distances lack the query's own squared length.
struct CodeQuery {
    const float* vector;  // [dims] minus twice the query
    float limit;
    int32_t num_near;  // out: codes nearer than the limit, their distances and positions
    // whole registers are stored, so that the last may pass the block
    float dist[CODE_BLOCK + MOST_LANES];
    int32_t at[CODE_BLOCK + MOST_LANES];
};

// Floats that a query's row of `cols` cells takes, padded to whole vectors.
inline int padded_cols(int cols, int lanes) { return (cols + lanes - 1) / lanes * lanes; }

// One instruction set's code. The names are those that PATCHINDEX_ISA takes.
struct Kernels {
    const char* name;
    int lanes;
    void (*scan_block)(ScanTask& task, Mode mode);
    // Adds the lanes of `num` vectors to num doubles, and clears them.
    void (*reduce_sums)(float* sums, double* totals, size_t num);
    // dist[i] = sum of squared differences, in grey levels, between patch i and a query
    // [channels][rows][padded cols] in grey levels; infinite for no patch.
    void (*distances)(const PatchTask& task, const float* query, float* dist);
    // The same for several queries [cells] of unpadded cells; dist[q][i] lies at q * stride + i.
    // `scratch` holds cells * lanes floats.
    void (*shared_distances)(const PatchTask& task, const float* queries, int64_t num_queries,
                             float* dist, int64_t stride, float* scratch);
    // Adds sums of w, w^2, w c to sums[2 + channels], with w = 2^(log2_w[i] - reference);
    // centers are [channels][stride]. `num` is a multiple of lanes.
    void (*add_weights)(const float* log2_w, const float* centers, int64_t stride, int channels,
                        int64_t num, float reference, double* sums);
    // Codes [num][dims], at most CODE_BLOCK, to vectors [dims][CODE_BLOCK] relative to the middle of
    // their range, and their squared lengths.
    void (*decode_codes)(const CodeTask& task, const uint8_t* codes, int64_t num, float* decoded,
                         float* norms);
    // Finds for each query the codes nearer than its limit.
    void (*near_codes)(const CodeTask& task, const float* decoded, const float* norms, int64_t num,
                       CodeQuery* const* queries, int64_t num_queries);
};

// Null where the compiler or the processor has not the instructions.
const Kernels* kernels_avx512();
const Kernels* kernels_avx2();
const Kernels* kernels_portable();

// The kernels called `isa`, or the fastest ones if it is empty. Throws std::invalid_argument.
const Kernels& select_kernels(const std::string& isa);

}  // namespace patchindex
