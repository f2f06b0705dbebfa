// Distances between queries and patches gathered from uint8 images; one instruction set's code.

constexpr int PREFETCH_AHEAD = 32;  // patches; more fills the line buffers, fewer wait for memory

PATCHINDEX_INLINE void prefetch_patch(const PatchTask& task, const uint8_t* corner) {
    if (!corner) return;
    const int64_t last = (task.rows - 1) * task.row_stride + task.cols - 1;
    const int64_t step = task.row_stride < 64 ? 64 : task.row_stride;
    for (int c = 0; c < task.channels; ++c, corner += task.channel_stride) {
        for (int64_t at = 0; at < last; at += step) __builtin_prefetch(corner + at);
        __builtin_prefetch(corner + last);
    }
}

// The first `num` of LANES pixels as floats; what the other lanes hold must be masked.
PATCHINDEX_INLINE Vec load_pixels(const uint8_t* pixels, int num, const uint8_t* end) {
#if defined(PATCHINDEX_AVX512)
    (void)end;
    const __mmask16 mask = __mmask16((1u << num) - 1);
    return (Vec)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, pixels)));
#else
    typedef uint8_t Bytes __attribute__((vector_size(LANES)));
    Bytes bytes = {};
    if (end - pixels >= LANES)
        __builtin_memcpy(&bytes, pixels, LANES);
    else
        __builtin_memcpy(&bytes, pixels, num);
#if defined(PATCHINDEX_AVX2)
    int64_t packed;
    __builtin_memcpy(&packed, &bytes, LANES);
    return (Vec)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(packed)));
#else
    return __builtin_convertvector(bytes, Vec);
#endif
#endif
}

PATCHINDEX_INLINE IntVec first_lanes(int num) {
    IntVec mask;
    for (int i = 0; i < LANES; ++i) mask[i] = i < num ? -1 : 0;
    return mask;
}

// Squared distance of one patch; rows of `VECTORS` vectors, or any number of them if 0.
template <int VECTORS>
PATCHINDEX_INLINE float distance(const PatchTask& task, const uint8_t* corner, const float* query,
                                 [[maybe_unused]] IntVec tail_mask) {
    const int vectors = VECTORS > 0 ? VECTORS : (task.cols + LANES - 1) / LANES;
    const int tail = task.cols - (vectors - 1) * LANES;
    Vec sum = {}, sum_tail = {};
    const Vec* q = reinterpret_cast<const Vec*>(query);
    for (int c = 0; c < task.channels; ++c, corner += task.channel_stride) {
        const uint8_t* row = corner;
        for (int y = 0; y < task.rows; ++y, row += task.row_stride, q += vectors) {
            for (int v = 0; v + 1 < vectors; ++v) {
                const Vec d = load_pixels(row + v * LANES, LANES, task.pixels_end) - q[v];
                sum = sum + d * d;
            }
            Vec d =
                load_pixels(row + (vectors - 1) * LANES, tail, task.pixels_end) - q[vectors - 1];
#if !defined(PATCHINDEX_AVX512)  // whose masked lanes are 0 in query and patch
            d = (Vec)((IntVec)d & tail_mask);
#endif
            sum_tail = sum_tail + d * d;
        }
    }
    return float(lane_sum(sum + sum_tail));
}

template <int VECTORS>
static void distances_of(const PatchTask& task, const float* query, float* dist) {
    const int tail = (task.cols - 1) % LANES + 1;
    const IntVec mask = first_lanes(tail);
    for (int64_t i = 0; i < task.num_patches; ++i) {
        if (i + PREFETCH_AHEAD < task.num_patches)
            prefetch_patch(task, task.corners[i + PREFETCH_AHEAD]);
        const uint8_t* const corner = task.corners[i];
        dist[i] = corner ? distance<VECTORS>(task, corner, query, mask) : __builtin_inff();
    }
}

static void distances(const PatchTask& task, const float* query, float* dist) {
    if (task.cols <= LANES)
        distances_of<1>(task, query, dist);
    else if (task.cols <= 2 * LANES)
        distances_of<2>(task, query, dist);
    else
        distances_of<0>(task, query, dist);
}

// Cells of LANES patches, one patch per lane.
static void pack_patches(const PatchTask& task, int64_t first, Vec* packed) {
    float* const out = reinterpret_cast<float*>(packed);
    for (int lane = 0; lane < LANES; ++lane) {
        const int64_t i = first + lane;
        if (i + LANES < task.num_patches) prefetch_patch(task, task.corners[i + LANES]);
        const uint8_t* corner = i < task.num_patches ? task.corners[i] : nullptr;
        float* cell = out + lane;
        for (int c = 0; c < task.channels; ++c)
            for (int y = 0; y < task.rows; ++y)
                for (int x = 0; x < task.cols; ++x, cell += LANES)
                    *cell = corner ? corner[c * task.channel_stride + y * task.row_stride + x]
                                   : __builtin_inff();
    }
}

template <int Q>
PATCHINDEX_INLINE void packed_distances(const Vec* packed, const float* queries, int64_t cells,
                                        float* dist, int64_t stride, int num) {
    Vec sums[Q] = {};
    for (int64_t i = 0; i < cells; ++i)
        for (int k = 0; k < Q; ++k) {
            const Vec d = broadcast(queries[k * cells + i]) - packed[i];
            sums[k] = sums[k] + d * d;
        }
    for (int k = 0; k < Q; ++k) __builtin_memcpy(dist + k * stride, &sums[k], 4 * num);
}

static void shared_distances(const PatchTask& task, const float* queries, int64_t num_queries,
                             float* dist, int64_t stride, float* scratch) {
    const int64_t cells = int64_t(task.channels) * task.rows * task.cols;
    Vec* const packed = reinterpret_cast<Vec*>(scratch);
    for (int64_t i = 0; i < task.num_patches; i += LANES) {
        pack_patches(task, i, packed);
        const int64_t left = task.num_patches - i;
        const int num = left < LANES ? int(left) : LANES;
        int64_t q = 0;
        for (; q + 8 <= num_queries; q += 8)
            packed_distances<8>(packed, queries + q * cells, cells, dist + q * stride + i, stride,
                                num);
        for (; q < num_queries; ++q)
            packed_distances<1>(packed, queries + q * cells, cells, dist + q * stride + i, stride,
                                num);
    }
}

static void add_weights_of_list(const float* log2_w, const float* centers, int64_t stride,
                                int channels, int64_t num, float reference, double* sums) {
    const Vec* const logs = reinterpret_cast<const Vec*>(log2_w);
    const int64_t vectors = num / LANES;
    Vec sum_w = {}, sum_w2 = {};
    for (int64_t i = 0; i < vectors; ++i) {
        const Vec w = exp2_of(logs[i] - reference);
        sum_w = sum_w + w;
        sum_w2 = sum_w2 + w * w;
    }
    sums[0] += lane_sum(sum_w);
    sums[1] += lane_sum(sum_w2);
    for (int c = 0; c < channels; ++c) {
        const Vec* const values = reinterpret_cast<const Vec*>(centers + c * stride);
        Vec sum_wc = {};
        for (int64_t i = 0; i < vectors; ++i)
            sum_wc = sum_wc + exp2_of(logs[i] - reference) * values[i];
        sums[2 + c] += lane_sum(sum_wc);
    }
}
