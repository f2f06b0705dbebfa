#include "kernels.hpp"

#include "isa_begin.hpp"
#include "simd.hpp"
#include "box_sums.hpp"
#include "weights.hpp"
#include "codes_impl.hpp"
#include "rescore_impl.hpp"
#include "scan_impl.hpp"
#include "isa_end.hpp"

namespace patchindex {
const Kernels* kernels_portable() {
    static const Kernels kernels{"portable",          LANES,        scan_block,
                                 reduce_sums,         distances,    shared_distances,
                                 add_weights_of_list, decode_codes, near_codes};
    return &kernels;
}
}  // namespace patchindex
