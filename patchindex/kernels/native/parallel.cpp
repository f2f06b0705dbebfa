#include "parallel.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <new>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace patchindex {
namespace {

constexpr auto WATCH_EVERY = std::chrono::milliseconds(50);

// While one lives, weights too small for a normal float count as zero: computing with them is slow.
class FlushedDenormals {
  public:
#if defined(__x86_64__)
    FlushedDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
    ~FlushedDenormals() { _mm_setcsr(before_); }

  private:
    const unsigned before_;
#else
    FlushedDenormals() {}  // or compilers would find it unused
#endif
};

// Units handed out in order, and what became of them.
class Units {
  public:
    Units(int64_t num_units, std::atomic<bool>& stop, const std::function<void(int64_t, int)>& work)
        : num_units_(num_units), stop_(stop), work_(work) {}

    // Works until no unit is left or the work was stopped; calls `before` ahead of each unit.
    template <class Before>
    void take(int worker, const Before& before) {
        const FlushedDenormals flushed;
        try {
            for (int64_t unit; before(), !stop_ && (unit = next_++) < num_units_;)
                work_(unit, worker);
        } catch (...) {
            const std::scoped_lock lock(mutex_);
            if (!error_) error_ = std::current_exception();
            stop_ = true;
        }
    }

    void rethrow() const {
        if (error_) std::rethrow_exception(error_);
    }

  private:
    const int64_t num_units_;
    std::atomic<bool>& stop_;
    const std::function<void(int64_t, int)>& work_;
    std::atomic<int64_t> next_{0};
    std::mutex mutex_;
    std::exception_ptr error_;
};

// Threads that are joined, whatever happens: one that is not would end the process.
class Crew {
  public:
    explicit Crew(int most) { threads_.reserve(most); }
    ~Crew() {
        for (std::thread& thread : threads_) thread.join();
    }
    Crew(const Crew&) = delete;
    Crew& operator=(const Crew&) = delete;

    // Starts up to `most` threads, which call `work(number)` and then are done; returns how many.
    template <class Work>
    int start(int most, const Work& work) {
        running_ = most;
        for (int number = 0; number < most; ++number) try {
                threads_.emplace_back([this, &work, number] {
                    work(number);
                    done(1);
                });
            } catch (const std::system_error&) {
                return fewer(number, most);  // no more threads can be had
            } catch (const std::bad_alloc&) {
                return fewer(number, most);
            }
        return most;
    }

    // Waits for all threads, and calls `watch` about twenty times a second until then.
    template <class Watch>
    void wait(const Watch& watch) {
        std::unique_lock<std::mutex> lock(mutex_);
        while (!finished_.wait_for(lock, WATCH_EVERY, [this] { return running_ == 0; })) {
            lock.unlock();
            watch();
            lock.lock();
        }
    }

  private:
    std::vector<std::thread> threads_;
    std::mutex mutex_;
    std::condition_variable finished_;
    int running_ = 0;

    void done(int num) {
        const std::scoped_lock lock(mutex_);
        running_ -= num;
        finished_.notify_one();
    }
    int fewer(int started, int most) {
        done(most - started);
        return started;
    }
};

}  // namespace

void run_units(int64_t num_units, int threads, std::atomic<bool>& stop,
               const std::function<void(int64_t, int)>& work,
               const std::function<bool()>& interrupted) {
    const int most = int(std::max<int64_t>(1, std::min<int64_t>(threads, num_units)));
    Units units(num_units, stop, work);
    const auto watch = [&] {
        if (interrupted()) stop = true;
    };
    {
        const auto take = [&units](int worker) { units.take(worker, [] {}); };
        Crew crew(most);
        if (crew.start(most, take) > 0) {
            crew.wait(watch);
        } else {
            auto watched = std::chrono::steady_clock::now();
            units.take(0, [&] {
                const auto now = std::chrono::steady_clock::now();
                if (now - watched < WATCH_EVERY) return;
                watched = now;
                watch();
            });
        }
    }
    units.rethrow();
}

void InOrder::then(int64_t unit, std::function<void()> action) {
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
