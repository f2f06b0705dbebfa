// What one core can do at best, for `benchmarks/peak.py`: compiled with LANES floats to a vector.
#include <chrono>
#include <cstdint>
#include <vector>

namespace {

typedef float Vec __attribute__((vector_size(4 * LANES)));

constexpr int64_t ROUNDS = 4000000;
constexpr int64_t LINE = 64;
constexpr int64_t NUM_LINES = 1 << 20;
constexpr int64_t PREFETCH_AHEAD = 64;
constexpr int REPEATS = 5;

volatile float used;  // so that no work is left out

// Seconds of the fastest of a few runs.
template <class Work>
double best_seconds(const Work& work) {
    double best = 1e30;
    for (int repeat = 0; repeat < REPEATS; ++repeat) {
        const auto start = std::chrono::steady_clock::now();
        used = work();
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        if (took.count() < best) best = took.count();
    }
    return best;
}

// 10 * ROUNDS multiply-adds of vectors, independent enough to keep every unit busy.
float multiply_adds() {
    const Vec factor = 0.999f - Vec{}, term = 1e-3f - Vec{};
    Vec a = term, b = a, c = a, d = a, e = a, f = a, g = a, h = a, i = a, j = a;
    for (int64_t round = 0; round < ROUNDS; ++round) {
        a = a * factor + term, b = b * factor + term, c = c * factor + term;
        d = d * factor + term, e = e * factor + term, f = f * factor + term;
        g = g * factor + term, h = h * factor + term, i = i * factor + term;
        j = j * factor + term;
    }
    return (a + b + c + d + e + f + g + h + i + j)[0];
}

}  // namespace

// Float multiply-adds (or additions) a second.
extern "C" double multiply_adds_per_second() {
    return 10.0 * ROUNDS * LANES / best_seconds(multiply_adds);
}

// Cache lines a second that are fetched from random places of `bytes` bytes, 64 at least.
extern "C" double random_lines_per_second(const uint8_t* data, int64_t bytes) {
    std::vector<uint32_t> lines(NUM_LINES + PREFETCH_AHEAD);
    uint64_t state = 1;
    for (uint32_t& line : lines) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        line = uint32_t((state >> 33) % uint64_t(bytes / LINE));
    }
    const double seconds = best_seconds([&] {
        int64_t sum = 0;
        for (int64_t i = 0; i < NUM_LINES; ++i) {
            __builtin_prefetch(data + lines[i + PREFETCH_AHEAD] * LINE);
            sum += data[lines[i] * LINE];
        }
        return float(sum);
    });
    return double(NUM_LINES) / seconds;
}
