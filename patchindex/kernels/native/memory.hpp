// Zeroed floats at the alignment that vector loads want.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>

namespace patchindex {

class AlignedFloats {
  public:
    explicit AlignedFloats(size_t size)
        : data_(static_cast<float*>(::operator new(size * sizeof(float), alignment))) {
        std::memset(data_, 0, size * sizeof(float));
    }
    AlignedFloats(const AlignedFloats&) = delete;
    AlignedFloats& operator=(const AlignedFloats&) = delete;
    ~AlignedFloats() { ::operator delete(data_, alignment); }
    float* data() { return data_; }

  private:
    static constexpr std::align_val_t alignment{64};
    float* data_;
};

}  // namespace patchindex
