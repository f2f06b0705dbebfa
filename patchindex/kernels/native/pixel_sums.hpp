// Double-precision sums of one query image over many blocks of images.
#pragma once

#include <vector>

#include "kernels.hpp"
#include "scan.hpp"

namespace patchindex {

class PixelSums {
  public:
    explicit PixelSums(const ScanShape& shape);

    // Scans one block into task.sums; with `flush`, moves them here. Task arrays that belong to
    // this object are filled in.
    void add_block(const Kernels& kernels, ScanTask& task, bool flush, bool may_be_dense);

    // Merges into the records from `first` on; `scale` undoes that of the centers.
    void merge_into(const ScanOutput& output, size_t first, double scale) const;

  private:
    const ScanShape* shape_;
    std::vector<float> references_;  // of the running float sums
    std::vector<double> levels_;     // references of totals_
    std::vector<double> totals_;     // [pixels][num_sums]: w, w^2, w c
    std::vector<double> fresh_;      // a block's sums before they are checked and added
    Mode mode_ = Mode::checked;
    float dense_reference_ = 0;

    bool take(const Kernels& kernels, ScanTask& task);
    void fold();
    void lower_reference(size_t pixel);
    void choose_mode(const ScanTask& task);
};

}  // namespace patchindex
