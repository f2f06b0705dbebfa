// The scan of one block of images for one query image; included once per instruction set.

// One displacement along y with K consecutive ones along x.
template <int C, int K>
struct Displacements {
    ScanTask& task;
    const Mode mode;
    const ScanShape& shape;
    const Strip& rows;
    const int size;      // of a window
    int cells, windows;  // of a row, those of all K displacements together
    int first_pixel;     // column of window 0
    int displacement;    // the first along x
    Vec origin;          // what row sums start from
    const Vec* train;    // what cell 0 of each row compares
    const float* query;
    int legal_from[K], legal_to[K];  // windows of each displacement

    Displacements(ScanTask& task, Mode mode, const Strip& rows, const Strip* cols, bool padded);
    void scan();
    void scan_running() const;

  private:
    int wrapped(int row) const;
    CellRow cell_row(int row) const;
    CellRow row_or_zeros(int row) const;
    void sum_row(int row, Vec* sums, Vec* scratch) const;
    template <class Rows>
    void add(int top, Rows&& log2_w) const;
    void scan_rows_of_one(Vec* ring, Vec* scratch) const;
    template <int SIZE>
    void scan_few_rows(Vec* ring, Vec* scratch) const;
    void scan_rows(Vec* ring, Vec* scratch) const;
};

template <int C, int K>
Displacements<C, K>::Displacements(ScanTask& task_, Mode mode_, const Strip& rows_,
                                   const Strip* cols, bool padded)
    : task(task_), mode(mode_), shape(*task_.shape), rows(rows_), size(shape.rows.patch_size) {
    int first = cols[0].first, stop = cols[0].stop;
    for (int k = 1; k < K; ++k) {
        first = cols[k].first < first ? cols[k].first : first;
        stop = cols[k].stop > stop ? cols[k].stop : stop;
    }
    cells = stop - first;
    windows = cells - size + 1;
    first_pixel = first + shape.cols.radius();
    displacement = cols[0].displacement;
    for (int k = 0; k < K; ++k) {
        legal_from[k] = cols[k].first - first;
        legal_to[k] = cols[k].stop - first - size + 1;
    }
    origin = broadcast(mode == Mode::dense ? task.dense_reference / float(size) : 0.0f);
    train = reinterpret_cast<const Vec*>(padded || task.running ? task.padded_block : task.block) +
            (first + cols[0].displacement - shape.train_low());
    query = task.query + (first - shape.query_low());
}

// Rows are never further out than twice the image.
template <int C, int K>
PATCHINDEX_INLINE_MEMBER int Displacements<C, K>::wrapped(int row) const {
    const int height = shape.rows.size;
    while (row < 0) row += height;
    while (row >= height) row -= height;
    return row;
}

template <int C, int K>
PATCHINDEX_INLINE_MEMBER CellRow Displacements<C, K>::cell_row(int row) const {
    const int train_row = wrapped(row + rows.displacement), query_row = wrapped(row);
    return {train + ptrdiff_t(train_row) * shape.train_count(),
            query + ptrdiff_t(query_row) * shape.query_count(),
            ptrdiff_t(shape.rows.size) * shape.train_count(),
            ptrdiff_t(shape.rows.size) * shape.query_count(), shape.channels};
}

// The row, or zeros where both images are.
template <int C, int K>
PATCHINDEX_INLINE_MEMBER CellRow Displacements<C, K>::row_or_zeros(int row) const {
    if (row >= rows.first && (shape.rows.query_wraps || shape.rows.inside(row)))
        return cell_row(row);
    return {reinterpret_cast<const Vec*>(task.zeros), task.zeros, 0, 0, shape.channels};
}

// sums[j * K + k] = origin - the squared differences of query row `row`, summed along x.
template <int C, int K>
PATCHINDEX_INLINE_MEMBER void Displacements<C, K>::sum_row(int row, Vec* sums, Vec* scratch) const {
    if (!shape.rows.query_wraps && !shape.rows.inside(row)) {  // zero in both images
        for (int j = 0; j < K * windows; ++j) sums[j] = origin;
        return;
    }
    row_sums<C, K>(cell_row(row), cells, size, origin, sums, scratch);
}

// Adds the windows whose topmost row is `top`.
template <int C, int K>
template <class Rows>
PATCHINDEX_INLINE_MEMBER void Displacements<C, K>::add(int top, Rows&& log2_w) const {
    const int center = top + shape.rows.radius();
    const int train_row = wrapped(center + rows.displacement);
    const ptrdiff_t pixel = ptrdiff_t(wrapped(center)) * shape.cols.size + first_pixel;
    const PixelRow row{train + ptrdiff_t(train_row) * shape.train_count() + shape.cols.radius(),
                       ptrdiff_t(shape.rows.size) * shape.train_count(),
                       task.references + pixel,
                       reinterpret_cast<Vec*>(task.sums) + pixel * shape.num_sums(),
                       windows,
                       shape.channels};
    if (mode == Mode::shares) {
        const int train_col = first_pixel + displacement;
        const Vec sum =
            sum_shares<C, K>(row, log2_w, task.factors + pixel, task.skip_below, task.list_above,
                             [&](int a, int k, Vec x) {
                                 task.listener->hear(pixel + a, train_row, train_col + a + k,
                                                     reinterpret_cast<const float*>(&x));
                             });
        for (int lane = 0; lane < LANES; ++lane) task.image_sums[lane] += sum[lane];
    } else if (mode == Mode::dense) {
        add_dense<C, K>(row, log2_w);
    } else {
        task.summed += add_checked<C, K>(row, log2_w, task.skip_below);
        task.visited += windows;
    }
}

template <int C, int K>
void Displacements<C, K>::scan_rows_of_one(Vec* ring, Vec* scratch) const {
    for (int row = rows.first; row < rows.stop; ++row) {
        sum_row(row, ring, scratch);
        add(row, OneRow{ring});
    }
}

// Windows of a few rows: two, one above the other, share all but one row each.
template <int C, int K>
template <int SIZE>
void Displacements<C, K>::scan_few_rows(Vec* ring, Vec* scratch) const {
    const ptrdiff_t width = ptrdiff_t(K) * (windows + SPARE_WINDOWS);
    Vec* sums[SIZE + 1];
    for (int j = 0; j <= SIZE; ++j) sums[j] = ring + j * width;
    for (int j = 0; j < SIZE - 1; ++j) sum_row(rows.first + j, sums[j], scratch);
    for (int row = rows.first + SIZE - 1; row < rows.stop; row += 2) {
        const bool two = row + 1 < rows.stop;
        const int top = row - SIZE + 1;
        sum_row(row, sums[SIZE - 1], scratch);
        if (two) sum_row(row + 1, sums[SIZE], scratch);
        RowAndSum<SIZE - 1> upper{sums[0], {}, sums[1]};
        for (int j = 0; j < SIZE - 1; ++j) upper.b[j] = sums[j + 1];
        add(top, upper);
        if (!two) return;
        add(top + 1, TwoRows{sums[1], sums[SIZE]});
        Vec *const free_a = sums[0], *const free_b = sums[1];
        for (int j = 0; j < SIZE - 1; ++j) sums[j] = sums[j + 2];
        sums[SIZE - 1] = free_a, sums[SIZE] = free_b;
    }
}

// Windows of any height: a suffix of one group of rows plus a prefix of the next.
template <int C, int K>
void Displacements<C, K>::scan_rows(Vec* ring, Vec* scratch) const {
    const ptrdiff_t width = ptrdiff_t(K) * (windows + SPARE_WINDOWS);
    Vec* const prefix = ring + size * width;
    int j = 0;  // the row's place in its group
    for (int row = rows.first; row < rows.stop; ++row) {
        Vec* const sums = ring + j * width;  // row sums of the group, then their suffix sums
        sum_row(row, sums, scratch);
        const int top = row - size + 1;
        if (top > rows.first) {
            if (j == 0)
                add(top, TwoRows{sums + width, sums});
            else if (j + 1 < size)
                add(top, RowAndSum<2>{sums + width, {j == 1 ? ring : prefix, sums}, prefix});
            else
                add(top, TwoRows{prefix, sums});
        }
        if (++j < size) continue;
        j = 0;
        if (top == rows.first || row + 1 < rows.stop) suffix_rows(ring, size, int(width));
        if (top == rows.first) add(top, OneRow{ring});
    }
}

template <int C, int K>
void Displacements<C, K>::scan_running() const {
    Vec* const columns = reinterpret_cast<Vec*>(task.scratch) + K;
    const Vec whole = origin * float(size);
    for (int i = -K; i < K * cells; ++i) columns[i] = Vec{};
    for (int row = rows.first; row < rows.first + size - 1; ++row) {
        const CellRow gained = row_or_zeros(row);
        for (int i = 0; i < cells; ++i) {
            Vec terms[K];
            cell_terms<C, K>(gained, i, terms);
            for (int k = 0; k < K; ++k)
                columns[i * K + k] += C == 1 ? terms[k] * terms[k] : terms[k];
        }
    }
    for (int row = rows.first + size - 1; row < rows.stop; ++row)
        add(row - size + 1,
            RunningWindows<C, K>(row_or_zeros(row), row_or_zeros(row - size), columns, size, whole,
                                 windows, legal_from, legal_to));
}

template <int C, int K>
void Displacements<C, K>::scan() {
    if (task.running) return scan_running();
    Vec* const scratch = reinterpret_cast<Vec*>(task.scratch);
    Vec* const ring = scratch + 2 * K * ptrdiff_t(size);
    if (size == 1)
        scan_rows_of_one(ring, scratch);
    else if (size == 3)
        scan_few_rows<3>(ring, scratch);
    else if (size == 5)
        scan_few_rows<5>(ring, scratch);
    else
        scan_rows(ring, scratch);
}

template <int C>
static void scan_channels(ScanTask& task, Mode mode) {
    const Axis& cols = task.shape->cols;
    const Strip* const strips = cols.strips.data();
    const int num_cols = int(cols.strips.size());
    const int largest = task.running ? MAX_GROUP : MAX_GROUP_AFRESH;
    for (size_t y = 0; y < task.shape->rows.strips.size(); ++y) {
        const Strip& rows = task.shape->rows.strips.data()[y];
        const auto compared = [&](int x) {
            return !task.shares || task.shares[y * num_cols + x] == task.share;
        };
        if (cols.padded && compared(0)) Displacements<C, 1>(task, mode, rows, strips, true).scan();
        for (int x = cols.padded ? 1 : 0; x < num_cols;) {
            if (task.stop->load(std::memory_order_relaxed)) return;
            if (!compared(x)) {
                ++x;
                continue;
            }
            const Strip* const group = strips + x;
            int num = 1;
            while (num < largest && x + num < num_cols && compared(x + num) &&
                   group[num].displacement == group[0].displacement + num)
                ++num;
            if (num == 4)
                Displacements<C, 4>(task, mode, rows, group, false).scan_running();
            else if (num == 3)
                Displacements<C, 3>(task, mode, rows, group, false).scan();
            else if (num == 2)
                Displacements<C, 2>(task, mode, rows, group, false).scan();
            else
                Displacements<C, 1>(task, mode, rows, group, false).scan();
            x += num;
        }
    }
}

static void scan_block(ScanTask& task, Mode mode) {
    if (task.shape->channels == 1)
        scan_channels<1>(task, mode);
    else if (task.shape->channels == 3)
        scan_channels<3>(task, mode);
    else
        scan_channels<0>(task, mode);
}

static void reduce_sums(float* sums, double* totals, size_t num) {
    Vec* const vectors = reinterpret_cast<Vec*>(sums);
    for (size_t i = 0; i < num; ++i) {
        totals[i] += lane_sum(vectors[i]);
        vectors[i] = Vec{};
    }
}
