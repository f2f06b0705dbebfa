// Threads that take numbered units of work in order, while the caller's thread watches.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>

namespace patchindex {

// Calls `work(unit, worker)` for every unit on `threads` threads, or on as many as can be started;
// on the caller's own if none can. `interrupted`, called on the caller's thread about twenty times a
// second, ends the work early by returning true: `stop` is then true, and units may be unfinished.
// The first exception of any unit is thrown again.
void run_units(int64_t num_units, int threads, std::atomic<bool>& stop,
               const std::function<void(int64_t unit, int worker)>& work,
               const std::function<bool()>& interrupted);

// Carries out one action per unit in the order of the units, however the threads finish them, so
// that sums do not depend on the number of threads.
class InOrder {
  public:
    // At most `max_waiting` actions wait for earlier units; more make their thread wait.
    InOrder(std::atomic<bool>& stop, int64_t max_waiting)
        : stop_(stop), max_waiting_(max_waiting) {}
    // Carries out `action` now, or leaves it to the thread that finishes the unit before.
    void then(int64_t unit, std::function<void()> action);

  private:
    std::atomic<bool>& stop_;
    const int64_t max_waiting_;
    std::mutex mutex_;
    std::condition_variable moved_;
    std::map<int64_t, std::function<void()>> waiting_;
    int64_t next_ = 0;
};

}  // namespace patchindex
