// What the drivers and the instruction sets agree on.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "layout.hpp"

namespace patchindex {

// Shapes of the arrays below. The innermost axis of `block` and `sums` is one image per SIMD lane.
struct ScanShape {
    Axis rows, cols;
    int channels;
    int lanes;

    size_t block_size() const { return size_t(channels) * rows.size * cols.train_count * lanes; }
    size_t query_size() const { return size_t(channels) * rows.size * cols.query_count; }
    size_t num_pixels() const { return size_t(rows.size) * cols.out_count; }
    int num_sums() const { return 2 + channels; }  // of w, w^2, w c
    size_t scratch_size() const;
};

// How weights are summed: `checked` compares every vector with its pixel's reference, skips what
// cannot count and moves the reference when it must; `dense` uses one reference for the image.
enum class Mode { checked, dense };

struct ScanTask {
    const ScanShape* shape;
    const float* block;  // [channels][rows][train cols][lanes], scaled so that log2 w = -distance
    const float* query;  // [channels][rows][query cols], scaled alike
    float* references;   // [rows][out cols]: log2 scale of each pixel's sums; weights are 2^(ref-S)
    float* sums;         // [rows][out cols][num_sums][lanes]
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
