// Distances between short vectors and the codes of a list; one instruction set's code.

// The next `num` codes, turned over so that a register holds the same dimension of LANES codes:
// decoded[dim][CODE_BLOCK]. `norms` gets their squared lengths; lanes beyond the last code repeat
// what lies there, and are never read.
static void decode_codes(const CodeTask& task, const uint8_t* codes, int64_t num, float* decoded,
                         float* norms) {
    constexpr int TOGETHER = 4;  // codes are read by whole words of so many dimensions
    const int words = (task.dims + TOGETHER - 1) / TOGETHER;
    for (int64_t first = 0; first < num; first += LANES) {
        const int here = num - first < LANES ? int(num - first) : LANES;
        Vec norm = {};
        for (int word = 0; word < words; ++word) {
            const int dim = word * TOGETHER;
            const int bytes = task.dims - dim < TOGETHER ? task.dims - dim : TOGETHER;
            IntVec packed = {};
            if (bytes == TOGETHER)
                for (int lane = 0; lane < here; ++lane)
                    __builtin_memcpy(reinterpret_cast<char*>(&packed) + 4 * lane,
                                     codes + (first + lane) * task.dims + dim, TOGETHER);
            else
                for (int lane = 0; lane < here; ++lane)
                    __builtin_memcpy(reinterpret_cast<char*>(&packed) + 4 * lane,
                                     codes + (first + lane) * task.dims + dim, bytes);
            for (int i = 0; i < bytes; ++i, packed = packed >> 8) {
                const Vec code = __builtin_convertvector(packed & 255, Vec);
                const Vec value = (code - 127.5f) * task.steps[dim + i];
                __builtin_memcpy(decoded + (dim + i) * CODE_BLOCK + first, &value, sizeof value);
                norm = norm + value * value;
            }
        }
        __builtin_memcpy(norms + first, &norm, sizeof norm);
    }
}

// Keeps the lanes of `dist` that are not above the query's limit.
PATCHINDEX_INLINE void keep_near(Vec dist, int32_t first, int32_t num, CodeQuery& query) {
    if (!any_above(-dist, -query.limit)) return;
    float values[LANES];
    __builtin_memcpy(values, &dist, sizeof values);
    for (int lane = 0; lane < LANES; ++lane)
        if (values[lane] < query.limit && first + lane < num) {
            query.dist[query.num_near] = values[lane];
            query.at[query.num_near++] = first + lane;
        }
}

template <int Q>
PATCHINDEX_INLINE void near_block(const CodeTask& task, const float* decoded, const float* norms,
                                  int32_t num, CodeQuery* const* queries) {
    constexpr int V = 2;  // registers of codes at a time
    for (int k = 0; k < Q; ++k) queries[k]->num_near = 0;
    for (int32_t first = 0; first < num; first += V * LANES) {
        Vec dist[Q][V];
        for (int v = 0; v < V; ++v) {
            Vec norm;
            __builtin_memcpy(&norm, norms + first + v * LANES, sizeof norm);
            for (int k = 0; k < Q; ++k) dist[k][v] = norm;
        }
        const float* code = decoded + first;
        for (int dim = 0; dim < task.dims; ++dim, code += CODE_BLOCK)
            for (int v = 0; v < V; ++v) {
                Vec value;
                __builtin_memcpy(&value, code + v * LANES, sizeof value);
                for (int k = 0; k < Q; ++k)
                    dist[k][v] = dist[k][v] + value * queries[k]->vector[dim];
            }
        for (int k = 0; k < Q; ++k)
            for (int v = 0; v < V; ++v) keep_near(dist[k][v], first + v * LANES, num, *queries[k]);
    }
}

static void near_codes(const CodeTask& task, const float* decoded, const float* norms, int64_t num,
                       CodeQuery* const* queries, int64_t num_queries) {
    int64_t q = 0;
    for (; q + 4 <= num_queries; q += 4)
        near_block<4>(task, decoded, norms, int32_t(num), queries + q);
    for (; q < num_queries; ++q) near_block<1>(task, decoded, norms, int32_t(num), queries + q);
}
