// Rescoring given patches, for Python.
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "bindings.hpp"
#include "rescore.hpp"

namespace patchindex {
namespace {

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
    require_image(pixels.shape(1), pixels.shape(2), pixels.shape(3),
                  "pixels are " + described(pixels));
    in.channels = int(pixels.shape(1));
    in.height = int(pixels.shape(2));
    in.width = int(pixels.shape(3));
    in.num_queries = windows.shape(0);
    in.num_ids = ids.shape(ids.ndim() - 1);
    require(windows.shape(1) == in.channels && windows.shape(2) == windows.shape(3) &&
                windows.shape(3) % 2 == 1 && windows.shape(3) < 2 * LARGEST_SIDE &&
                windows.shape(3) * windows.shape(3) <= LARGEST / in.channels,
            "windows are " + described(windows) + " but pixels are " + described(pixels) +
                ". Give square windows of odd side with the images' channels.");
    in.patch_size = int(windows.shape(3));
    const int r = in.patch_size / 2;
    require(in.shared || ids.shape(0) == in.num_queries,
            "ids are " + described(ids) + " but windows are " + described(windows) +
                ". Give one row of ids per window, or one list for all.");
    require(-r <= rows.first && rows.first <= 0 && 0 < rows.second && rows.second <= r + 1 &&
                -r <= cols.first && cols.first <= 0 && 0 < cols.second && cols.second <= r + 1,
            "the compared offsets are " + std::to_string(rows.first) + ".." +
                std::to_string(rows.second - 1) + " and " + std::to_string(cols.first) + ".." +
                std::to_string(cols.second - 1) +
                ". Give ranges that hold the center, 0, and lie inside the window.");
    require_threads(threads);
    in.row_first = rows.first;
    in.row_stop = rows.second;
    in.col_first = cols.first;
    in.col_stop = cols.second;
    in.wraps = wraps;
    in.threads = threads;
    in.isa = isa;
    return in;
}

py::array_t<float> patch_distances_arrays(const py::array& pixels, const py::array& windows,
                                          const py::array& ids, std::pair<int, int> rows,
                                          std::pair<int, int> cols, bool wraps, int threads,
                                          const std::string& isa) {
    const RescoreInput in = rescore_input(pixels, windows, ids, rows, cols, wraps, threads, isa);
    py::array_t<float> dist_sq = allocated<float>({in.num_queries, in.num_ids});
    float* const out = dist_sq.mutable_data();
    without_lock([&](const auto& interrupted) { patch_distances(in, out, interrupted); });
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

py::dict sum_patches_arrays(const py::array& pixels, const py::array& windows, const py::array& ids,
                            double sigma, const std::optional<py::array>& group_of,
                            const std::optional<py::array>& image_shares,
                            const std::optional<py::array>& displacement_shares,
                            const std::optional<py::array>& query_pixels, int64_t num_nearest,
                            std::pair<int, int> rows, std::pair<int, int> cols, bool wraps,
                            int threads, const std::string& isa) {
    RescoreInput in = rescore_input(pixels, windows, ids, rows, cols, wraps, threads, isa);
    require_sigma(sigma);
    in.sigma = sigma;
    require(0 <= num_nearest && num_nearest <= in.num_ids,
            "num_nearest is " + std::to_string(num_nearest) + " of " + std::to_string(in.num_ids) +
                " ids. Give at most as many as there are.");
    GroupInput groups{};
    groups.shares = shares_of(image_shares, displacement_shares, in.num_images);
    if (group_of) {
        groups.of_images = checked<int64_t>(*group_of, "group_of", "images", 1);
        require(group_of->shape(0) == in.num_images, "group_of is " + described(*group_of) +
                                                         " but pixels are " + described(pixels) +
                                                         ". Give one value per image.");
        require(image_shares && query_pixels,
                "there are groups without shares or query pixels. Give group_of, image_shares, "
                "displacement_shares and query_pixels together.");
        groups.pixels = checked<int64_t>(*query_pixels, "query_pixels", "queries", 1);
        require(query_pixels->shape(0) == in.num_queries,
                "query_pixels is " + described(*query_pixels) + " but windows are " +
                    described(windows) + ". Give one pixel per window.");
        for (int64_t q = 0; q < in.num_queries; ++q)
            require(0 <= groups.pixels[q] && groups.pixels[q] < int64_t(in.height) * in.width,
                    "query pixel " + std::to_string(groups.pixels[q]) + " lies outside of " +
                        described(pixels) + ". Give y * width + x.");
    }
    const std::vector<py::ssize_t> shape{in.num_queries}, shape_c{in.num_queries, in.channels};
    auto log_max = filled<double>(shape, -std::numeric_limits<double>::infinity());
    auto sum_w = filled<double>(shape, 0), sum_wc = filled<double>(shape_c, 0);
    auto sum_w2 = filled<double>(shape, 0);
    auto num_scored = filled<int64_t>(shape, 0);
    const RecordOutput out{log_max.mutable_data(), sum_w.mutable_data(), sum_wc.mutable_data(),
                           sum_w2.mutable_data(), num_scored.mutable_data()};
    std::vector<Grouped> grouped;
    auto nearest = allocated<int64_t>({in.num_queries, num_nearest});
    int64_t* const ids_out = nearest.mutable_data();
    without_lock([&](const auto& interrupted) {
        sum_patches(in, out, group_of ? &groups : nullptr, grouped, num_nearest, ids_out,
                    interrupted);
    });
    py::dict result = record_dict(log_max, sum_w, sum_wc, sum_w2, num_scored);
    result["nearest"] = nearest;
    if (group_of) add_grouped(result, grouped);
    return result;
}

}  // namespace

void bind_rescore(py::module_& module) {
    module.def("patch_distances", &patch_distances_arrays, "pixels"_a, "windows"_a, "ids"_a,
               py::kw_only(), "rows"_a, "cols"_a, "wraps"_a, "threads"_a, "isa"_a = "",
               "Squared distances of given patches, per query.");
    module.def("sum_patches", &sum_patches_arrays, "pixels"_a, "windows"_a, "ids"_a, "sigma"_a,
               py::kw_only(), "group_of"_a = py::none(), "image_shares"_a = py::none(),
               "displacement_shares"_a = py::none(), "query_pixels"_a = py::none(),
               "num_nearest"_a = 0, "rows"_a, "cols"_a, "wraps"_a, "threads"_a, "isa"_a = "",
               "Sums over given patches, per query.");
}

}  // namespace patchindex
