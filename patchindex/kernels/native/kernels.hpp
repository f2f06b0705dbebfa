// What the drivers and the instruction sets agree on.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "layout.hpp"

namespace patchindex {

// Displacements along x that are scanned together, at most.
constexpr int MAX_GROUP = 3;
constexpr int MARGIN = MAX_GROUP - 1;  // columns that a group may touch beyond its strips

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
    int num_sums() const { return 2 + channels; }  // of w, w^2, w c
    size_t scratch_size() const;
};

// How weights are summed: `checked` compares every vector with its pixel's reference, skips what
// cannot count and moves the reference when it must; `dense` uses one reference for the image.
enum class Mode { checked, dense };

struct ScanTask {
    const ScanShape* shape;
    // [channels][rows][train cols][lanes], scaled so that log2 w = -distance. Pixels outside the
    // image are zero in `padded_block`, which strips padded with zeros read. In `block` they wrap
    // round, or are far away from anything: windows that touch them weigh nothing.
    const float* block;
    const float* padded_block;
    const float* query;  // [channels][rows][query cols], scaled alike; wraps round or is zero
    float* references;   // [rows][cols]: log2 scale of each pixel's sums; weights are 2^(ref - S)
    float* sums;         // [rows][cols][num_sums][lanes]
    float* scratch;
    float dense_reference;  // the reference of every pixel in dense mode
    float skip_below;       // log2 weights under this never count
    const std::atomic<bool>* stop;
    int64_t visited, summed;  // out, checked mode: vectors compared, vectors not skipped
};

// One instruction set's code. The names are those that PATCHINDEX_ISA takes.
struct Kernels {
    const char* name;
    int lanes;
    void (*scan_block)(ScanTask& task, Mode mode);
    // Adds the lanes of `num` vectors to num doubles, and clears them.
    void (*reduce_sums)(float* sums, double* totals, size_t num);
};

// Null where the compiler or the processor has not the instructions.
const Kernels* kernels_avx512();
const Kernels* kernels_avx2();
const Kernels* kernels_portable();

// The kernels called `isa`, or the fastest ones if it is empty. Throws std::invalid_argument.
const Kernels& select_kernels(const std::string& isa);

}  // namespace patchindex
