// Searching inverted lists and propagating what was found, for Python.
#include <optional>
#include <utility>

#include "bindings.hpp"
#include "list_search.hpp"
#include "nearest_rows.hpp"
#include "propagate_neighbors.hpp"
#include "nearest.hpp"

namespace patchindex {
namespace {

constexpr int64_t LARGEST_ID = int64_t(1) << 62;

ListShard list_shard(const py::tuple& given, int64_t num_lists) {
    require(given.size() == 4, "a shard is codes, ids, offsets and the first id.");
    const py::array codes = given[0], ids = given[1], offsets = given[2];
    ListShard shard{};
    shard.codes = checked<uint8_t>(codes, "codes", "codes, dims", 2);
    shard.ids = checked<uint32_t>(ids, "ids", "codes", 1);
    shard.offsets = checked<int64_t>(offsets, "offsets", "lists + 1", 1);
    try {
        shard.first_id = given[3].cast<int64_t>();
    } catch (const py::cast_error&) {
        throw std::invalid_argument("the first id of a shard is no whole number of 64 bits.");
    }
    shard.num_codes = codes.shape(0);
    require(ids.shape(0) == shard.num_codes && offsets.shape(0) == num_lists + 1 &&
                0 <= shard.first_id && shard.first_id <= LARGEST_ID,
            "a shard has " + std::to_string(shard.num_codes) + " codes, " +
                std::to_string(ids.shape(0)) + " ids from " + std::to_string(shard.first_id) +
                " on, and " + std::to_string(offsets.shape(0)) + " offsets of " +
                std::to_string(num_lists) +
                " lists. Give an id for every code, and an offset for every list and the end.");
    return shard;
}

py::array_t<int64_t> search_lists_arrays(const py::list& shards, const py::array& offsets,
                                         const py::array& code_min, const py::array& code_span,
                                         const py::array& vectors, const py::array& lists,
                                         int64_t k, const std::optional<py::array>& image_mask,
                                         int64_t patches_per_image, int threads,
                                         const std::string& isa) {
    ListSearchInput in{};
    in.offsets = checked<int64_t>(offsets, "offsets", "lists + 1", 1);
    in.num_lists = offsets.shape(0) - 1;
    require(in.num_lists >= 0, "offsets are empty. Give the first code of each list, and the end.");
    for (int64_t list = 0; list < in.num_lists; ++list)
        require(0 <= in.offsets[list] && in.offsets[list] <= in.offsets[list + 1],
                "offsets must not be negative, and ascend.");
    require(in.offsets[in.num_lists] <= MOST_PLACES,
            "there are more than 2^32 codes: build several indices.");
    require(0 < code_min.shape(0) && code_min.shape(0) <= MOST_DIMS,
            "code_min is " + described(code_min) + ". Give 1.." + std::to_string(MOST_DIMS) +
                " dimensions.");
    in.dims = int(code_min.shape(0));
    for (const py::handle given : shards) {
        in.shards.push_back(list_shard(given.cast<py::tuple>(), in.num_lists));
        const py::array codes = given.cast<py::tuple>()[0];
        require(codes.shape(1) == in.dims, "codes are " + described(codes) + ". Give " +
                                               std::to_string(in.dims) +
                                               " dimensions, as code_min has.");
    }
    in.code_min = checked<float>(code_min, "code_min", "dims", 1);
    in.code_span = checked<float>(code_span, "code_span", "dims", 1);
    in.vectors = checked<float>(vectors, "vectors", "queries, dims", 2);
    in.num_queries = vectors.shape(0);
    in.lists = checked<int64_t>(lists, "lists", "queries, probes", 2);
    in.num_probes = lists.shape(1);
    in.k = k;
    require(vectors.shape(1) == in.dims && code_span.shape(0) == in.dims,
            "vectors are " + described(vectors) + ". Give " + std::to_string(in.dims) +
                " dimensions, as code_min has; and code_span as many.");
    require(lists.shape(0) == in.num_queries, "lists must have one row per vector.");
    require(in.num_queries <= LARGEST,
            "there are more than 2^31 - 1 vectors. Give fewer at a time.");
    require(k >= 1 && k <= MOST_PLACES && patches_per_image >= 1,
            "k and patches_per_image must be at least 1, and k at most 2^32.");
    require_threads(threads);
    if (image_mask) {
        in.image_mask = checked<bool>(*image_mask, "image_mask", "images", 1);
        in.num_images = image_mask->shape(0);
    }
    in.patches_per_image = patches_per_image;
    in.threads = threads;
    in.isa = isa;
    py::array_t<int64_t> found = allocated<int64_t>({in.num_queries, k});
    int64_t* const out = found.mutable_data();
    without_lock([&](const auto& interrupted) { search_lists(in, out, interrupted); });
    return found;
}

py::array_t<int64_t> nearest_rows_arrays(const py::array& rows, const py::array& vectors,
                                         int64_t count, int threads, const std::string& isa) {
    const auto* const row_data = checked<float>(rows, "rows", "rows, dims", 2);
    const float* const vector_data = checked<float>(vectors, "vectors", "vectors, dims", 2);
    require(rows.shape(1) == vectors.shape(1) && 0 < rows.shape(1) && rows.shape(1) <= MOST_DIMS,
            "rows are " + described(rows) + " but vectors are " + described(vectors) +
                ". Give as many dimensions in both, 1.." + std::to_string(MOST_DIMS) + ".");
    require(rows.shape(0) <= MOST_PLACES, "there are more than 2^32 rows. Give fewer.");
    require(0 < count && count <= rows.shape(0), "count is " + std::to_string(count) +
                                                     ". Give 1.." + std::to_string(rows.shape(0)) +
                                                     ", as there are so many rows.");
    require_threads(threads);
    py::array_t<int64_t> positions = allocated<int64_t>({vectors.shape(0), count});
    int64_t* const out = positions.mutable_data();
    without_lock([&](const auto& interrupted) {
        nearest_rows(row_data, rows.shape(0), int(rows.shape(1)), vector_data, vectors.shape(0),
                     count, out, threads, isa, interrupted);
    });
    return positions;
}

py::array_t<int32_t> nearest_in_cells_arrays(const py::array& centers, const py::array& rows,
                                             const py::array& offsets, const py::array& vectors,
                                             int64_t num_visits, int threads,
                                             const std::string& isa) {
    CellInput in{};
    in.centers = checked<float>(centers, "centers", "cells, dims", 2);
    in.rows = checked<float>(rows, "rows", "rows, dims", 2);
    in.offsets = checked<int64_t>(offsets, "offsets", "cells + 1", 1);
    in.vectors = checked<float>(vectors, "vectors", "vectors, dims", 2);
    const int64_t dims = vectors.shape(1);
    require(centers.shape(1) == dims && rows.shape(1) == dims && 0 < dims && dims <= MOST_DIMS,
            "centers are " + described(centers) + ", rows " + described(rows) + " and vectors " +
                described(vectors) + ". Give as many dimensions in all, 1.." +
                std::to_string(MOST_DIMS) + ".");
    in.dims = int(dims);
    in.num_cells = centers.shape(0);
    require(rows.shape(0) <= LARGEST && offsets.shape(0) == in.num_cells + 1 &&
                in.offsets[0] == 0 && in.offsets[in.num_cells] == rows.shape(0),
            "there are " + std::to_string(in.num_cells) + " cells and " +
                std::to_string(rows.shape(0)) + " rows, but " + described(offsets) +
                " offsets. Give the first row of each cell and the end, at most 2^31 - 1 rows.");
    for (int64_t cell = 0; cell < in.num_cells; ++cell)
        require(in.offsets[cell] < in.offsets[cell + 1],
                "cell " + std::to_string(cell) + " has no row. Leave it out.");
    const int64_t most = std::min(in.num_cells, MOST_VISITS);
    require(1 <= num_visits && num_visits <= most, "num_visits is " + std::to_string(num_visits) +
                                                       ". Give 1.." + std::to_string(most) + ".");
    require_threads(threads);
    in.num_vectors = vectors.shape(0);
    in.num_visits = num_visits;
    in.threads = threads;
    in.isa = isa;
    py::array_t<int32_t> positions = allocated<int32_t>({in.num_vectors});
    int32_t* const out = positions.mutable_data();
    without_lock([&](const auto& interrupted) { nearest_in_cells(in, out, interrupted); });
    return positions;
}

NeighborAxis neighbor_axis(const py::array& neighbors, const py::array& steps, int64_t num_searched,
                           std::pair<int64_t, int64_t> centers) {
    NeighborAxis axis{};
    axis.neighbors = checked<int64_t>(neighbors, "neighbors", "places, 2", 2);
    axis.steps = checked<int64_t>(steps, "steps", "places, 2", 2);
    require(neighbors.shape(1) == 2 && steps.shape(1) == 2 && neighbors.shape(0) == steps.shape(0),
            "neighbors are " + described(neighbors) + " and steps are " + described(steps) +
                ". Give two of each for every place.");
    axis.num_places = neighbors.shape(0);
    axis.num_searched = num_searched;
    axis.first_center = centers.first;
    axis.stop_center = centers.second;
    return axis;
}

py::array_t<int64_t> propagate_neighbors_arrays(
    const py::array& found, const py::array& targets, const py::array& row_neighbors,
    const py::array& row_steps, const py::array& col_neighbors, const py::array& col_steps,
    std::pair<int64_t, int64_t> row_centers, std::pair<int64_t, int64_t> col_centers,
    int64_t height, int64_t width, int threads) {
    PropagationInput in{};
    in.found = checked<int64_t>(found, "found", "batch, rows, columns, ids", 4);
    in.batch = found.shape(0);
    in.k = found.shape(3);
    in.rows = neighbor_axis(row_neighbors, row_steps, found.shape(1), row_centers);
    in.cols = neighbor_axis(col_neighbors, col_steps, found.shape(2), col_centers);
    in.targets = checked<int64_t>(targets, "targets", "targets, 3", 2);
    in.num_targets = targets.shape(0);
    require(targets.shape(1) == 3,
            "targets are " + described(targets) + ". Give state, row and column of each.");
    require_image(1, height, width,
                  "images are of " + std::to_string(height) + " x " + std::to_string(width));
    require_threads(threads);
    in.height = height;
    in.width = width;
    in.threads = threads;
    std::vector<std::vector<int64_t>> ids;
    without_lock([&](const auto& interrupted) { propagate_neighbors(in, ids, interrupted); });
    size_t most = 0;
    for (const auto& row : ids) most = std::max(most, row.size());
    auto result = filled<int64_t>({in.num_targets, py::ssize_t(most)}, -1);
    for (size_t i = 0; i < ids.size(); ++i)
        std::copy(ids[i].begin(), ids[i].end(), result.mutable_data() + i * most);
    return result;
}

}  // namespace

void bind_search(py::module_& module) {
    module.def("search_lists", &search_lists_arrays, "shards"_a, "offsets"_a, "code_min"_a,
               "code_span"_a, "vectors"_a, "lists"_a, "k"_a, py::kw_only(), "image_mask"_a,
               "patches_per_image"_a, "threads"_a, "isa"_a = "",
               "Ids of the nearest codes in given lists, per query.");
    module.def("nearest_rows", &nearest_rows_arrays, "rows"_a, "vectors"_a, "count"_a,
               py::kw_only(), "threads"_a, "isa"_a = "",
               "Positions of the rows nearest to each vector, nearest first.");
    module.def("nearest_in_cells", &nearest_in_cells_arrays, "centers"_a, "rows"_a, "offsets"_a,
               "vectors"_a, "num_visits"_a, py::kw_only(), "threads"_a, "isa"_a = "",
               "Position of the row nearest to each vector, among those of the nearest cells.");
    module.def("propagate_neighbors", &propagate_neighbors_arrays, "found"_a, "targets"_a,
               py::kw_only(), "row_neighbors"_a, "row_steps"_a, "col_neighbors"_a, "col_steps"_a,
               "row_centers"_a, "col_centers"_a, "height"_a, "width"_a, "threads"_a,
               "Ids found for searched pixels, moved along to the pixels beside them.");
}

}  // namespace patchindex
