// The k nearest of what several threads compare with a query.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <mutex>
#include <vector>

#include "kernels.hpp"

namespace patchindex {

constexpr float INFINITE = std::numeric_limits<float>::infinity();

// A code, by its place in the index; equal distances go by place, so that ties are decided alike
// however the threads took turns.
struct Found {
    float dist;
    int64_t place;
    bool operator<(const Found& other) const {
        return dist < other.dist || (dist == other.dist && place < other.place);
    }
};

// The k nearest codes of one query so far. Threads add to it in turns.
class Nearest {
  public:
    // What is not below this cannot be among the k nearest.
    float limit() const { return limit_.load(std::memory_order_relaxed); }

    // Adds the near codes of a block that starts at `first_place` and may be among the k nearest.
    template <class Accept>
    void add(const CodeQuery& near, int64_t first_place, int64_t k, const Accept& accept) {
        const std::lock_guard<std::mutex> lock(mutex_);
        for (int32_t i = 0; i < near.num_near; ++i) {
            const int64_t place = first_place + near.at[i];
            if (!accept(place)) continue;
            found_.push_back({near.dist[i], place});
            if (int64_t(found_.size()) >= 2 * k) keep(k);
        }
    }

    const std::vector<Found>& sorted(int64_t k) {
        keep(k);
        std::sort(found_.begin(), found_.end());
        return found_;
    }

  private:
    std::mutex mutex_;
    std::vector<Found> found_;
    std::atomic<float> limit_{INFINITE};

    void keep(int64_t k) {
        if (int64_t(found_.size()) <= k) return;
        std::nth_element(found_.begin(), found_.begin() + (k - 1), found_.end());
        found_.resize(k);
        // the next larger number: of equal distances the earlier place must still get in
        limit_.store(std::nextafter(found_.back().dist, INFINITE), std::memory_order_relaxed);
    }
};

}  // namespace patchindex
