// What the machine can do at best: benchmarks give the kernels' share of it.
#pragma once

#include <cstdint>
#include <string>

namespace patchindex {

// Float multiply-adds (or additions) a second of `threads` threads together.
double multiply_adds_per_second(int threads, const std::string& isa);

// Cache lines a second that `threads` threads fetch from random places of `bytes` bytes.
double random_lines_per_second(const uint8_t* data, int64_t bytes, int threads);

}  // namespace patchindex
