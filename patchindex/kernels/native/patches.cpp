#include "patches.hpp"

#include <stdexcept>
#include <string>

namespace patchindex {
namespace {

constexpr size_t SLACK = 64;  // vector loads of copies may look this far beyond their last cell

[[noreturn]] void refuse(int64_t id, const std::string& why) {
    throw std::invalid_argument("patch id " + std::to_string(id) + " " + why);
}

}  // namespace

PatchBlock::PatchBlock(const RescoreInput& input)
    : in_(input), corners_(PATCH_BLOCK), centers_(PATCH_BLOCK) {
    task_.channels = in_.channels;
    task_.rows = in_.row_stop - in_.row_first;
    task_.cols = in_.col_stop - in_.col_first;
    task_.corners = corners_.data();
    task_.row_stride = in_.width;
    task_.channel_stride = int64_t(in_.height) * in_.width;
    task_.pixels_end = in_.pixels + in_.num_images * in_.channels * task_.channel_stride;
    if (!in_.wraps) return;
    task_.row_stride = task_.cols;
    task_.channel_stride = int64_t(task_.rows) * task_.cols;
    copies_.resize(PATCH_BLOCK * task_.channels * task_.channel_stride + SLACK);
    task_.pixels_end = copies_.data() + copies_.size();
}

void PatchBlock::decode(const int64_t* ids, int64_t num) {
    const int64_t plane = int64_t(in_.height) * in_.width;
    const int64_t num_patches = in_.num_images * plane;
    const bool narrow = num_patches <= int64_t{UINT32_MAX};  // 32-bit division is faster
    task_.num_patches = num;
    num_present_ = 0;
    for (int64_t i = 0; i < num; ++i) {
        const int64_t id = ids[i];
        corners_[i] = centers_[i] = nullptr;
        if (id == -1) continue;
        if (id < 0 || id >= num_patches)
            refuse(id, "is not in 0.." + std::to_string(num_patches - 1) +
                           ". Give ids of patches of these images, or -1 for none.");
        const int64_t image = narrow ? uint32_t(id) / uint32_t(plane) : id / plane;
        const uint32_t place = uint32_t(id - image * plane);
        const int y = int(place / uint32_t(in_.width)), x = int(place % uint32_t(in_.width));
        const uint8_t* const pixels = in_.pixels + image * in_.channels * plane;
        centers_[i] = pixels + place;
        ++num_present_;
        if (in_.wraps) {
            copy_wrapped(i, pixels, y, x);
            continue;
        }
        if (y + in_.row_first < 0 || y + in_.row_stop > in_.height || x + in_.col_first < 0 ||
            x + in_.col_stop > in_.width)
            refuse(id, "has its center at (" + std::to_string(y) + ", " + std::to_string(x) +
                           "), where the window leaves the image. Give patches with the "
                           "border signature of the queries.");
        corners_[i] = pixels + int64_t(y + in_.row_first) * in_.width + x + in_.col_first;
    }
}

void PatchBlock::copy_wrapped(int64_t i, const uint8_t* image, int y, int x) {
    const auto wrapped = [](int at, int size) { return ((at % size) + size) % size; };
    uint8_t* out = copies_.data() + i * task_.channels * task_.channel_stride;
    corners_[i] = out;
    for (int c = 0; c < in_.channels; ++c, image += int64_t(in_.height) * in_.width)
        for (int row = in_.row_first; row < in_.row_stop; ++row) {
            const uint8_t* const source = image + int64_t(wrapped(y + row, in_.height)) * in_.width;
            for (int col = in_.col_first; col < in_.col_stop; ++col)
                *out++ = source[wrapped(x + col, in_.width)];
        }
}

void PatchBlock::centers(float* centers, int64_t stride) const {
    const int64_t plane = int64_t(in_.height) * in_.width;
    for (int c = 0; c < in_.channels; ++c)
        for (int64_t i = 0; i < task_.num_patches; ++i)
            centers[c * stride + i] =
                centers_[i] ? float(centers_[i][c * plane]) / 127.5f - 1.0f : 0.0f;
}

}  // namespace patchindex
