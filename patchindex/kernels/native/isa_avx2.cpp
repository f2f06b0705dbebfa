#include "kernels.hpp"

#if defined(__x86_64__)
#define PATCHINDEX_AVX2
#include "isa_begin.hpp"
#include "simd.hpp"
#include "box_sums.hpp"
#include "weights.hpp"
#include "codes_impl.hpp"
#include "rescore_impl.hpp"
#include "scan_impl.hpp"
#include "isa_end.hpp"

namespace patchindex {
const Kernels* kernels_avx2() {
    static const Kernels kernels{"avx2",
                                 LANES,
                                 scan_block,
                                 reduce_sums,
                                 distances,
                                 shared_distances,
                                 add_weights_of_list,
                                 decode_codes,
                                 near_codes};
    const bool here = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return here ? &kernels : nullptr;
}
}  // namespace patchindex
#else
namespace patchindex {
const Kernels* kernels_avx2() { return nullptr; }
}  // namespace patchindex
#endif
