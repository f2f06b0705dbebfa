// Searching inverted lists and propagating what was found, for Python.
#include <optional>
#include <utility>

#include "bindings.hpp"
#include "list_search.hpp"
#include "propagate_neighbors.hpp"
#include "nearest.hpp"

namespace patchindex {
namespace {

py::array_t<int64_t> search_lists_arrays(const py::array& codes, const py::array& ids,
                                         const py::array& offsets, const py::array& code_min,
                                         const py::array& code_span, const py::array& vectors,
                                         const py::array& lists, int64_t k,
                                         const std::optional<py::array>& image_mask,
                                         int64_t patches_per_image, int threads,
                                         const std::string& isa) {
    ListSearchInput in{};
    in.codes = checked<uint8_t>(codes, "codes", "codes, dims", 2);
    require(0 < codes.shape(1) && codes.shape(1) <= MOST_DIMS,
            "codes are " + described(codes) + ". Give 1.." + std::to_string(MOST_DIMS) +
                " dimensions.");
    in.dims = int(codes.shape(1));
    in.offsets = checked<int64_t>(offsets, "offsets", "lists + 1", 1);
    in.num_lists = offsets.shape(0) - 1;
    if (ids.dtype().is(py::dtype::of<uint32_t>()))
        in.ids32 = checked<uint32_t>(ids, "ids", "codes", 1);
    else
        in.ids64 = checked<int64_t>(ids, "ids", "codes", 1);
    in.code_min = checked<float>(code_min, "code_min", "dims", 1);
    in.code_span = checked<float>(code_span, "code_span", "dims", 1);
    in.vectors = checked<float>(vectors, "vectors", "queries, dims", 2);
    in.num_queries = vectors.shape(0);
    in.lists = checked<int64_t>(lists, "lists", "queries, probes", 2);
    in.num_probes = lists.shape(1);
    in.k = k;
    require(in.num_lists >= 0, "offsets are empty. Give the first code of each list, and the end.");
    require(ids.shape(0) == codes.shape(0) && in.offsets[in.num_lists] <= codes.shape(0),
            "there are " + std::to_string(codes.shape(0)) + " codes, but " +
                std::to_string(ids.shape(0)) + " ids, and lists that end at " +
                std::to_string(in.offsets[in.num_lists]) +
                ". Give an id for every code, and lists inside them.");
    require(codes.shape(0) <= MOST_PLACES,
            "there are more than 2^32 codes: build several indices.");
    for (int64_t list = 0; list < in.num_lists; ++list)
        require(0 <= in.offsets[list] && in.offsets[list] <= in.offsets[list + 1],
                "offsets must not be negative, and ascend.");
    require(vectors.shape(1) == in.dims && code_min.shape(0) == in.dims &&
                code_span.shape(0) == in.dims,
            "vectors are " + described(vectors) + " but codes are " + described(codes) +
                ". Give vectors and code ranges of as many dimensions as the codes.");
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
    module.def("search_lists", &search_lists_arrays, "codes"_a, "ids"_a, "offsets"_a, "code_min"_a,
               "code_span"_a, "vectors"_a, "lists"_a, "k"_a, py::kw_only(), "image_mask"_a,
               "patches_per_image"_a, "threads"_a, "isa"_a = "",
               "Ids of the nearest codes in given lists, per query.");
    module.def("nearest_rows", &nearest_rows_arrays, "rows"_a, "vectors"_a, "count"_a,
               py::kw_only(), "threads"_a, "isa"_a = "",
               "Positions of the rows nearest to each vector, nearest first.");
    module.def("propagate_neighbors", &propagate_neighbors_arrays, "found"_a, "targets"_a,
               py::kw_only(), "row_neighbors"_a, "row_steps"_a, "col_neighbors"_a, "col_steps"_a,
               "row_centers"_a, "col_centers"_a, "height"_a, "width"_a, "threads"_a,
               "Ids found for searched pixels, moved along to the pixels beside them.");
}

}  // namespace patchindex
