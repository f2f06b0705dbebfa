// Sums of squared differences over every P-cell window of a row.
//
// No term is ever taken away again: a window is a suffix of one group of P cells plus a prefix of
// the next, so its rounding error is relative to itself, however large its neighbors are.
// All sums are negative (they are log2 weights) and start from `origin`.

// Cell i of displacement k compares query[i] with train[i + k].
struct CellRow {
    const Vec* train;  // channel 0
    const float* query;
    ptrdiff_t train_stride, query_stride;  // from channel to channel
    int channels;
};

// What cell i subtracts from the sums of K displacements: its differences if C == 1 (squared by a
// fused multiply-add on the way), otherwise its squared differences over the channels.
template <int C, int K>
PATCHINDEX_INLINE void cell_terms(const CellRow& row, ptrdiff_t i, Vec (&terms)[K]) {
    const float* query = row.query + i;
    const Vec* train = row.train + i;
    const Vec q = broadcast(query[0]);
    for (int k = 0; k < K; ++k) {
        const Vec d = q - train[k];
        terms[k] = C == 1 ? d : d * d;
    }
    for (int c = 1; c < (C > 0 ? C : row.channels); ++c) {
        query += row.query_stride;
        train += row.train_stride;
        const Vec q_c = broadcast(query[0]);
        for (int k = 0; k < K; ++k) {
            const Vec d = q_c - train[k];
            terms[k] = terms[k] + d * d;
        }
    }
}

template <int C>
PATCHINDEX_INLINE Vec less(Vec sum, Vec term) {
    return C == 1 ? sum - term * term : sum - term;
}

// Windows of one cell.
template <int C, int K>
PATCHINDEX_INLINE void row_sums_of_one(const CellRow& row, int cells, Vec origin, Vec* out) {
    for (int i = 0; i < cells; ++i, out += K) {
        Vec terms[K];
        cell_terms<C, K>(row, i, terms);
        for (int k = 0; k < K; ++k) out[k] = less<C>(origin, terms[k]);
    }
}

// Windows of a few cells: two neighbors share all but one cell each, and terms stay in registers.
template <int SIZE, int C, int K>
PATCHINDEX_INLINE void row_sums_of_few(const CellRow& row, int cells, Vec origin, Vec* out) {
    Vec terms[SIZE + 1][K];
    for (int j = 0; j < SIZE - 1; ++j) cell_terms<C, K>(row, j, terms[j]);
    for (int i = SIZE - 1; i + 1 < cells; i += 2, out += 2 * K) {
        cell_terms<C, K>(row, i, terms[SIZE - 1]);
        cell_terms<C, K>(row, i + 1, terms[SIZE]);
        for (int k = 0; k < K; ++k) {
            Vec middle = origin;
            for (int j = 1; j < SIZE; ++j) middle = less<C>(middle, terms[j][k]);
            out[k] = less<C>(middle, terms[0][k]);
            out[K + k] = less<C>(middle, terms[SIZE][k]);
        }
        for (int j = 0; j < SIZE - 1; ++j)
            for (int k = 0; k < K; ++k) terms[j][k] = terms[j + 2][k];
    }
    if ((cells - SIZE) % 2) return;  // an even number of windows
    cell_terms<C, K>(row, cells - 1, terms[SIZE - 1]);
    for (int k = 0; k < K; ++k) {
        Vec sum = origin;
        for (int j = 0; j < SIZE; ++j) sum = less<C>(sum, terms[j][k]);
        out[k] = sum;
    }
}

// Windows of a middling number of cells, one displacement at a time: four neighbors share all but
// three cells each. Up to three windows beyond the last are written as well.
template <int SIZE, int C, int K>
static __attribute__((noinline)) void row_sums_of_some(const CellRow& row, int cells, Vec origin,
                                                       Vec* out) {
    for (int k = 0; k < K; ++k) {
        const CellRow shifted{row.train + k, row.query, row.train_stride, row.query_stride,
                              row.channels};
        Vec term[1], t[SIZE + 3];
        for (int j = 0; j < SIZE - 1; ++j) {
            cell_terms<C, 1>(shifted, j, term);
            t[j] = term[0];
        }
        for (int i = 0; i < cells - SIZE + 1; i += 4) {
            for (int j = SIZE - 1; j < SIZE + 3; ++j) {
                cell_terms<C, 1>(shifted, i + j, term);
                t[j] = term[0];
            }
            Vec middle = origin;
            for (int j = 3; j < SIZE; ++j) middle = less<C>(middle, t[j]);
            const Vec left = less<C>(middle, t[2]), lefter = less<C>(left, t[1]);
            const Vec right = less<C>(middle, t[SIZE]);
            Vec* const windows = out + i * K + k;
            windows[0] = less<C>(lefter, t[0]);
            windows[K] = less<C>(lefter, t[SIZE]);
            windows[2 * K] = less<C>(less<C>(left, t[SIZE]), t[SIZE + 1]);
            windows[3 * K] = less<C>(less<C>(right, t[SIZE + 1]), t[SIZE + 2]);
            for (int j = 0; j < SIZE - 1; ++j) t[j] = t[j + 4];
        }
    }
}

// The suffix sums of a group of cells from its kept terms.
template <int C, int K>
PATCHINDEX_INLINE void suffixes_of(const Vec* kept, int size, Vec origin, Vec* suffix) {
    Vec sum[K];
    for (int k = 0; k < K; ++k) sum[k] = origin;
    for (int j = size - 1; j >= 0; --j)
        for (int k = 0; k < K; ++k) suffix[j * K + k] = sum[k] = less<C>(sum[k], kept[j * K + k]);
}

// out[i * K + k] = origin - the sum of terms i .. i + size - 1 of displacement k, for every window
// of `cells` cells.
template <int C, int K>
PATCHINDEX_INLINE void row_sums(const CellRow& row, int cells, int size, Vec origin, Vec* out,
                                Vec* scratch) {
    if (size == 1) return row_sums_of_one<C, K>(row, cells, origin, out);
    if (size == 3) return row_sums_of_few<3, C, K>(row, cells, origin, out);
    if (size == 5) return row_sums_of_few<5, C, K>(row, cells, origin, out);
    if (size == 7) return row_sums_of_some<7, C, K>(row, cells, origin, out);
    if (size == 9) return row_sums_of_some<9, C, K>(row, cells, origin, out);
    if (size == 11) return row_sums_of_some<11, C, K>(row, cells, origin, out);
    if (size == 13) return row_sums_of_some<13, C, K>(row, cells, origin, out);
    Vec* const suffix = scratch;  // [size][K]
    Vec* const kept = scratch + size * K;
    Vec sum[K], terms[K];
    for (int k = 0; k < K; ++k) sum[k] = origin;
    for (int j = size - 1; j >= 0; --j) {
        cell_terms<C, K>(row, j, terms);
        for (int k = 0; k < K; ++k) suffix[j * K + k] = sum[k] = less<C>(sum[k], terms[k]);
    }
    for (int k = 0; k < K; ++k) out[k] = sum[k];
    out += K;
    for (int start = size; start < cells; start += size) {
        const bool last = start + size >= cells;
        const int stop = cells - start < size ? cells - start : size;
        const int partial = stop < size ? stop : size - 1;
        for (int k = 0; k < K; ++k) sum[k] = Vec{};
        if (last) {
            for (int j = 0; j < partial; ++j, out += K) {
                cell_terms<C, K>(row, start + j, terms);
                for (int k = 0; k < K; ++k) {
                    sum[k] = less<C>(sum[k], terms[k]);
                    out[k] = suffix[(j + 1) * K + k] + sum[k];
                }
            }
        } else {
            for (int j = 0; j < partial; ++j, out += K) {
                cell_terms<C, K>(row, start + j, terms);
                for (int k = 0; k < K; ++k) {
                    kept[j * K + k] = terms[k];
                    sum[k] = less<C>(sum[k], terms[k]);
                    out[k] = suffix[(j + 1) * K + k] + sum[k];
                }
            }
        }
        if (stop < size) return;
        cell_terms<C, K>(row, start + partial, terms);
        for (int k = 0; k < K; ++k) {
            kept[partial * K + k] = terms[k];
            out[k] = less<C>(sum[k] + origin, terms[k]);
        }
        out += K;
        if (!last) suffixes_of<C, K>(kept, size, origin, suffix);
    }
}

constexpr float NO_WINDOW = -1e30f;  // log2 weight of what is none

// Windows by running sums: a column of squared differences gains one row and loses another, a window
// gains a column and loses another. Few operations and little memory, but what was added is taken
// away again: only for where the scan's bound on the rounding error allows it.
template <int C, int K>
struct RunningWindows {
    CellRow gained, lost;  // rows; all zero where there is none
    Vec* columns;          // [cells][K], before `gained`; vectors -K .. -1 are zero
    int size, windows;
    const int *legal_from, *legal_to;  // windows of each displacement
    Vec sums[K];

    PATCHINDEX_INLINE_MEMBER RunningWindows(const CellRow& gained, const CellRow& lost,
                                            Vec* columns, int size, Vec origin, int windows,
                                            const int* legal_from, const int* legal_to)
        : gained(gained), lost(lost), columns(columns), size(size), windows(windows),
          legal_from(legal_from), legal_to(legal_to) {
        for (int k = 0; k < K; ++k) sums[k] = origin;
        for (int i = 0; i < size - 1; ++i) {
            Vec column[K];
            move_column(i, column);
            for (int k = 0; k < K; ++k) sums[k] = sums[k] - column[k];
        }
    }

    PATCHINDEX_INLINE_MEMBER void move_column(ptrdiff_t i, Vec (&column)[K]) {
        Vec terms[K];
        for (int k = 0; k < K; ++k) column[k] = columns[i * K + k];
        cell_terms<C, K>(gained, i, terms);
        for (int k = 0; k < K; ++k)
            column[k] = C == 1 ? column[k] + terms[k] * terms[k] : column[k] + terms[k];
        cell_terms<C, K>(lost, i, terms);
        for (int k = 0; k < K; ++k) columns[i * K + k] = column[k] = less<C>(column[k], terms[k]);
    }

    // The windows whose first cell is a; to be called for a = 0, 1, ... in turn.
    PATCHINDEX_INLINE_MEMBER void next(int a, Vec (&x)[K]) {
        Vec column[K];
        move_column(a + size - 1, column);
        for (int k = 0; k < K; ++k)
            x[k] = sums[k] = sums[k] + (columns[(a - 1) * K + k] - column[k]);
        if (__builtin_expect(a >= K - 1 && a <= windows - K, 1)) return;
        for (int k = 0; k < K; ++k)
            if (a < legal_from[k] || a >= legal_to[k]) x[k] = broadcast(NO_WINDOW);
    }
};

// Turns rows 0 .. size-1 of `ring` into sums over each row and those below it, up to size-1.
static inline void suffix_rows(Vec* ring, int size, int width) {
    for (int i = 0; i < width; ++i) {
        Vec* cell = ring + ptrdiff_t(size - 1) * width + i;
        Vec sum = *cell;
        for (int j = size - 1; j > 0; --j) {
            cell -= width;
            *cell = sum = sum + *cell;
        }
    }
}
