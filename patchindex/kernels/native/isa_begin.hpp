// Opens a namespace compiled for one instruction set: define PATCHINDEX_AVX512, PATCHINDEX_AVX2 or
// neither, include this, then the *_impl.hpp files, then isa_end.hpp. Standard headers come first,
// outside the target options, so that no inline function of theirs is compiled with them.

#if defined(PATCHINDEX_AVX512) || defined(PATCHINDEX_AVX2)
#include <immintrin.h>
#endif

#if defined(__GNUC__) && \
    !defined(__clang__)  // GCC 12 mistakes the intrinsics' own undefined operands
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#if defined(PATCHINDEX_AVX512)
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#endif
#elif defined(PATCHINDEX_AVX2)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#endif

namespace patchindex {
namespace {
