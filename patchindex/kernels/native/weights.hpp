// From negative distances to sums of weights: one row of query pixels at a time.

// Where the log2 weights of a row come from: sums of rows of sums, made on the way.
struct OneRow {
    const Vec* a;
    PATCHINDEX_INLINE_MEMBER Vec operator()(ptrdiff_t i) const { return a[i]; }
};

struct TwoRows {
    const Vec *a, *b;
    PATCHINDEX_INLINE_MEMBER Vec operator()(ptrdiff_t i) const { return a[i] + b[i]; }
};

// A row, and the sum of NUM others that is wanted again: it goes to `kept`.
template <int NUM>
struct RowAndSum {
    const Vec* a;
    const Vec* b[NUM];
    Vec* kept;
    PATCHINDEX_INLINE_MEMBER Vec operator()(ptrdiff_t i) const {
        Vec sum = b[0][i];
        for (int j = 1; j < NUM; ++j) sum = sum + b[j][i];
        kept[i] = sum;
        return a[i] + sum;
    }
};

// The K windows of pixel a, one after another along the row.
template <int K, class Rows>
PATCHINDEX_INLINE void take_windows(Rows& log2_w, int a, Vec (&x)[K]) {
    for (int k = 0; k < K; ++k) x[k] = log2_w(a * K + k);
}

template <int C, int K>
PATCHINDEX_INLINE void take_windows(RunningWindows<C, K>& log2_w, int a, Vec (&x)[K]) {
    log2_w.next(a, x);
}

// A row of pixels, from the first that has a window, and the training pixels at window 0.
struct PixelRow {
    const Vec* centers;       // of channel 0; those of displacement k start at position k
    ptrdiff_t center_stride;  // from channel to channel
    float* references;
    Vec* sums;  // [pixel][num_sums]
    int pixels;
    int channels;
};

// Moves a pixel's reference to the largest of these log2 weights, and its sums along.
static __attribute__((noinline)) void raise_reference(float& reference, Vec* sums, int num_sums,
                                                      float log2_max) {
    const float moved = -__builtin_floorf(log2_max);
    const Vec factor = exp2_of(broadcast(moved - reference));
    reference = moved;
    sums[0] *= factor;
    sums[1] *= factor * factor;
    for (int i = 2; i < num_sums; ++i) sums[i] *= factor;
}

// Adds K windows of one pixel: w = 2^x, with centers at centers[k].
template <int C, int K>
PATCHINDEX_INLINE void add_weights(const Vec (&x)[K], const Vec* centers, ptrdiff_t center_stride,
                                   Vec* sums, int channels) {
    Vec w[K];
    for (int k = 0; k < K; ++k) w[k] = exp2_of(x[k]);
    Vec sum_w = sums[0], sum_w2 = sums[1];
    for (int k = 0; k < K; ++k) {
        sum_w = sum_w + w[k];
        sum_w2 = sum_w2 + w[k] * w[k];
    }
    sums[0] = sum_w;
    sums[1] = sum_w2;
    for (int c = 0; c < (C > 0 ? C : channels); ++c) {
        Vec sum_wc = sums[2 + c];
        for (int k = 0; k < K; ++k) sum_wc = sum_wc + w[k] * centers[c * center_stride + k];
        sums[2 + c] = sum_wc;
    }
}

template <int C, int K, class Rows>
PATCHINDEX_INLINE void add_dense(const PixelRow& row, Rows& log2_w) {
    const int num_sums = 2 + (C > 0 ? C : row.channels);
    for (int a = 0; a < row.pixels; ++a) {
        Vec x[K];
        take_windows(log2_w, a, x);
        add_weights<C, K>(x, row.centers + a, row.center_stride, row.sums + a * num_sums,
                          row.channels);
    }
}

constexpr float RAISE_ABOVE = 40.0f;  // log2 weights over this move the reference; w^2 stays finite

// As add_dense, but relative to each pixel's own reference and without what cannot count. Returns
// how many pixels had a window that counts.
template <int C, int K, class Rows>
PATCHINDEX_INLINE int add_checked(const PixelRow& row, Rows& log2_w, float skip_below) {
    const int num_sums = 2 + (C > 0 ? C : row.channels);
    int summed = 0;
    for (int a = 0; a < row.pixels; ++a) {
        const Vec reference = broadcast(row.references[a]);
        Vec x[K];
        take_windows(log2_w, a, x);
        Vec best = x[0];
        for (int k = 1; k < K; ++k) best = larger(best, x[k]);
        const Vec relative = best + reference;
        if (!any_above(relative, skip_below)) continue;
        ++summed;
        Vec* const sums = row.sums + a * num_sums;
        if (__builtin_expect(any_above(relative, RAISE_ABOVE), 0))
            raise_reference(row.references[a], sums, num_sums, lane_max(best));
        for (int k = 0; k < K; ++k) x[k] = x[k] + row.references[a];
        add_weights<C, K>(x, row.centers + a, row.center_stride, sums, row.channels);
    }
    return summed;
}

// Sums the shares of all pixels and windows of a row; calls `hear(a, k, x)` where one is large.
template <int C, int K, class Rows, class Hear>
PATCHINDEX_INLINE Vec sum_shares(const PixelRow& row, Rows& log2_w, const float* factors,
                                 float skip_below, float list_above, const Hear& hear) {
    Vec total{};
    for (int a = 0; a < row.pixels; ++a) {
        Vec x[K];
        take_windows(log2_w, a, x);
        Vec best = x[0];
        for (int k = 1; k < K; ++k) best = larger(best, x[k]);
        const Vec reference = broadcast(row.references[a]);
        if (!any_above(best + reference, skip_below)) continue;
        Vec sum = exp2_of(x[0] + reference);
        for (int k = 1; k < K; ++k) sum = sum + exp2_of(x[k] + reference);
        total = total + sum * factors[a];
        if (__builtin_expect(any_above(best + reference, list_above), 0))
            for (int k = 0; k < K; ++k)
                if (any_above(x[k] + reference, list_above)) hear(a, k, x[k] + reference);
    }
    return total;
}
