// From negative distances to sums of weights: one row of query pixels at a time.

// K rows of `log2 w` that may add to the same query pixels.
template <int K>
struct WeightRow {
    const Vec* log2_w[K];  // position 0 is the first window
    const Vec* centers[K];  // training pixel of the first window, channel 0
    int first[K], stop[K];  // out columns of the windows
    ptrdiff_t center_stride;  // from channel to channel
    float* references;  // of this row's pixels, by out column
    Vec* sums;          // [out col][num_sums]
    int channels;
};

// Moves a pixel's reference to the largest of these log2 weights, and its sums along.
static __attribute__((noinline)) void raise_reference(float& reference, Vec* sums, int num_sums,
                                                      float log2_max) {
    const float moved = -__builtin_floorf(log2_max);
    const Vec factor = exp2_of(broadcast(moved - reference));  // exact: the exponent is whole
    reference = moved;
    sums[0] *= factor;
    sums[1] *= factor * factor;
    for (int i = 2; i < num_sums; ++i) sums[i] *= factor;
}

// Adds K windows of one pixel: w = 2^x with centers centers[k][position of k].
template <int C, int K>
PATCHINDEX_INLINE void add_weights(const Vec (&x)[K], const Vec* const (&centers)[K],
                                   ptrdiff_t center_stride, Vec* sums, int channels) {
    Vec w[K], sum_w = sums[0], sum_w2 = sums[1];
    for (int k = 0; k < K; ++k) {
        w[k] = exp2_of(x[k]);
        sum_w = sum_w + w[k];
        sum_w2 = sum_w2 + w[k] * w[k];
    }
    sums[0] = sum_w;
    sums[1] = sum_w2;
    for (int c = 0; c < (C > 0 ? C : channels); ++c) {
        Vec sum_wc = sums[2 + c];
        for (int k = 0; k < K; ++k) sum_wc = sum_wc + w[k] * centers[k][c * center_stride];
        sums[2 + c] = sum_wc;
    }
}

template <int C, int K>
PATCHINDEX_INLINE void add_dense(const WeightRow<K>& row, int start, int stop) {
    const int num_sums = 2 + (C > 0 ? C : row.channels);
    for (int a = start; a < stop; ++a) {
        Vec x[K];
        const Vec* centers[K];
        for (int k = 0; k < K; ++k) {
            x[k] = row.log2_w[k][a - row.first[k]];
            centers[k] = row.centers[k] + (a - row.first[k]);
        }
        add_weights<C, K>(x, centers, row.center_stride, row.sums + a * num_sums, row.channels);
    }
}

constexpr float RAISE_ABOVE = 40.0f;  // log2 weights over this move the reference; w^2 stays finite

template <int C, int K>
PATCHINDEX_INLINE int64_t add_checked(const WeightRow<K>& row, int start, int stop,
                                      float skip_below) {
    const int num_sums = 2 + (C > 0 ? C : row.channels);
    int64_t summed = 0;
    for (int a = start; a < stop; ++a) {
        Vec x[K];
        const Vec* centers[K];
        const Vec reference = broadcast(row.references[a]);
        Vec best;
        for (int k = 0; k < K; ++k) {
            x[k] = row.log2_w[k][a - row.first[k]] + reference;
            best = k ? larger(best, x[k]) : x[k];
        }
        if (!any_above(best, skip_below)) continue;
        ++summed;
        Vec* const sums = row.sums + a * num_sums;
        if (__builtin_expect(any_above(best, RAISE_ABOVE), 0)) {
            for (int k = 0; k < K; ++k) {
                x[k] = row.log2_w[k][a - row.first[k]];
                best = k ? larger(best, x[k]) : x[k];
            }
            raise_reference(row.references[a], sums, num_sums, lane_max(best));
            for (int k = 0; k < K; ++k) x[k] = x[k] + row.references[a];
        }
        for (int k = 0; k < K; ++k) centers[k] = row.centers[k] + (a - row.first[k]);
        add_weights<C, K>(x, centers, row.center_stride, sums, row.channels);
    }
    return summed * K;
}

// Adds the windows at out columns start .. stop-1 of each row.
template <int C, int K>
PATCHINDEX_INLINE void add_columns(ScanTask& task, Mode mode, const WeightRow<K>& row, int start,
                                   int stop) {
    if (start >= stop) return;
    if (mode == Mode::dense) {
        add_dense<C, K>(row, start, stop);
    } else {
        task.summed += add_checked<C, K>(row, start, stop, task.skip_below);
        task.visited += int64_t(stop - start) * K;
    }
}

template <int K>
static WeightRow<1> only(const WeightRow<K>& row, int k) {
    return {{row.log2_w[k]}, {row.centers[k]}, {row.first[k]}, {row.stop[k]},
            row.center_stride, row.references, row.sums, row.channels};
}

// Adds K rows: columns that all of them have together, the ends one by one.
template <int C, int K>
static void add_row(ScanTask& task, Mode mode, const WeightRow<K>& row) {
    int start = row.first[0], stop = row.stop[0];
    for (int k = 1; k < K; ++k) {
        start = row.first[k] > start ? row.first[k] : start;
        stop = row.stop[k] < stop ? row.stop[k] : stop;
    }
    if (K > 1) {
        stop = stop < start ? start : stop;
        for (int k = 0; k < K; ++k) {
            const int left = row.stop[k] < start ? row.stop[k] : start;
            const int right = row.first[k] > stop ? row.first[k] : stop;
            add_columns<C, 1>(task, mode, only(row, k), row.first[k], left);
            add_columns<C, 1>(task, mode, only(row, k), right, row.stop[k]);
        }
    }
    add_columns<C, K>(task, mode, row, start, stop);
}
