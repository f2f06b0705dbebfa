// Sums of squared differences over every P-cell window of a row, and over P rows of those.
//
// No term is ever taken away again: a window is a suffix of one group of P cells plus a prefix of
// the next, so its rounding error is relative to itself, however large its neighbors are.
// All sums are negative (they are log2 weights) and start from `origin`.

// K rows of C channels at a time: displacements that share their query row.
template <int K>
struct RowPair {
    const Vec* train[K];    // first cell of channel 0
    const float* query[K];
    ptrdiff_t train_stride, query_stride;  // from channel to channel
    int channels;
};

// What a cell subtracts from a sum: its difference if C == 1 (squared by a fused multiply-add on
// the way), otherwise its squared difference over the channels.
template <int C, int K>
PATCHINDEX_INLINE Vec cell_term(const RowPair<K>& pair, int k, int i) {
    const Vec* train = pair.train[k] + i;
    const float* query = pair.query[k] + i;
    Vec d = query[0] - train[0];
    if (C == 1) return d;
    Vec sum = d * d;
    const int channels = C > 0 ? C : pair.channels;
    for (int c = 1; c < channels; ++c) {
        d = query[c * pair.query_stride] - train[c * pair.train_stride];
        sum = sum + d * d;
    }
    return sum;
}

template <int C>
PATCHINDEX_INLINE Vec less(Vec sum, Vec term) {
    return C == 1 ? sum - term * term : sum - term;
}

// out[k][i] = origin - sum of the terms i .. i + size - 1, for every window of `cells` cells.
template <int C, int K>
static void row_sums(const RowPair<K>& pair, int cells, int size, Vec origin, Vec* const* out,
                     Vec* scratch) {
    const Vec zero = {};
    if (size == 1) {
        for (int i = 0; i < cells; ++i)
            for (int k = 0; k < K; ++k) out[k][i] = less<C>(origin, cell_term<C>(pair, k, i));
        return;
    }
    if (size == 3) {  // two windows share their two middle cells
        Vec left[K], a[K];
        for (int k = 0; k < K; ++k) {
            left[k] = cell_term<C>(pair, k, 0);
            a[k] = cell_term<C>(pair, k, 1);
        }
        int i = 0;
        for (; i + 3 < cells; i += 2)
            for (int k = 0; k < K; ++k) {
                const Vec b = cell_term<C>(pair, k, i + 2), right = cell_term<C>(pair, k, i + 3);
                const Vec middle = less<C>(less<C>(origin, a[k]), b);
                out[k][i] = less<C>(middle, left[k]);
                out[k][i + 1] = less<C>(middle, right);
                left[k] = b;
                a[k] = right;
            }
        if (i + 2 < cells)
            for (int k = 0; k < K; ++k)
                out[k][i] = less<C>(less<C>(less<C>(origin, left[k]), a[k]),
                                    cell_term<C>(pair, k, i + 2));
        return;
    }
    Vec* const suffix = scratch;  // [size][K]
    Vec* const kept = scratch + size * K;
    Vec sum[K];
    for (int k = 0; k < K; ++k) sum[k] = origin;
    for (int j = size - 1; j >= 0; --j)
        for (int k = 0; k < K; ++k)
            suffix[j * K + k] = sum[k] = less<C>(sum[k], cell_term<C>(pair, k, j));
    for (int k = 0; k < K; ++k) out[k][0] = sum[k];
    for (int start = size; start < cells; start += size) {
        const int stop = cells - start < size ? cells - start : size;
        const bool last = start + size >= cells;
        const int first = start - size + 1;  // of the window that ends at `start`
        for (int k = 0; k < K; ++k) sum[k] = zero;
        const int partial = stop < size ? stop : size - 1;
        if (last) {
            for (int j = 0; j < partial; ++j)
                for (int k = 0; k < K; ++k) {
                    sum[k] = less<C>(sum[k], cell_term<C>(pair, k, start + j));
                    out[k][first + j] = suffix[(j + 1) * K + k] + sum[k];
                }
        } else {
            for (int j = 0; j < partial; ++j)
                for (int k = 0; k < K; ++k) {
                    const Vec term = kept[j * K + k] = cell_term<C>(pair, k, start + j);
                    sum[k] = less<C>(sum[k], term);
                    out[k][first + j] = suffix[(j + 1) * K + k] + sum[k];
                }
        }
        if (stop < size) return;
        for (int k = 0; k < K; ++k) {
            const Vec term = kept[(size - 1) * K + k] = cell_term<C>(pair, k, start + size - 1);
            out[k][first + size - 1] = less<C>(sum[k], term) + origin;
            sum[k] = origin;
        }
        if (last) return;
        for (int j = size - 1; j > 0; --j)
            for (int k = 0; k < K; ++k)
                suffix[j * K + k] = sum[k] = less<C>(sum[k], kept[j * K + k]);
    }
}

// Turns rows 0 .. size-1 of `ring` into sums over each row and those below it, up to size-1.
static inline void suffix_rows(Vec* ring, int size, int width) {
    for (int i = 0; i < width; ++i) {
        Vec sum = ring[(size - 1) * width + i];
        for (int j = size - 2; j >= 0; --j) ring[j * width + i] = sum = sum + ring[j * width + i];
    }
}
