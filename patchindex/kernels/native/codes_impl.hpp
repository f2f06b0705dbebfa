// Distances between short vectors and the codes of a list; one instruction set's code.

// Codes are turned over by words of so many dimensions.
constexpr int WORD = 4;

#if defined(PATCHINDEX_AVX512) || defined(PATCHINDEX_AVX2)
// Four registers of rows of a 4 x 4 block, one block in each 128 bits, to four of its columns.
PATCHINDEX_INLINE void transpose_words(IntVec (&x)[4]) {
#if defined(PATCHINDEX_AVX512)
    const __m512i low01 = _mm512_unpacklo_epi32((__m512i)x[0], (__m512i)x[1]);
    const __m512i high01 = _mm512_unpackhi_epi32((__m512i)x[0], (__m512i)x[1]);
    const __m512i low23 = _mm512_unpacklo_epi32((__m512i)x[2], (__m512i)x[3]);
    const __m512i high23 = _mm512_unpackhi_epi32((__m512i)x[2], (__m512i)x[3]);
    x[0] = (IntVec)_mm512_unpacklo_epi64(low01, low23);
    x[1] = (IntVec)_mm512_unpackhi_epi64(low01, low23);
    x[2] = (IntVec)_mm512_unpacklo_epi64(high01, high23);
    x[3] = (IntVec)_mm512_unpackhi_epi64(high01, high23);
#else
    const __m256i low01 = _mm256_unpacklo_epi32((__m256i)x[0], (__m256i)x[1]);
    const __m256i high01 = _mm256_unpackhi_epi32((__m256i)x[0], (__m256i)x[1]);
    const __m256i low23 = _mm256_unpacklo_epi32((__m256i)x[2], (__m256i)x[3]);
    const __m256i high23 = _mm256_unpackhi_epi32((__m256i)x[2], (__m256i)x[3]);
    x[0] = (IntVec)_mm256_unpacklo_epi64(low01, low23);
    x[1] = (IntVec)_mm256_unpackhi_epi64(low01, low23);
    x[2] = (IntVec)_mm256_unpacklo_epi64(high01, high23);
    x[3] = (IntVec)_mm256_unpackhi_epi64(high01, high23);
#endif
}

// 16 bytes of each of LANES codes: words[i] has word i of every code.
PATCHINDEX_INLINE void load_four_words(const uint8_t* codes, int dims, IntVec (&words)[4]) {
    for (int i = 0; i < 4; ++i) {
        const auto row = [&](int block) {
            return _mm_loadu_si128((const __m128i*)(codes + int64_t(4 * block + i) * dims));
        };
#if defined(PATCHINDEX_AVX512)
        __m512i rows = _mm512_castsi128_si512(row(0));
        rows = _mm512_inserti32x4(rows, row(1), 1);
        rows = _mm512_inserti32x4(rows, row(2), 2);
        words[i] = (IntVec)_mm512_inserti32x4(rows, row(3), 3);
#else
        words[i] = (IntVec)_mm256_inserti128_si256(_mm256_castsi128_si256(row(0)), row(1), 1);
#endif
    }
    transpose_words(words);
}
#endif

// Decodes a word of LANES codes, and adds to their squared lengths.
PATCHINDEX_INLINE void decode_word(IntVec word, int num, const float* steps, float* decoded,
                                   Vec& norm) {
    for (int i = 0; i < num; ++i, word = word >> 8, decoded += CODE_BLOCK) {
        const Vec code = __builtin_convertvector(word & 255, Vec);
        const Vec value = code * steps[i] - 127.5f * steps[i];
        __builtin_memcpy(decoded, &value, sizeof value);
        norm = norm + value * value;
    }
}

// The next `num` codes, turned over so that a register holds the same dimension of LANES codes:
// decoded[dim][CODE_BLOCK]. `norms` gets their squared lengths; lanes beyond the last code repeat
// what lies there, and are never read.
static void decode_codes(const CodeTask& task, const uint8_t* codes, int64_t num, float* decoded,
                         float* norms) {
    const int dims = task.dims;
    for (int64_t first = 0; first < num; first += LANES) {
        const int here = num - first < LANES ? int(num - first) : LANES;
        const uint8_t* const rows = codes + first * dims;
        float* const columns = decoded + first;
        Vec norm = {};
        int dim = 0;
#if defined(PATCHINDEX_AVX512) || defined(PATCHINDEX_AVX2)
        if (here == LANES && dims >= 4 * WORD)
            while (dim + WORD <= dims) {
                // the last load overlaps those before, so that none passes the end of a code
                const int from = dim + 4 * WORD <= dims ? dim : dims - 4 * WORD;
                IntVec words[4];
                load_four_words(rows + from, dims, words);
                if ((dim - from) % WORD) break;
                for (int i = (dim - from) / WORD; i < 4; ++i, dim += WORD)
                    decode_word(words[i], WORD, task.steps + dim, columns + dim * CODE_BLOCK, norm);
            }
#endif
        for (; dim < dims; dim += WORD) {
            const int bytes = dims - dim < WORD ? dims - dim : WORD;
            IntVec packed = {};
            if (bytes == WORD)
                for (int lane = 0; lane < here; ++lane)
                    __builtin_memcpy(reinterpret_cast<char*>(&packed) + 4 * lane,
                                     rows + lane * dims + dim, WORD);
            else
                for (int lane = 0; lane < here; ++lane)
                    __builtin_memcpy(reinterpret_cast<char*>(&packed) + 4 * lane,
                                     rows + lane * dims + dim, bytes);
            decode_word(packed, bytes, task.steps + dim, columns + dim * CODE_BLOCK, norm);
        }
        __builtin_memcpy(norms + first, &norm, sizeof norm);
    }
}

// Keeps the lanes of `dist`, of which `num` are codes, that are below the query's limit.
PATCHINDEX_INLINE void keep_near(Vec dist, int32_t first, int32_t num, CodeQuery& query) {
#if defined(PATCHINDEX_AVX512)
    __mmask16 near = _mm512_cmp_ps_mask((__m512)dist, _mm512_set1_ps(query.limit), _CMP_LT_OQ);
    if (num < LANES) near &= __mmask16((1u << (num < 0 ? 0 : num)) - 1);
    if (!near) return;
    const __m512i at =
        _mm512_add_epi32(_mm512_set1_epi32(first),
                         _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    _mm512_storeu_ps(query.dist + query.num_near, _mm512_maskz_compress_ps(near, (__m512)dist));
    _mm512_storeu_si512(query.at + query.num_near, _mm512_maskz_compress_epi32(near, at));
    query.num_near += __builtin_popcount(near);
#else
    if (!any_above(-dist, -query.limit)) return;
    float values[LANES];
    __builtin_memcpy(values, &dist, sizeof values);
    for (int lane = 0; lane < LANES && lane < num; ++lane)
        if (values[lane] < query.limit) {
            query.dist[query.num_near] = values[lane];
            query.at[query.num_near++] = first + lane;
        }
#endif
}

// Q queries and V registers of codes at a time: as many sums as hide the time that each takes.
template <int Q, int V>
PATCHINDEX_INLINE void near_block(const CodeTask& task, const float* decoded, const float* norms,
                                  int32_t num, CodeQuery* const* queries) {
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
            for (int v = 0; v < V; ++v)
                keep_near(dist[k][v], first + v * LANES, num - first - v * LANES, *queries[k]);
    }
}

static void near_codes(const CodeTask& task, const float* decoded, const float* norms, int64_t num,
                       CodeQuery* const* queries, int64_t num_queries) {
    int64_t q = 0;
    for (; q + 4 <= num_queries; q += 4)
        near_block<4, 2>(task, decoded, norms, int32_t(num), queries + q);
    for (; q < num_queries; ++q) near_block<1, 8>(task, decoded, norms, int32_t(num), queries + q);
}
