#include "parallel.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace patchindex {
namespace {

constexpr auto WATCH_EVERY = std::chrono::milliseconds(50);

// Weights too small for a normal float count as zero: computing with them is slow.
void flush_denormals() {
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040);
#endif
}

}  // namespace

void run_units(int num_units, int threads, std::atomic<bool>& stop,
               const std::function<void(int, int)>& work,
               const std::function<bool()>& interrupted) {
    std::atomic<int> next{0};
    std::mutex mutex;
    std::condition_variable finished;
    std::exception_ptr error;
    int running = std::max(1, std::min(threads, num_units));
    const auto loop = [&](int worker) {
        flush_denormals();
        try {
            for (int unit; !stop && (unit = next++) < num_units;) work(unit, worker);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(mutex);
            if (!error) error = std::current_exception();
            stop = true;
        }
        const std::lock_guard<std::mutex> lock(mutex);
        --running;
        finished.notify_one();
    };
    std::vector<std::thread> workers;
    for (int worker = 0, count = running; worker < count; ++worker)
        workers.emplace_back(loop, worker);
    {
        std::unique_lock<std::mutex> lock(mutex);
        while (!finished.wait_for(lock, WATCH_EVERY, [&] { return running == 0; })) {
            lock.unlock();
            if (interrupted()) stop = true;
            lock.lock();
        }
    }
    for (std::thread& worker : workers) worker.join();
    if (error) std::rethrow_exception(error);
}

void InOrder::then(int unit, std::function<void()> action) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (unit > next_ + max_waiting_ && !stop_) moved_.wait_for(lock, WATCH_EVERY);
    waiting_.emplace(unit, std::move(action));
    for (auto first = waiting_.begin(); first != waiting_.end() && first->first == next_;
         first = waiting_.begin()) {
        first->second();
        waiting_.erase(first);
        ++next_;
    }
    moved_.notify_all();
}

}  // namespace patchindex
