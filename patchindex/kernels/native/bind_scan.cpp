// The exact scan, for Python.
#include <cmath>
#include <limits>
#include <optional>

#include "bindings.hpp"
#include "scan.hpp"

namespace patchindex {
namespace {

Boundary boundary_named(const std::string& name) {
    if (name == "zeros") return Boundary::zeros;
    if (name == "circular") return Boundary::circular;
    require(name == "circular_interior",
            "boundary is '" + name + "'. Give one of zeros, circular, circular_interior.");
    return Boundary::circular_interior;
}

// What both scans take, checked.
ScanInput scan_input(const py::array& pixels, const py::array& y, double sigma, int patch_size,
                     const std::string& boundary, bool equivariant, int threads,
                     const std::string& isa) {
    ScanInput in{};
    in.pixels = checked<uint8_t>(pixels, "pixels", "images, channels, height, width", 4);
    in.y = checked<float>(y, "y", "batch, channels, height, width", 4);
    in.num_images = pixels.shape(0);
    require_image(pixels.shape(1), pixels.shape(2), pixels.shape(3),
                  "pixels are " + described(pixels));
    in.channels = int(pixels.shape(1));
    in.height = int(pixels.shape(2));
    in.width = int(pixels.shape(3));
    in.batch = y.shape(0);
    for (int axis = 1; axis < 4; ++axis)
        require(y.shape(axis) == pixels.shape(axis),
                "y is " + described(y) + " but pixels are " + described(pixels) +
                    ". Give states of the images' own channels, height and width.");
    require_sigma(sigma);
    require_threads(threads);
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
    return in;
}

py::dict exact_scan_arrays(const py::array& pixels, const py::array& y, double sigma,
                           int patch_size, const std::string& boundary, bool equivariant,
                           const std::optional<py::array>& image_shares,
                           const std::optional<py::array>& displacement_shares, int threads,
                           const std::string& isa) {
    ScanInput in = scan_input(pixels, y, sigma, patch_size, boundary, equivariant, threads, isa);
    const Shares shares = shares_of(image_shares, displacement_shares, in.num_images);
    in.shares = image_shares ? &shares : nullptr;
    const std::vector<py::ssize_t> shape{in.batch, in.height, in.width};
    const std::vector<py::ssize_t> shape_c{in.batch, in.height, in.width, in.channels};
    auto log_max = filled<double>(shape, -std::numeric_limits<double>::infinity());
    auto sum_w = filled<double>(shape, 0), sum_wc = filled<double>(shape_c, 0);
    auto sum_w2 = filled<double>(shape, 0);
    auto num_scored = filled<int64_t>(shape, 0);
    const ScanOutput out{log_max.mutable_data(), sum_w.mutable_data(), sum_wc.mutable_data(),
                         sum_w2.mutable_data(), num_scored.mutable_data()};
    if (in.batch > 0 && in.num_images > 0)
        without_lock([&](const auto& interrupted) { exact_scan(in, out, interrupted); });
    return record_dict(log_max, sum_w, sum_wc, sum_w2, num_scored);
}

py::dict scan_shares_arrays(const py::array& pixels, const py::array& y, double sigma,
                            const py::array& log_mass, double least_share, int patch_size,
                            const std::string& boundary, bool equivariant, int threads,
                            const std::string& isa) {
    const ScanInput in =
        scan_input(pixels, y, sigma, patch_size, boundary, equivariant, threads, isa);
    const ShareInput shares{checked<double>(log_mass, "log_mass", "batch, height, width", 3),
                            least_share};
    require(log_mass.shape(0) == in.batch && log_mass.shape(1) == in.height &&
                log_mass.shape(2) == in.width,
            "log_mass is " + described(log_mass) + " but y is " + described(y) +
                ". Give one for each pixel.");
    require(std::none_of(shares.log_mass, shares.log_mass + log_mass.size(),
                         [](double mass) { return std::isnan(mass) || mass < -1e30; }),
            "log_mass holds values that are no masses. Give finite ones, or infinity for pixels "
            "that take no part.");
    auto images = filled<double>({in.batch, in.num_images}, 0);
    std::vector<ListedPatch> listed;
    const ShareOutput out{images.mutable_data(), listed};
    if (in.batch > 0 && in.num_images > 0)
        without_lock([&](const auto& interrupted) { scan_shares(in, shares, out, interrupted); });
    const auto num = py::ssize_t(listed.size());
    auto places = allocated<int64_t>({num}), ids = allocated<int64_t>({num});
    auto of_listed = allocated<double>({num});
    for (py::ssize_t i = 0; i < num; ++i) {
        places.mutable_data()[i] = listed[i].place;
        ids.mutable_data()[i] = listed[i].id;
        of_listed.mutable_data()[i] = listed[i].share;
    }
    return py::dict("images"_a = images, "places"_a = places, "ids"_a = ids,
                    "shares"_a = of_listed);
}

}  // namespace

void bind_scan(py::module_& module) {
    module.def("exact_scan", &exact_scan_arrays, "pixels"_a, "y"_a, "sigma"_a, py::kw_only(),
               "patch_size"_a, "boundary"_a, "equivariant"_a, "image_shares"_a = py::none(),
               "displacement_shares"_a = py::none(), "threads"_a, "isa"_a = "",
               "Sums over every legal training patch, per query pixel.");
    module.def("scan_shares", &scan_shares_arrays, "pixels"_a, "y"_a, "sigma"_a, "log_mass"_a,
               py::kw_only(), "least_share"_a, "patch_size"_a, "boundary"_a, "equivariant"_a,
               "threads"_a, "isa"_a = "",
               "Shares of every image in known masses, and the patches of large ones.");
}

}  // namespace patchindex
