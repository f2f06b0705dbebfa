// Zeroed floats at the alignment that vector loads want, and what is said where memory is not there.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <limits>
#include <new>
#include <string>
#include <utility>

namespace patchindex {

// MemoryError in Python.
class OutOfMemory : public std::bad_alloc {
  public:
    explicit OutOfMemory(std::string message) : message_(std::move(message)) {}
    const char* what() const noexcept override { return message_.c_str(); }

  private:
    std::string message_;
};

// "3 GiB", "12 kiB": enough to see whether a machine may have it.
inline std::string described_bytes(double bytes) {
    static const char* const units[] = {"bytes", "kiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    int unit = 0;
    for (; bytes >= 1024 && unit < 6; ++unit) bytes /= 1024;
    char text[32];
    std::snprintf(text, sizeof text, "%.4g ", bytes);
    return text + std::string(units[unit]);
}

class AlignedFloats {
  public:
    explicit AlignedFloats(size_t size) : data_(allocated(size)) {
        std::memset(data_, 0, size * sizeof(float));
    }
    AlignedFloats(const AlignedFloats&) = delete;
    AlignedFloats& operator=(const AlignedFloats&) = delete;
    ~AlignedFloats() { ::operator delete(data_, alignment); }
    float* data() { return data_; }
    const float* data() const { return data_; }

  private:
    static constexpr std::align_val_t alignment{64};
    float* data_;

    static float* allocated(size_t size) {
        void* const data = size > std::numeric_limits<ptrdiff_t>::max() / sizeof(float)
                               ? nullptr
                               : ::operator new(size * sizeof(float), alignment, std::nothrow);
        if (!data)
            throw OutOfMemory("the kernels cannot have " +
                              described_bytes(double(size) * sizeof(float)) +
                              " to work in. Give fewer threads or fewer queries at a time.");
        return static_cast<float*>(data);
    }
};

}  // namespace patchindex
