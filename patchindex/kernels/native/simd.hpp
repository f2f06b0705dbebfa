// One SIMD register of floats and the few operations that vector arithmetic does not spell.
//
// Included once per instruction set, inside its namespace and its target options (see isa.hpp).
// No standard library here: an inline function compiled for AVX-512 must not be shared by a linker
// with the portable path.

#if defined(PATCHINDEX_AVX512)
constexpr int LANES = 16;
#elif defined(PATCHINDEX_AVX2)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t IntVec __attribute__((vector_size(4 * LANES)));

#define PATCHINDEX_INLINE_MEMBER inline __attribute__((always_inline))
#define PATCHINDEX_INLINE static PATCHINDEX_INLINE_MEMBER

PATCHINDEX_INLINE Vec broadcast(float value) { return value - Vec{}; }

PATCHINDEX_INLINE Vec larger(Vec a, Vec b) { return a > b ? a : b; }

// Whether any lane of `x` is above `limit`.
PATCHINDEX_INLINE bool any_above(Vec x, float limit) {
#if defined(PATCHINDEX_AVX512)
    return _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(limit), _CMP_GT_OQ) != 0;
#elif defined(PATCHINDEX_AVX2)
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)x, _mm256_set1_ps(limit), _CMP_GT_OQ)) != 0;
#else
    return (x[0] > limit) | (x[1] > limit) | (x[2] > limit) | (x[3] > limit);
#endif
}

PATCHINDEX_INLINE float lane_max(Vec x) {
    float best = x[0];
    for (int i = 1; i < LANES; ++i) best = x[i] > best ? x[i] : best;
    return best;
}

PATCHINDEX_INLINE double lane_sum(Vec x) {
#if defined(PATCHINDEX_AVX512)
    return _mm512_reduce_add_ps((__m512)x);
#else
    double sum = 0;
    for (int i = 0; i < LANES; ++i) sum += x[i];
    return sum;
#endif
}

// 2^x with a relative error below 2e-7 (minimax polynomial of degree 5); 0 for x below -126, and
// infinite or at least 2^127 above 127.
PATCHINDEX_INLINE Vec exp2_of(Vec x) {
#if defined(PATCHINDEX_AVX512)
    const Vec f = (Vec)_mm512_reduce_ps((__m512)x, 0x01);  // x - floor(x)
    Vec p = f * 0.0018775766948238015f + 0.00898933969438076f;
    p = p * f + 0.05582631751894951f;
    p = p * f + 0.24015361070632935f;
    p = p * f + 0.6931530833244324f;
    p = p * f + 0.9999999403953552f;
    return (Vec)_mm512_scalef_ps((__m512)p, (__m512)x);  // p * 2^floor(x)
#else
    x = larger(x, broadcast(-127.0f));
    x = x < 127.0f ? x : broadcast(127.0f);
    const float round_to_int =
        12582912.0f;  // 1.5 * 2^23: the sum's low bits are the nearest integer
    const Vec shifted = x + round_to_int;
    const Vec f = x - (shifted - round_to_int);
    Vec p = f * 0.0013276472454890609f + 0.009675540961325169f;
    p = p * f + 0.05550713092088699f;
    p = p * f + 0.24022120237350464f;
    p = p * f + 0.6931469440460205f;
    p = p * f + 1.0000001192092896f;
    return (Vec)((IntVec)p + ((IntVec)shifted << 23));
#endif
}
