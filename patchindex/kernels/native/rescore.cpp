#include "rescore.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "parallel.hpp"
#include "rescore_worker.hpp"

namespace patchindex {
namespace {

constexpr int64_t IDS_PER_UNIT = 16384;

struct Unit {
    int64_t first_query, num_queries, first_id, num_ids;
};

// Work cut into units of about IDS_PER_UNIT distances, or one block of shared patches each.
std::vector<Unit> make_units(const RescoreInput& in) {
    const bool shared = shares_patches(in);
    const int64_t ids = std::min(in.num_ids, shared ? PATCH_BLOCK : IDS_PER_UNIT);
    std::vector<Unit> units;
    if (ids == 0) return units;
    const int64_t queries = shared ? in.num_queries : std::max<int64_t>(1, IDS_PER_UNIT / ids);
    for (int64_t q = 0; q < in.num_queries; q += queries)
        for (int64_t id = 0; id < in.num_ids; id += ids)
            units.push_back(
                {q, std::min(queries, in.num_queries - q), id, std::min(ids, in.num_ids - id)});
    return units;
}

// Calls visit(worker, unit, query, first id, distances) for every query and block of ids, and
// finish(worker, index, unit) after each unit.
template <class Visit, class Finish>
bool visit_distances(const RescoreInput& in, const Visit& visit, const Finish& finish,
                     const std::function<bool()>& interrupted) {
    const Kernels& kernels = select_kernels(in.isa);
    const std::vector<Unit> units = make_units(in);
    Queries queries(in, kernels.lanes, !shares_patches(in));
    std::vector<std::unique_ptr<Worker>> workers(in.threads);
    std::atomic<bool> stop{false};
    const int64_t tile = shares_patches(in) ? QUERIES_PER_TILE : 1;
    const auto work = [&](int64_t index, int thread) {
        if (!workers[thread]) workers[thread] = std::make_unique<Worker>(in, kernels);
        Worker& worker = *workers[thread];
        const Unit& unit = units[index];
        worker.records.assign(unit.num_queries, {});
        worker.near.assign(unit.num_queries, {});
        const int64_t stop_query = unit.first_query + unit.num_queries;
        const int64_t stop_id = unit.first_id + unit.num_ids;
        for (int64_t query = unit.first_query; query < stop_query; query += tile)
            for (int64_t id = unit.first_id; id < stop_id; id += PATCH_BLOCK) {
                if (stop) return;
                const int64_t num_queries = std::min(tile, stop_query - query);
                const float* const dist = worker.distances(
                    queries, query, num_queries, in.ids + (in.shared ? 0 : query * in.num_ids) + id,
                    std::min(PATCH_BLOCK, stop_id - id));
                for (int64_t i = 0; i < num_queries; ++i)
                    visit(worker, unit, query + i, id, dist + i * PATCH_BLOCK);
            }
        finish(worker, index, unit);
    };
    run_units(int64_t(units.size()), in.threads, stop, work, interrupted);
    return !stop;
}

// The group that holds this patch as a pair of its image and its displacement from the query.
int64_t group_of(const RescoreInput& in, const GroupInput& groups, int64_t query, int64_t patch) {
    const int64_t per_image = int64_t(in.height) * in.width, image = patch / per_image;
    const int64_t center = patch % per_image, pixel = groups.pixels[query];
    const int64_t group = groups.of_images[image];
    if (group < 0) return -1;
    const int64_t dy = center / in.width - pixel / in.width;
    const int64_t dx = center % in.width - pixel % in.width;
    return groups.shares.at(dy, dx) == groups.shares.of_images[image] ? group : -1;
}

// Ties go to the smaller id, whatever the order.
void keep_nearest(Near& near, int64_t num) {
    if (int64_t(near.size()) <= num) return;
    std::nth_element(near.begin(), near.begin() + num, near.end());
    near.resize(num);
}

}  // namespace

bool patch_distances(const RescoreInput& in, float* dist_sq,
                     const std::function<bool()>& interrupted) {
    const auto store = [&](Worker&, const Unit& unit, int64_t query, int64_t id,
                           const float* dist) {
        const int64_t num = std::min(PATCH_BLOCK, unit.first_id + unit.num_ids - id);
        float* const out = dist_sq + query * in.num_ids + id;
        for (int64_t i = 0; i < num; ++i) out[i] = dist[i] * float(1 / GREY_LEVELS_SQ);
    };
    return visit_distances(in, store, [](Worker&, int64_t, const Unit&) {}, interrupted);
}

bool sum_patches(const RescoreInput& in, const RecordOutput& output, const GroupInput* groups,
                 std::vector<Grouped>& grouped, int64_t num_nearest, int64_t* nearest,
                 const std::function<bool()>& interrupted) {
    std::vector<RunningRecord> totals(in.num_queries);
    std::vector<Near> near(in.num_queries);
    std::atomic<bool> stop{false};
    InOrder in_order(stop, 1 << 20);
    const auto add = [&](Worker& worker, const Unit& unit, int64_t query, int64_t id,
                         const float* dist) {
        const int64_t at = (in.shared ? 0 : query * in.num_ids) + id;
        worker.add_to(worker.records[query - unit.first_query], dist);
        const int64_t num = std::min(PATCH_BLOCK, unit.first_id + unit.num_ids - id);
        for (int64_t i = 0; groups && i < num; ++i) {
            const int64_t patch = in.ids[at + i];
            const int64_t group = patch < 0 ? -1 : group_of(in, *groups, query, patch);
            if (group >= 0)
                worker.grouped.push_back(
                    {query, group, patch, dist[i] * float(1 / GREY_LEVELS_SQ)});
        }
        if (num_nearest)
            for (int64_t i = 0; i < num; ++i)
                if (in.ids[at + i] >= 0)
                    worker.near[query - unit.first_query].emplace_back(dist[i], in.ids[at + i]);
    };
    const auto finish = [&](Worker& worker, int64_t index, const Unit& unit) {
        for (Near& of_query : worker.near) keep_nearest(of_query, num_nearest);
        const auto merge =
            [&totals, &grouped, &near, &unit, num_nearest, records = std::move(worker.records),
             members = std::move(worker.grouped), nearest_of = std::move(worker.near)] {
                for (size_t i = 0; i < records.size(); ++i) {
                    Near& of_query = near[unit.first_query + i];
                    totals[unit.first_query + i].add(records[i]);
                    of_query.insert(of_query.end(), nearest_of[i].begin(), nearest_of[i].end());
                    keep_nearest(of_query, num_nearest);
                }
                grouped.insert(grouped.end(), members.begin(), members.end());
            };
        worker.grouped.clear();
        in_order.then(index, merge);
    };
    if (!visit_distances(in, add, finish, interrupted)) return false;
    for (int64_t q = 0; q < in.num_queries; ++q) {
        int64_t* const ids = nearest + q * num_nearest;
        std::fill_n(ids, num_nearest, -1);
        for (size_t i = 0; i < near[q].size(); ++i) ids[i] = near[q][i].second;
        const RunningRecord& total = totals[q];
        output.log_max[q] = total.reference * std::log(2.0);
        output.num_scored[q] = total.num_scored;
        if (total.sums.empty()) continue;
        output.sum_w[q] = total.sums[0];
        output.sum_w2[q] = total.sums[1];
        for (int c = 0; c < in.channels; ++c)
            output.sum_wc[q * in.channels + c] = total.sums[2 + c];
    }
    return true;
}

}  // namespace patchindex
