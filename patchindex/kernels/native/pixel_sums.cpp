#include "pixel_sums.hpp"

#include <algorithm>
#include <cmath>

namespace patchindex {
namespace {

constexpr float UNSEEN =
    1e30f;  // reference of a pixel before its first window: any window moves it
constexpr double LARGEST_SUM = 1e36;
// In dense mode the references of all pixels lie within this many bits, and the mass of a pixel
// between 2^-10 and 2^40: w^2 then neither overflows nor vanishes.
constexpr double DENSE_RANGE = 50;
constexpr double DENSE_TOP = 40;
constexpr double DENSE_SHARE = 0.5;  // of vectors that count, from which checking costs more

// 2^exponent for a whole exponent; references differ by whole numbers.
double power_of_two(double exponent) {
    return exponent < -1000 ? 0.0 : std::ldexp(1.0, int(exponent));
}

}  // namespace

PixelSums::PixelSums(const ScanShape& shape)
    : shape_(&shape), references_(shape.num_pixels(), UNSEEN), levels_(shape.num_pixels(), UNSEEN),
      totals_(shape.num_pixels() * shape.num_sums()),
      fresh_(shape.num_pixels() * shape.num_sums()) {}

void PixelSums::add_block(const Kernels& kernels, ScanTask& task, bool flush, bool may_be_dense) {
    task.references = references_.data();
    task.dense_reference = dense_reference_;
    if (!may_be_dense) mode_ = Mode::checked;
    kernels.scan_block(task, mode_);
    if (*task.stop || !flush) return;
    if (!take(kernels, task)) {  // a window far nearer than any before: this block again, with care
        mode_ = Mode::checked;
        kernels.scan_block(task, mode_);
        if (*task.stop) return;
        take(kernels, task);
    }
    fold();
    if (mode_ == Mode::checked) choose_mode(task);
}

// Reduces the block's sums over its images; false if dense mode let one of them overflow.
bool PixelSums::take(const Kernels& kernels, ScanTask& task) {
    std::fill(fresh_.begin(), fresh_.end(), 0.0);
    kernels.reduce_sums(task.sums, fresh_.data(), fresh_.size());
    if (mode_ == Mode::checked) return true;
    const size_t sums = shape_->num_sums();
    for (size_t i = 0; i < fresh_.size(); i += sums)
        if (!(fresh_[i] < LARGEST_SUM && fresh_[i + 1] < LARGEST_SUM)) return false;
    return true;
}

void PixelSums::fold() {
    const int num_sums = shape_->num_sums();
    for (size_t pixel = 0; pixel < levels_.size(); ++pixel) {
        const double level = references_[pixel];
        const double source = mode_ == Mode::dense ? double(dense_reference_) : level;
        const double keep = power_of_two(level - levels_[pixel]);
        const double gain = power_of_two(level - source);
        double* const total = totals_.data() + pixel * num_sums;
        const double* const fresh = fresh_.data() + pixel * num_sums;
        for (int i = 0; i < num_sums; ++i)
            total[i] =
                total[i] * (i == 1 ? keep * keep : keep) + fresh[i] * (i == 1 ? gain * gain : gain);
        levels_[pixel] = level;
        lower_reference(pixel);
    }
}

// Sets the reference to the mass so far: what is skipped is then small against the mass, and sums
// over many windows stay near 1.
void PixelSums::lower_reference(size_t pixel) {
    double* const total = totals_.data() + pixel * shape_->num_sums();
    if (!(total[0] >= 2)) return;
    const int bits = std::ilogb(total[0]);
    references_[pixel] -= float(bits);
    levels_[pixel] = references_[pixel];
    const double factor = power_of_two(-bits);
    for (int i = 0; i < shape_->num_sums(); ++i) total[i] *= i == 1 ? factor * factor : factor;
}

void PixelSums::choose_mode(const ScanTask& task) {
    const auto [low, high] = std::minmax_element(references_.begin(), references_.end());
    const bool mostly_summed = double(task.summed) > DENSE_SHARE * double(task.visited);
    if (!mostly_summed || double(*high) - *low > DENSE_RANGE) return;
    mode_ = Mode::dense;
    dense_reference_ = float(*low + DENSE_TOP);
}

void PixelSums::merge_into(const ScanOutput& output, size_t first, double scale) const {
    const int channels = shape_->channels;
    for (size_t pixel = 0; pixel < levels_.size(); ++pixel) {
        const double* const total = totals_.data() + pixel * shape_->num_sums();
        if (!(total[0] > 0)) continue;
        const size_t to = first + pixel;
        const double log_scale = -levels_[pixel] * std::log(2.0);
        const double log_max = std::max(output.log_max[to], log_scale);
        const double keep = std::exp(output.log_max[to] - log_max);
        const double gain = std::exp(log_scale - log_max);
        output.log_max[to] = log_max;
        output.sum_w[to] = output.sum_w[to] * keep + total[0] * gain;
        output.sum_w2[to] = output.sum_w2[to] * keep * keep + total[1] * gain * gain;
        for (int c = 0; c < channels; ++c) {
            double& sum = output.sum_wc[to * channels + c];
            sum = sum * keep + total[2 + c] / scale * gain;
        }
    }
}

}  // namespace patchindex
