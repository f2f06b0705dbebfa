// Closes what isa_begin.hpp opened.

}  // namespace
}  // namespace patchindex

#if defined(PATCHINDEX_AVX512) || defined(PATCHINDEX_AVX2)
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
