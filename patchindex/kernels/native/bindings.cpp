// The Python module `patchindex.kernels._native`: checks arrays, releases the lock, calls kernels.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernels.hpp"
#include "list_search.hpp"
#include "moved_union.hpp"
#include "nearest.hpp"
#include "peak.hpp"
#include "rescore.hpp"
#include "scan.hpp"

namespace py = pybind11;
using namespace py::literals;

namespace patchindex {
namespace {

std::string described(const py::array& array) {
    return py::str(array.dtype()).cast<std::string>() + " with shape " +
           py::str(array.attr("shape")).cast<std::string>();
}

// The array's data, if it is what the kernels read: nothing is converted or copied here.
template <class T>
const T* checked(const py::array& array, const char* name, const char* axes, int ndim) {
    const bool contiguous = array.flags() & py::array::c_style;
    if (!array.dtype().is(py::dtype::of<T>()) || array.ndim() != ndim || !contiguous)
        throw std::invalid_argument(
            std::string(name) + " is " + described(array) + (contiguous ? "" : ", not contiguous") +
            ". Give a C-contiguous " + py::str(py::dtype::of<T>()).cast<std::string>() +
            " array with shape [" + axes + "].");
    return static_cast<const T*>(array.data());
}

void require(bool holds, const std::string& message) {
    if (!holds) throw std::invalid_argument(message);
}

Boundary boundary_named(const std::string& name) {
    if (name == "zeros") return Boundary::zeros;
    if (name == "circular") return Boundary::circular;
    require(name == "circular_interior",
            "boundary is '" + name + "'. Give one of zeros, circular, circular_interior.");
    return Boundary::circular_interior;
}

// Runs `work(interrupted)` without the interpreter lock; Ctrl-C ends it and is raised here.
template <class Work>
void without_lock(const Work& work) {
    bool raised = false;
    const auto interrupted = [&raised] {
        const py::gil_scoped_acquire lock;
        return raised = raised || PyErr_CheckSignals() != 0;
    };
    {
        const py::gil_scoped_release release;
        work(interrupted);
    }
    if (raised) throw py::error_already_set();
}

template <class T>
py::array_t<T> filled(const std::vector<py::ssize_t>& shape, T value) {
    py::array_t<T> array(shape);
    std::fill_n(array.mutable_data(), array.size(), value);
    return array;
}

py::dict record_dict(const py::array& log_max, const py::array& sum_w, const py::array& sum_wc,
                     const py::array& sum_w2, const py::array& num_scored) {
    return py::dict("log_max"_a = log_max, "sum_w"_a = sum_w, "sum_wc"_a = sum_wc,
                    "sum_w2"_a = sum_w2, "num_scored"_a = num_scored);
}

py::dict scan_arrays(const py::array& pixels, const py::array& y, double sigma, int patch_size,
                     const std::string& boundary, bool equivariant, int threads,
                     const std::string& isa) {
    ScanInput in{};
    in.pixels = checked<uint8_t>(pixels, "pixels", "images, channels, height, width", 4);
    in.y = checked<float>(y, "y", "batch, channels, height, width", 4);
    in.num_images = pixels.shape(0);
    in.channels = int(pixels.shape(1));
    in.height = int(pixels.shape(2));
    in.width = int(pixels.shape(3));
    in.batch = int(y.shape(0));
    for (int axis = 1; axis < 4; ++axis)
        require(y.shape(axis) == pixels.shape(axis) && pixels.shape(axis) > 0,
                "y is " + described(y) + " but pixels are " + described(pixels) +
                    ". Give states of the images' own channels, height and width.");
    require(sigma > 0 && std::isfinite(sigma), "sigma must be positive and finite.");
    require(threads >= 1, "threads must be at least 1.");
    in.sigma = sigma;
    in.patch_size = patch_size;
    in.boundary = boundary_named(boundary);
    in.equivariant = equivariant;
    in.threads = threads;
    in.isa = isa;
    const int largest = in.boundary == Boundary::circular_interior
                            ? std::min(in.height, in.width)
                            : 2 * std::max(in.height, in.width) - 1;
    require(patch_size >= 1 && patch_size % 2 == 1 && patch_size <= largest,
            "patch_size is " + std::to_string(patch_size) + ". Give an odd number in 1.." +
                std::to_string(largest) + ".");

    const std::vector<py::ssize_t> shape{in.batch, in.height, in.width};
    const std::vector<py::ssize_t> shape_c{in.batch, in.height, in.width, in.channels};
    auto log_max = filled<double>(shape, -std::numeric_limits<double>::infinity());
    auto sum_w = filled<double>(shape, 0), sum_wc = filled<double>(shape_c, 0);
    auto sum_w2 = filled<double>(shape, 0);
    auto num_scored = filled<int64_t>(shape, 0);
    const ScanOutput out{log_max.mutable_data(), sum_w.mutable_data(), sum_wc.mutable_data(),
                         sum_w2.mutable_data(), num_scored.mutable_data()};
    if (in.batch > 0 && in.num_images > 0)
        without_lock([&](const auto& interrupted) { scan(in, out, interrupted); });
    return record_dict(log_max, sum_w, sum_wc, sum_w2, num_scored);
}

// Arguments that both ways of rescoring share; `rows` and `cols` are the compared offsets.
RescoreInput rescore_input(const py::array& pixels, const py::array& windows, const py::array& ids,
                           std::pair<int, int> rows, std::pair<int, int> cols, bool wraps,
                           int threads, const std::string& isa) {
    RescoreInput in{};
    in.pixels = checked<uint8_t>(pixels, "pixels", "images, channels, height, width", 4);
    in.windows = checked<float>(windows, "windows", "queries, channels, side, side", 4);
    in.shared = ids.ndim() == 1;
    in.ids = checked<int64_t>(ids, "ids", in.shared ? "ids" : "queries, ids", in.shared ? 1 : 2);
    in.num_images = pixels.shape(0);
    in.channels = int(pixels.shape(1));
    in.height = int(pixels.shape(2));
    in.width = int(pixels.shape(3));
    in.num_queries = windows.shape(0);
    in.num_ids = ids.shape(ids.ndim() - 1);
    in.patch_size = int(windows.shape(3));
    const int r = in.patch_size / 2;
    require(windows.shape(1) == in.channels && windows.shape(2) == in.patch_size &&
                in.patch_size % 2 == 1 && in.channels > 0 && in.height > 0 && in.width > 0,
            "windows are " + described(windows) + " but pixels are " + described(pixels) +
                ". Give square windows of odd side with the images' channels.");
    require(in.shared || ids.shape(0) == in.num_queries,
            "ids are " + described(ids) + " but windows are " + described(windows) +
                ". Give one row of ids per window, or one list for all.");
    require(-r <= rows.first && rows.first <= 0 && 0 < rows.second && rows.second <= r + 1 &&
                -r <= cols.first && cols.first <= 0 && 0 < cols.second && cols.second <= r + 1,
            "the compared offsets must hold the center and lie inside the window.");
    require(threads >= 1, "threads must be at least 1.");
    in.row_first = rows.first;
    in.row_stop = rows.second;
    in.col_first = cols.first;
    in.col_stop = cols.second;
    in.wraps = wraps;
    in.threads = threads;
    in.isa = isa;
    return in;
}

py::array_t<float> rescore_arrays(const py::array& pixels, const py::array& windows,
                                  const py::array& ids, std::pair<int, int> rows,
                                  std::pair<int, int> cols, bool wraps, int threads,
                                  const std::string& isa) {
    const RescoreInput in = rescore_input(pixels, windows, ids, rows, cols, wraps, threads, isa);
    py::array_t<float> dist_sq(std::vector<py::ssize_t>{in.num_queries, in.num_ids});
    float* const out = dist_sq.mutable_data();
    without_lock([&](const auto& interrupted) { rescore(in, out, interrupted); });
    return dist_sq;
}

// The members of groups as arrays of one length.
void add_grouped(py::dict& result, const std::vector<Grouped>& grouped) {
    const auto size = py::ssize_t(grouped.size());
    py::array_t<int64_t> query(size), group(size), id(size);
    py::array_t<float> dist_sq(size);
    for (py::ssize_t i = 0; i < size; ++i) {
        query.mutable_data()[i] = grouped[i].query;
        group.mutable_data()[i] = grouped[i].group;
        id.mutable_data()[i] = grouped[i].id;
        dist_sq.mutable_data()[i] = grouped[i].dist_sq;
    }
    result["query"] = query;
    result["group"] = group;
    result["id"] = id;
    result["dist_sq"] = dist_sq;
}

py::dict rescore_record_arrays(const py::array& pixels, const py::array& windows,
                               const py::array& ids, double sigma,
                               const std::optional<py::array>& log_multiplicity,
                               const std::optional<py::array>& group_of, std::pair<int, int> rows, std::pair<int, int> cols, bool wraps,
                               int threads, const std::string& isa) {
    RescoreInput in = rescore_input(pixels, windows, ids, rows, cols, wraps, threads, isa);
    require(sigma > 0 && std::isfinite(sigma), "sigma must be positive and finite.");
    in.sigma = sigma;
    if (log_multiplicity) {
        in.log_multiplicity = checked<float>(*log_multiplicity, "log_multiplicity",
                                             "as ids", int(ids.ndim()));
        for (int axis = 0; axis < ids.ndim(); ++axis)
            require(log_multiplicity->shape(axis) == ids.shape(axis),
                    "log_multiplicity is " + described(*log_multiplicity) + " but ids are " +
                        described(ids) + ". Give one value per id.");
    }
    const int64_t* groups = nullptr;
    if (group_of) {
        groups = checked<int64_t>(*group_of, "group_of", "images", 1);
        require(group_of->shape(0) == in.num_images, "group_of must have one value per image.");
    }
    const std::vector<py::ssize_t> shape{in.num_queries}, shape_c{in.num_queries, in.channels};
    auto log_max = filled<double>(shape, -std::numeric_limits<double>::infinity());
    auto sum_w = filled<double>(shape, 0), sum_wc = filled<double>(shape_c, 0);
    auto sum_w2 = filled<double>(shape, 0);
    auto num_scored = filled<int64_t>(shape, 0);
    const RecordOutput out{log_max.mutable_data(), sum_w.mutable_data(), sum_wc.mutable_data(),
                           sum_w2.mutable_data(), num_scored.mutable_data()};
    std::vector<Grouped> grouped;
    without_lock([&](const auto& interrupted) {
        rescore_records(in, out, groups, grouped, interrupted);
    });
    py::dict result = record_dict(log_max, sum_w, sum_wc, sum_w2, num_scored);
    if (group_of) add_grouped(result, grouped);
    return result;
}

py::tuple search_lists_arrays(const py::array& codes, const py::array& ids, const py::array& offsets,
                              const py::array& code_min, const py::array& code_span,
                              const py::array& vectors, const py::array& lists, int64_t k,
                              const std::optional<py::array>& members, int64_t patches_per_image,
                              int threads, const std::string& isa) {
    ListSearchInput in{};
    in.codes = checked<uint8_t>(codes, "codes", "codes, dims", 2);
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
    require(in.num_lists >= 0 && ids.shape(0) == codes.shape(0) &&
                (in.num_lists == 0 || in.offsets[in.num_lists] <= codes.shape(0)),
            "ids, codes and offsets do not belong together.");
    require(codes.shape(0) <= MOST_PLACES, "there are more than 2^32 codes: build several indices.");
    for (int64_t list = 0; list < in.num_lists; ++list)
        require(0 <= in.offsets[list] && in.offsets[list] <= in.offsets[list + 1],
                "offsets must not be negative, and ascend.");
    require(in.dims > 0 && vectors.shape(1) == in.dims && code_min.shape(0) == in.dims &&
                code_span.shape(0) == in.dims,
            "vectors are " + described(vectors) + " but codes are " + described(codes) +
                ". Give vectors and code ranges of as many dimensions as the codes.");
    require(lists.shape(0) == in.num_queries, "lists must have one row per vector.");
    require(k >= 1 && threads >= 1 && patches_per_image >= 1,
            "k, threads and patches_per_image must be at least 1.");
    if (members) {
        in.members = checked<bool>(*members, "members", "images", 1);
        in.num_images = members->shape(0);
    }
    in.patches_per_image = patches_per_image;
    in.threads = threads;
    in.isa = isa;
    const std::vector<py::ssize_t> shape{in.num_queries, k};
    py::array_t<int64_t> found(shape);
    py::array_t<float> dist_sq(shape);
    int64_t* const found_data = found.mutable_data();
    float* const dist_data = dist_sq.mutable_data();
    without_lock([&](const auto& interrupted) {
        search_lists(in, found_data, dist_data, interrupted);
    });
    return py::make_tuple(found, dist_sq);
}

py::array_t<int64_t> nearest_rows_arrays(const py::array& rows, const py::array& vectors,
                                         int64_t count, int threads, const std::string& isa) {
    const float* const row_data = checked<float>(rows, "rows", "rows, dims", 2);
    const float* const vector_data = checked<float>(vectors, "vectors", "vectors, dims", 2);
    require(rows.shape(1) == vectors.shape(1) && rows.shape(1) > 0,
            "rows and vectors must have as many dimensions.");
    require(0 < count && count <= rows.shape(0) && threads >= 1,
            "count must be in 1.." + std::to_string(rows.shape(0)) + ".");
    py::array_t<int64_t> positions(std::vector<py::ssize_t>{vectors.shape(0), count});
    int64_t* const out = positions.mutable_data();
    without_lock([&](const auto& interrupted) {
        nearest_rows(row_data, rows.shape(0), int(rows.shape(1)), vector_data, vectors.shape(0),
                     count, out, threads, isa, interrupted);
    });
    return positions;
}

LoanAxis loan_axis(const py::array& lenders, const py::array& steps, int64_t num_lenders,
                   std::pair<int64_t, int64_t> centers) {
    LoanAxis axis{};
    axis.lenders = checked<int64_t>(lenders, "lenders", "places, 2", 2);
    axis.steps = checked<int64_t>(steps, "steps", "places, 2", 2);
    require(lenders.shape(1) == 2 && steps.shape(1) == 2 && lenders.shape(0) == steps.shape(0),
            "lenders and steps must both be [places, 2].");
    axis.num_places = lenders.shape(0);
    axis.num_lenders = num_lenders;
    axis.first_center = centers.first;
    axis.stop_center = centers.second;
    return axis;
}

py::array_t<int64_t> moved_union_arrays(
    const py::array& found, const py::array& borrowers, const py::array& row_lenders,
    const py::array& row_steps, const py::array& col_lenders, const py::array& col_steps,
    std::pair<int64_t, int64_t> row_centers, std::pair<int64_t, int64_t> col_centers,
    int64_t height, int64_t width, int threads) {
    MovedUnionInput in{};
    in.found = checked<int64_t>(found, "found", "batch, rows, columns, ids", 4);
    in.batch = found.shape(0);
    in.k = found.shape(3);
    in.rows = loan_axis(row_lenders, row_steps, found.shape(1), row_centers);
    in.cols = loan_axis(col_lenders, col_steps, found.shape(2), col_centers);
    in.borrowers = checked<int64_t>(borrowers, "borrowers", "borrowers, 3", 2);
    in.num_borrowers = borrowers.shape(0);
    require(borrowers.shape(1) == 3, "borrowers must be [borrowers, 3].");
    require(height >= 1 && width >= 1 && threads >= 1, "height, width and threads must be positive.");
    in.height = height;
    in.width = width;
    in.threads = threads;
    std::vector<std::vector<int64_t>> ids;
    without_lock([&](const auto& interrupted) { moved_union(in, ids, interrupted); });
    size_t most = 0;
    for (const auto& row : ids) most = std::max(most, row.size());
    auto result = filled<int64_t>({in.num_borrowers, py::ssize_t(most)}, -1);
    for (size_t i = 0; i < ids.size(); ++i)
        std::copy(ids[i].begin(), ids[i].end(), result.mutable_data() + i * most);
    return result;
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const auto find : {kernels_avx512, kernels_avx2, kernels_portable})
        if (const Kernels* const kernels = find()) names.push_back(kernels->name);
    return names;
}

// (multiply-adds, random cache lines) a second, for benchmarks.
std::pair<double, double> peak_rates(const py::array& pixels, int threads, const std::string& isa) {
    const auto* const data = checked<uint8_t>(pixels, "pixels", "images, channels, height, width", 4);
    const py::gil_scoped_release release;
    return {multiply_adds_per_second(threads, isa),
            random_lines_per_second(data, pixels.size(), threads)};
}

}  // namespace
}  // namespace patchindex

PYBIND11_MODULE(_native, module) {
    module.doc() = "Exact scan and rescoring of patches in C++; see native_backend.py.";
    module.def("instruction_sets", &patchindex::instruction_sets,
               "Instruction sets of this build and processor, fastest first.");
    module.def("scan", &patchindex::scan_arrays, "pixels"_a, "y"_a, "sigma"_a, py::kw_only(),
               "patch_size"_a, "boundary"_a, "equivariant"_a, "threads"_a, "isa"_a = "",
               "Sums over every legal training patch, per query pixel.");
    module.def("rescore", &patchindex::rescore_arrays, "pixels"_a, "windows"_a, "ids"_a,
               py::kw_only(), "rows"_a, "cols"_a, "wraps"_a, "threads"_a, "isa"_a = "",
               "Squared distances of given patches, per query.");
    module.def("rescore_record", &patchindex::rescore_record_arrays, "pixels"_a, "windows"_a,
               "ids"_a, "sigma"_a, py::kw_only(), "log_multiplicity"_a, "group_of"_a, "rows"_a, "cols"_a,
               "wraps"_a, "threads"_a, "isa"_a = "", "Sums over given patches, per query.");
    module.def("search_lists", &patchindex::search_lists_arrays, "codes"_a, "ids"_a, "offsets"_a,
               "code_min"_a, "code_span"_a, "vectors"_a, "lists"_a, "k"_a, py::kw_only(),
               "members"_a, "patches_per_image"_a, "threads"_a, "isa"_a = "",
               "Ids and squared distances of the nearest codes in given lists, per query.");
    module.def("nearest_rows", &patchindex::nearest_rows_arrays, "rows"_a, "vectors"_a, "count"_a,
               py::kw_only(), "threads"_a, "isa"_a = "",
               "Positions of the rows nearest to each vector, nearest first.");
    module.def("moved_union", &patchindex::moved_union_arrays, "found"_a, "borrowers"_a,
               py::kw_only(), "row_lenders"_a, "row_steps"_a, "col_lenders"_a, "col_steps"_a,
               "row_centers"_a, "col_centers"_a, "height"_a, "width"_a, "threads"_a,
               "Ids found for searched pixels, moved along to the pixels around them.");
    module.def("peak_rates", &patchindex::peak_rates, "pixels"_a, py::kw_only(), "threads"_a,
               "isa"_a = "", "Multiply-adds and random cache lines a second, for benchmarks.");
}
