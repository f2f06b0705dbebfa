// The scan of one block of images for one query image; included once per instruction set.

constexpr int GROUP = 2;  // displacements along x that share one pass over the sums

// One displacement along y with K along x.
template <int C, int K>
struct Displacements {
    ScanTask& task;
    Mode mode;
    const Strip& rows;
    const Strip* cols;
    int windows;  // widest of the K rows of windows

    void scan();

  private:
    const ScanShape& shape() const { return *task.shape; }
    int size() const { return shape().rows.patch_size; }
    void sum_row(int i, Vec* sums, Vec* scratch) const;
    void add(int window_row, const Vec* log2_w, int stride) const;
    void scan_rows_of_one(Vec* rows_of_sums, Vec* scratch);
    void scan_rows_of_three(Vec* rows_of_sums, Vec* scratch);
    void scan_rows(Vec* rows_of_sums, Vec* scratch);
};

// sums[k][j] = origin - the squared differences of row i, summed along x.
template <int C, int K>
void Displacements<C, K>::sum_row(int i, Vec* sums, Vec* scratch) const {
    const ScanShape& s = shape();
    const float level = mode == Mode::dense ? task.dense_reference / float(size()) : 0.0f;
    const Vec origin = broadcast(level);
    if (!s.rows.wraps && !s.rows.inside(rows.first + i)) {  // zero in both images
        for (int j = 0; j < K * windows; ++j) sums[j] = origin;
        return;
    }
    const int train_row = s.rows.wrapped(rows.first + i);
    const int query_row = s.rows.wrapped(rows.first + i - rows.shift);
    RowPair<K> pair;
    Vec* out[K];
    pair.channels = s.channels;
    pair.train_stride = ptrdiff_t(s.rows.size) * s.cols.train_count;
    pair.query_stride = ptrdiff_t(s.rows.size) * s.cols.query_count;
    for (int k = 0; k < K; ++k) {
        const Strip& col = cols[k];
        out[k] = sums + ptrdiff_t(k) * windows;
        pair.train[k] = reinterpret_cast<const Vec*>(task.block) +
                        ptrdiff_t(train_row) * s.cols.train_count + (col.first - s.cols.train_low);
        pair.query[k] = task.query + ptrdiff_t(query_row) * s.cols.query_count +
                        (col.first - col.shift - s.cols.query_low);
    }
    // strips of one group may be a cell or two shorter than the widest: what lies beyond them is
    // finite (the arrays have slack) and its windows are not added
    row_sums<C, K>(pair, windows + size() - 1, size(), origin, out, scratch);
}

// Adds the windows whose topmost row is `window_row`; row k of log2_w starts at k * stride.
template <int C, int K>
void Displacements<C, K>::add(int window_row, const Vec* log2_w, int stride) const {
    const ScanShape& s = shape();
    const int train_row = rows.first + window_row + s.rows.radius();
    const int pixel_row = s.rows.wrapped(train_row - rows.shift);
    WeightRow<K> row;
    row.channels = s.channels;
    row.center_stride = ptrdiff_t(s.rows.size) * s.cols.train_count;
    row.references = task.references + ptrdiff_t(pixel_row) * s.cols.out_count;
    row.sums = reinterpret_cast<Vec*>(task.sums) +
               ptrdiff_t(pixel_row) * s.cols.out_count * s.num_sums();
    for (int k = 0; k < K; ++k) {
        const Strip& col = cols[k];
        const int first_center = col.first + s.cols.radius();
        row.log2_w[k] = log2_w + ptrdiff_t(k) * stride;
        row.centers[k] = reinterpret_cast<const Vec*>(task.block) +
                         ptrdiff_t(s.rows.wrapped(train_row)) * s.cols.train_count +
                         (first_center - s.cols.train_low);
        row.first[k] = first_center - col.shift - s.cols.out_low;
        row.stop[k] = row.first[k] + col.cells - size() + 1;
    }
    add_row<C, K>(task, mode, row);
}

template <int C, int K>
void Displacements<C, K>::scan_rows_of_one(Vec* rows_of_sums, Vec* scratch) {
    for (int i = 0; i < rows.cells; ++i) {
        sum_row(i, rows_of_sums, scratch);
        add(i, rows_of_sums, windows);
    }
}

// Two windows one above the other share their two middle rows.
template <int C, int K>
void Displacements<C, K>::scan_rows_of_three(Vec* rows_of_sums, Vec* scratch) {
    const ptrdiff_t row_size = ptrdiff_t(K) * windows;
    Vec *a = rows_of_sums, *b = a + row_size, *c = b + row_size, *d = c + row_size;
    sum_row(0, a, scratch);
    sum_row(1, b, scratch);
    int i = 2;
    for (; i + 1 < rows.cells; i += 2) {
        sum_row(i, c, scratch);
        sum_row(i + 1, d, scratch);
        for (ptrdiff_t j = 0; j < row_size; ++j) {
            const Vec middle = b[j] + c[j];
            a[j] = a[j] + middle;
            b[j] = middle + d[j];
        }
        add(i - 2, a, windows);
        add(i - 1, b, windows);
        Vec *const upper = a, *const lower = b;
        a = c, b = d, c = upper, d = lower;
    }
    if (i < rows.cells) {
        sum_row(i, c, scratch);
        for (ptrdiff_t j = 0; j < row_size; ++j) a[j] = a[j] + b[j] + c[j];
        add(i - 2, a, windows);
    }
}

// Windows of any height: a suffix of one group of rows plus a prefix of the next.
template <int C, int K>
void Displacements<C, K>::scan_rows(Vec* rows_of_sums, Vec* scratch) {
    const int height = size();
    const ptrdiff_t row_size = ptrdiff_t(K) * windows;
    Vec* const ring = rows_of_sums;  // row sums of one group, then their suffix sums
    Vec* const prefix = ring + height * row_size;
    Vec* const total = prefix + row_size;
    int j = 0;  // row i's place in its group
    for (int i = 0; i < rows.cells; ++i, j = j + 1 == height ? 0 : j + 1) {
        Vec* const row = ring + j * row_size;
        sum_row(i, row, scratch);
        if (i >= height) {
            const Vec* const suffix = row + row_size;
            if (j == 0) {
                for (ptrdiff_t x = 0; x < row_size; ++x) {
                    prefix[x] = row[x];
                    total[x] = suffix[x] + row[x];
                }
            } else if (j + 1 < height) {
                for (ptrdiff_t x = 0; x < row_size; ++x) {
                    const Vec sum = prefix[x] = prefix[x] + row[x];
                    total[x] = suffix[x] + sum;
                }
            } else {
                for (ptrdiff_t x = 0; x < row_size; ++x) total[x] = prefix[x] + row[x];
            }
            add(i - height + 1, total, windows);
        }
        if (j + 1 == height) {
            if (i == j || i + 1 < rows.cells) suffix_rows(ring, height, int(row_size));
            if (i == j) add(0, ring, windows);
        }
    }
}

template <int C, int K>
void Displacements<C, K>::scan() {
    Vec* const scratch = reinterpret_cast<Vec*>(task.scratch);
    Vec* const rows_of_sums = scratch + ptrdiff_t(2) * K * size();
    if (size() == 1)
        scan_rows_of_one(rows_of_sums, scratch);
    else if (size() == 3)
        scan_rows_of_three(rows_of_sums, scratch);
    else
        scan_rows(rows_of_sums, scratch);
}

template <int C, int K>
static void scan_group(ScanTask& task, Mode mode, const Strip& rows, const Strip* cols) {
    int cells = 0;
    for (int k = 0; k < K; ++k) cells = cols[k].cells > cells ? cols[k].cells : cells;
    Displacements<C, K>{task, mode, rows, cols, cells - task.shape->cols.patch_size + 1}.scan();
}

template <int C>
static void scan_channels(ScanTask& task, Mode mode) {
    const Strip* const cols = task.shape->cols.strips.data();
    const int num_cols = int(task.shape->cols.strips.size());
    const Strip* const rows = task.shape->rows.strips.data();
    const int num_rows = int(task.shape->rows.strips.size());
    for (int y = 0; y < num_rows; ++y)
        for (int x = 0; x < num_cols;) {
            if (task.stop->load(std::memory_order_relaxed)) return;
            // a padded strip is wider than its neighbors: it goes alone
            const bool together = x + 1 < num_cols &&
                                  __builtin_abs(cols[x].cells - cols[x + 1].cells) <= 1;
            if (together)
                scan_group<C, GROUP>(task, mode, rows[y], cols + x);
            else
                scan_group<C, 1>(task, mode, rows[y], cols + x);
            x += together ? GROUP : 1;
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
