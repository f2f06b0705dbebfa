#include "list_search.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "kernels.hpp"
#include "memory.hpp"
#include "nearest.hpp"
#include "parallel.hpp"

namespace patchindex {
namespace {

constexpr int64_t CODES_PER_UNIT = 32768;
constexpr int64_t FIRST_PROBES = 2;
constexpr const char* DAMAGED_INDEX =
    "If they come from an index, it is damaged: see what `patchindex verify` says of it.";

// A stretch of one list in one shard, and the queries that visit it.
struct Unit {
    int64_t first_place, num_codes;
    const uint8_t* codes;
    const uint32_t* ids;
    int64_t first_id;
    const int32_t* queries;
    int64_t num_queries;
};

// Which queries visit which list in some of their probes: sorted by list, so that a call costs
// nothing for the lists that it does not visit.
struct Visits {
    std::vector<int32_t> queries;
    std::vector<std::pair<int64_t, int64_t>> lists;  // number, and the end of its queries

    Visits(const ListSearchInput& in, int64_t first_probe, int64_t stop_probe) {
        std::vector<std::pair<int64_t, int32_t>> visits;
        visits.reserve(in.num_queries * (stop_probe - first_probe));
        for (int64_t query = 0; query < in.num_queries; ++query)
            for (int64_t probe = first_probe; probe < stop_probe; ++probe) {
                const int64_t list = in.lists[query * in.num_probes + probe];
                if (list >= 0) visits.emplace_back(list, int32_t(query));
            }
        std::sort(visits.begin(), visits.end());
        queries.reserve(visits.size());
        for (const auto& [list, query] : visits) {
            if (lists.empty() || lists.back().first != list) lists.emplace_back(list, 0);
            queries.push_back(query);
            lists.back().second = int64_t(queries.size());
        }
    }
};

// Refuses a list of a shard that does not lie within its codes.
void check_list(const ListShard& shard, int64_t list) {
    const int64_t first = shard.offsets[list], end = shard.offsets[list + 1];
    if (first < 0 || end < first || end > shard.num_codes)
        throw std::invalid_argument("list " + std::to_string(list) + " is at " +
                                    std::to_string(first) + ".." + std::to_string(end) + " of " +
                                    std::to_string(shard.num_codes) + " codes. " + DAMAGED_INDEX);
}

std::vector<Unit> make_units(const ListSearchInput& in, const Visits& visits) {
    std::vector<Unit> units;
    int64_t first = 0;
    for (const auto& [list, end] : visits.lists) {
        int64_t place = in.offsets[list];
        for (const ListShard& shard : in.shards) {
            check_list(shard, list);
            const int64_t stop = shard.offsets[list + 1];
            for (int64_t at = shard.offsets[list]; at < stop; at += CODES_PER_UNIT) {
                const int64_t num = std::min(CODES_PER_UNIT, stop - at);
                units.push_back({place, num, shard.codes + at * in.dims, shard.ids + at,
                                 shard.first_id, visits.queries.data() + first, end - first});
                place += num;
            }
        }
        if (place != in.offsets[list + 1])
            throw std::invalid_argument("list " + std::to_string(list) + " has " +
                                        std::to_string(place - in.offsets[list]) +
                                        " codes in its shards, but " +
                                        std::to_string(in.offsets[list + 1] - in.offsets[list]) +
                                        " places. " + DAMAGED_INDEX);
        first = end;
    }
    return units;
}

// The lists that one query visits, by their places.
class VisitedLists {
  public:
    VisitedLists(const ListSearchInput& in, int64_t query) : in_(in) {
        const int64_t* const probes = in.lists + query * in.num_probes;
        for (int64_t i = 0; i < in.num_probes; ++i)
            if (probes[i] >= 0) lists_.push_back(probes[i]);
        std::sort(lists_.begin(), lists_.end());
    }

    // The patch whose code has this place.
    int64_t id_at(int64_t place) const {
        const auto next = std::partition_point(lists_.begin(), lists_.end(), [&](int64_t list) {
            return in_.offsets[list + 1] <= place;
        });
        int64_t within = place - in_.offsets[*next];
        for (const ListShard& shard : in_.shards) {
            const int64_t first = shard.offsets[*next], num = shard.offsets[*next + 1] - first;
            if (within < num) return shard.first_id + shard.ids[first + within];
            within -= num;
        }
        return -1;
    }

  private:
    const ListSearchInput& in_;
    std::vector<int64_t> lists_;
};

// Minus twice each query's vector, relative to the middle of the codes' range, so that its product
// with a code plus the code's squared length ranks the codes.
std::vector<float> centered_queries(const ListSearchInput& in) {
    std::vector<float> result(in.num_queries * in.dims);
    for (int i = 0; i < in.dims; ++i)
        if (!std::isfinite(in.code_min[i] + in.code_span[i]))
            throw std::invalid_argument("code_min or code_span hold values that are not finite. " +
                                        std::string(DAMAGED_INDEX));
    for (int64_t q = 0; q < in.num_queries; ++q)
        for (int i = 0; i < in.dims; ++i) {
            const float middle = in.code_min[i] + in.code_span[i] * float(128.0 / 255.0);
            const float value = in.vectors[q * in.dims + i];
            if (!std::isfinite(value))
                throw std::invalid_argument(
                    "vectors hold values that are not finite. Give finite queries.");
            result[q * in.dims + i] = -2.0f * (value - middle);
        }
    return result;
}

// One thread's arrays.
class Searcher {
  public:
    Searcher(const ListSearchInput& in, const Kernels& kernels, const std::vector<float>& vectors,
             Nearest* nearest)
        : in_(in), kernels_(kernels), vectors_(vectors), nearest_(nearest), steps_(in.dims),
          decoded_(size_t(in.dims) * CODE_BLOCK), norms_(CODE_BLOCK), task_{in.dims, nullptr} {
        for (int i = 0; i < in.dims; ++i) steps_[i] = in.code_span[i] * float(1 / 255.0);
        task_.steps = steps_.data();
    }

    void search(const Unit& unit, const std::atomic<bool>& stop) {
        const auto accept = [&](int64_t place) {
            return in_.is_member(unit.first_id + unit.ids[place - unit.first_place]);
        };
        queries_.resize(unit.num_queries);
        pointers_.clear();
        for (int64_t i = 0; i < unit.num_queries; ++i) {
            queries_[i].vector = vectors_.data() + int64_t(unit.queries[i]) * in_.dims;
            pointers_.push_back(&queries_[i]);
        }
        for (int64_t at = 0; at < unit.num_codes && !stop; at += CODE_BLOCK) {
            const int64_t num = std::min<int64_t>(CODE_BLOCK, unit.num_codes - at);
            const int64_t place = unit.first_place + at;
            kernels_.decode_codes(task_, unit.codes + at * in_.dims, num, decoded_.data(),
                                  norms_.data());
            for (int64_t i = 0; i < unit.num_queries; ++i)
                queries_[i].limit = nearest_[unit.queries[i]].limit();
            kernels_.near_codes(task_, decoded_.data(), norms_.data(), num, pointers_.data(),
                                unit.num_queries);
            for (int64_t i = 0; i < unit.num_queries; ++i)
                if (queries_[i].num_near > 0)
                    nearest_[unit.queries[i]].add(queries_[i], place, in_.k, accept);
        }
    }

  private:
    const ListSearchInput& in_;
    const Kernels& kernels_;
    const std::vector<float>& vectors_;
    Nearest* const nearest_;
    std::vector<float> steps_;
    AlignedFloats decoded_, norms_;
    CodeTask task_;
    std::vector<CodeQuery> queries_;
    std::vector<CodeQuery*> pointers_;
};

}  // namespace

bool search_lists(const ListSearchInput& in, int64_t* ids,
                  const std::function<bool()>& interrupted) {
    const Kernels& kernels = select_kernels(in.isa);
    const std::vector<float> vectors = centered_queries(in);
    for (int64_t i = 0; i < in.num_queries * in.num_probes; ++i)
        if (in.lists[i] < -1 || in.lists[i] >= in.num_lists)
            throw std::invalid_argument("there is no list " + std::to_string(in.lists[i]) +
                                        ". Give -1.." + std::to_string(in.num_lists - 1) + ".");
    const std::unique_ptr<Nearest[]> nearest(new Nearest[in.num_queries]);
    std::vector<std::unique_ptr<Searcher>> searchers(in.threads);
    std::atomic<bool> stop{false};
    // the first probes are the nearest lists: after them, few codes of the others get in
    const int64_t split = std::min(FIRST_PROBES, in.num_probes);
    for (const auto& [first, end] :
         {std::pair(int64_t(0), split), std::pair(split, in.num_probes)}) {
        const Visits visits(in, first, end);
        const std::vector<Unit> units = make_units(in, visits);
        const auto work = [&](int64_t index, int thread) {
            if (!searchers[thread])
                searchers[thread] = std::make_unique<Searcher>(in, kernels, vectors, nearest.get());
            searchers[thread]->search(units[index], stop);
        };
        run_units(int64_t(units.size()), in.threads, stop, work, interrupted);
        if (stop) return false;
    }
    const auto write = [&](int64_t query, int) {
        const std::vector<Found>& found = nearest[query].sorted(in.k);
        const VisitedLists visited(in, query);
        for (int64_t i = 0; i < in.k; ++i)
            ids[query * in.k + i] =
                i < int64_t(found.size()) ? visited.id_at(found[i].place()) : -1;
    };
    run_units(in.num_queries, in.threads, stop, write, interrupted);
    return !stop;
}

}  // namespace patchindex
