// Decodes patch ids into places of the images, a block of ids at a time.
#pragma once

#include <vector>

#include "kernels.hpp"
#include "rescore.hpp"

namespace patchindex {

constexpr int64_t PATCH_BLOCK = 512;

// The patches of at most PATCH_BLOCK ids. Windows that wrap are copied together first.
class PatchBlock {
  public:
    explicit PatchBlock(const RescoreInput& input);

    // Throws std::invalid_argument for ids that are no patches or whose window leaves the image.
    void decode(const int64_t* ids, int64_t num);

    const PatchTask& task() const { return task_; }
    // Copies the value of each patch's center in [-1, 1] to centers[c * stride + i], 0 for no patch.
    void centers(float* centers, int64_t stride) const;
    int64_t num_present() const { return num_present_; }

  private:
    const RescoreInput& in_;
    PatchTask task_{};
    std::vector<const uint8_t*> corners_, centers_;
    std::vector<uint8_t> copies_;
    int64_t num_present_ = 0;

    void copy_wrapped(int64_t i, const uint8_t* image, int y, int x);
};

}  // namespace patchindex
