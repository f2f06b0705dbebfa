// The k nearest of what several threads compare with a query.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <mutex>
#include <vector>

#include "kernels.hpp"

namespace patchindex {

constexpr float INFINITE = std::numeric_limits<float>::infinity();
constexpr int64_t MOST_PLACES = int64_t(1) << 32;

// A distance and a place as one number that orders by distance, then by place: equal distances are
// decided alike however the threads took turns.
class Found {
  public:
    Found(float dist, int64_t place) {
        uint32_t bits;
        std::memcpy(&bits, &dist, sizeof bits);
        // the larger of two negative floats has the smaller bits
        const uint32_t ascending = bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
        key_ = uint64_t(ascending) << 32 | uint64_t(place);
    }
    float dist() const {
        const uint32_t ascending = uint32_t(key_ >> 32);
        const uint32_t bits = ascending ^ (ascending >> 31 ? 0x80000000u : 0xffffffffu);
        float dist;
        std::memcpy(&dist, &bits, sizeof dist);
        return dist;
    }
    int64_t place() const { return int64_t(key_ & 0xffffffffu); }
    bool operator<(const Found& other) const { return key_ < other.key_; }

  private:
    uint64_t key_;
};

// The k nearest of one query so far. Threads add to it in turns.
class Nearest {
  public:
    // What is not below this cannot be among the k nearest.
    float limit() const { return limit_.load(std::memory_order_relaxed); }

    // Adds the near ones of a block that starts at `first_place` and that `accept` takes.
    template <class Accept>
    void add(const CodeQuery& near, int64_t first_place, int64_t k, const Accept& accept) {
        const std::scoped_lock lock(mutex_);
        for (int32_t i = 0; i < near.num_near; ++i) {
            const int64_t place = first_place + near.at[i];
            if (!accept(place)) continue;
            found_.emplace_back(near.dist[i], place);
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
        found_.erase(found_.begin() + k, found_.end());
        // the next larger number: of equal distances the earlier place must still get in
        limit_.store(std::nextafter(found_.back().dist(), INFINITE), std::memory_order_relaxed);
    }
};

}  // namespace patchindex
