#include "peak.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <vector>

#include "kernels.hpp"
#include "parallel.hpp"

namespace patchindex {
namespace {

constexpr int64_t LINE = 64;
constexpr int64_t NUM_LINES = 1 << 20;
constexpr int64_t PREFETCH_AHEAD = 64;
constexpr int REPEATS = 5;

// Seconds of the fastest of a few runs of `work` on every thread at once.
double best_seconds(int threads, const std::function<void(int thread)>& work) {
    double best = 1e30;
    for (int repeat = 0; repeat < REPEATS; ++repeat) {
        std::atomic<bool> stop{false};
        const auto start = std::chrono::steady_clock::now();
        run_units(threads, threads, stop, [&](int64_t thread, int) { work(int(thread)); },
                  [] { return false; });
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        best = std::min(best, took.count());
    }
    return best;
}

}  // namespace

double multiply_adds_per_second(int threads, const std::string& isa) {
    const Kernels& kernels = select_kernels(isa);
    constexpr int64_t rounds = 4000000;
    std::vector<float> used(threads);
    const double seconds =
        best_seconds(threads, [&](int thread) { used[thread] = kernels.multiply_adds(rounds); });
    return 10.0 * rounds * kernels.lanes * threads / seconds;
}

double random_lines_per_second(const uint8_t* data, int64_t bytes, int threads) {
    std::vector<uint32_t> lines(NUM_LINES + PREFETCH_AHEAD);
    uint64_t state = 1;
    for (uint32_t& line : lines) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        line = uint32_t((state >> 33) % uint64_t(std::max<int64_t>(1, bytes / LINE)));
    }
    std::vector<int64_t> used(threads);
    const double seconds = best_seconds(threads, [&](int thread) {
        int64_t sum = 0;
        for (int64_t i = 0; i < NUM_LINES; ++i) {
            __builtin_prefetch(data + lines[i + PREFETCH_AHEAD] * LINE);
            sum += data[lines[i] * LINE];
        }
        used[thread] = sum;
    });
    return double(NUM_LINES) * threads / seconds;
}

}  // namespace patchindex
