#include "scan.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "kernels.hpp"
#include "memory.hpp"
#include "parallel.hpp"
#include "pixel_sums.hpp"

namespace patchindex {
namespace {

constexpr int64_t QUERIES_PER_UNIT = 8;
constexpr float FAR_AWAY = 1e15f;       // pixel of a lane without an image: its weights are 0
constexpr double LARGEST_QUERY = 1e10;  // in units of sigma; beyond it float32 says nothing
constexpr int RUNNING_FROM = 7;         // cells of a window; below, sums made afresh are as fast
constexpr double LARGEST_RUNNING_ERROR = 1e-3;  // of a log2 weight
constexpr double NEGLIGIBLE_BITS = 20;          // all that is skipped is below 2^-20 of the mass
constexpr float NO_MASS = -1e30f;               // reference of a pixel that takes no part
constexpr float LARGEST_BITS = 126;             // of a share that is not zero

// Images per unit of work. Set by the number of images alone: threads must not change any sum.
int64_t images_per_unit(int64_t num_images, int lanes) {
    const int64_t images = std::clamp<int64_t>(num_images / 128, 64, 512);
    return (images + lanes - 1) / lanes * lanes;
}

struct Plan {
    ScanInput in;
    const Kernels* kernels;
    ScanShape shape;
    double scale;  // log2 w = -(scale * distance)^2
    float skip_below;
    std::vector<float> levels;    // scaled value of each of 256 pixel values
    std::vector<float> queries;   // [batch][query_size], scaled and padded
    std::vector<bool> running;    // of each query: whether running sums are exact enough
    std::vector<int32_t> shares;  // [row strips][col strips], if the images have shares
    int64_t largest_share;        // displacements of one image, at most
    int64_t images_per_unit, units_per_query, query_groups;
};

std::vector<float> padded_queries(const ScanInput& in, const ScanShape& shape, double scale) {
    const Axis& cols = shape.cols;
    std::vector<float> padded(size_t(in.batch) * shape.query_size(), 0.0f);
    float* out = padded.data();
    for (int64_t row = 0; row < in.batch * in.channels * in.height; ++row)
        for (int i = 0; i < shape.query_count(); ++i, ++out) {
            const int x = shape.query_low() + i;
            if (!cols.query_wraps && !cols.inside(x)) continue;
            const double value = double(in.y[row * in.width + cols.wrapped(x)]) * scale;
            if (!(std::abs(value) <= LARGEST_QUERY))
                throw std::invalid_argument(
                    "y holds values that are not finite, or over 1e10 times sigma. "
                    "Give a finite state y = xt / sqrt(alpha_bar) with its own sigma.");
            *out = float(value);
        }
    return padded;
}

// How far running sums may be from the log2 weights of a query, about: the largest sum that any
// training window can have, rounded once for every step along both axes.
double running_error(const ScanShape& shape, const float* query, double scale) {
    const int width = shape.query_count(), height = shape.rows.size, size = shape.rows.patch_size;
    std::vector<double> columns(width);
    double largest = 0;
    for (int row = 0; row < height + size; ++row) {
        for (int x = 0; x < width; ++x)
            for (int c = 0; c < shape.channels; ++c) {
                const float* const plane = query + ptrdiff_t(c) * height * width;
                const auto bound = [&](int y) {
                    const double farthest = std::abs(plane[ptrdiff_t(y) * width + x]) + scale;
                    return farthest * farthest;
                };
                if (row < height) columns[x] += bound(row);
                if (row >= size) columns[x] -= bound(row - size);
            }
        double sum = 0;
        for (int x = 0; x < width; ++x) {
            sum += columns[x] - (x < size ? 0.0 : columns[x - size]);
            largest = std::max(largest, sum);
        }
    }
    return largest * std::ldexp(1.0, -24) * std::sqrt(2.0 * (width + height));
}

std::vector<int32_t> shares_of_strips(const ScanInput& in, const ScanShape& shape) {
    std::vector<int32_t> shares;
    if (!in.shares) return shares;
    for (const Strip& row : shape.rows.strips)
        for (const Strip& col : shape.cols.strips)
            shares.push_back(in.shares->at(row.displacement, col.displacement));
    return shares;
}

int64_t largest_share(std::vector<int32_t> shares, const ScanShape& shape) {
    if (shares.empty()) return int64_t(shape.rows.strips.size()) * shape.cols.strips.size();
    std::sort(shares.begin(), shares.end());
    int64_t largest = 0;
    for (auto first = shares.begin(); first != shares.end();) {
        const auto next = std::upper_bound(first, shares.end(), *first);
        largest = std::max<int64_t>(largest, next - first);
        first = next;
    }
    return largest;
}

Plan make_plan(const ScanInput& in) {
    Plan plan{in, &select_kernels(in.isa), {}, 0, 0, {}, {}, {}, {}, 0, 0, 0, 0};
    ScanShape& shape = plan.shape;
    shape.rows = make_axis(in.height, in.patch_size, in.boundary, in.equivariant);
    shape.cols = make_axis(in.width, in.patch_size, in.boundary, in.equivariant);
    shape.channels = in.channels;
    shape.lanes = plan.kernels->lanes;
    plan.scale = std::sqrt(0.5 / std::log(2.0)) / in.sigma;
    const double patches =
        double(in.num_images) * shape.rows.strips.size() * shape.cols.strips.size();
    plan.skip_below = float(-NEGLIGIBLE_BITS - std::log2(patches));
    for (int value = 0; value < 256; ++value)
        plan.levels.push_back(float((value / 127.5 - 1) * plan.scale));
    plan.queries = padded_queries(in, shape, plan.scale);
    for (int64_t q = 0; q < in.batch; ++q)
        plan.running.push_back(in.patch_size >= RUNNING_FROM &&
                               running_error(shape, plan.queries.data() + q * shape.query_size(),
                                             plan.scale) < LARGEST_RUNNING_ERROR);
    plan.shares = shares_of_strips(in, shape);
    plan.largest_share = largest_share(plan.shares, shape);
    // images with shares are a group, and groups are what threads share
    plan.images_per_unit = in.shares ? in.num_images : images_per_unit(in.num_images, shape.lanes);
    plan.units_per_query = (in.num_images + plan.images_per_unit - 1) / plan.images_per_unit;
    plan.query_groups = (in.batch + QUERIES_PER_UNIT - 1) / QUERIES_PER_UNIT;
    return plan;
}

// One thread's arrays. Pixels outside images that do not wrap are set once and for all.
struct Workspace {
    explicit Workspace(const ScanShape& shape)
        : block(shape.block_size()),
          padded_block(shape.has_padded_block() ? shape.block_size() : 0),
          scratch(shape.scratch_size()),
          zeros(size_t(shape.query_count() + MAX_GROUP) * shape.lanes) {
        std::fill_n(block.data(), shape.block_size(), FAR_AWAY);
    }
    AlignedFloats block, padded_block, scratch, zeros;
    std::vector<std::unique_ptr<AlignedFloats>> sums;  // of each query of the unit
};

// One row of lanes images: out[x * lanes + lane]; absent images are far away.
void load_row(const Plan& plan, const uint8_t* source, int64_t stride, int present, float* out) {
    const int lanes = plan.shape.lanes, width = plan.in.width;
    for (int lane = 0; lane < lanes; ++lane)
        for (int x = 0; x < width; ++x)
            out[x * lanes + lane] =
                lane < present ? plan.levels[source[lane * stride + x]] : FAR_AWAY;
}

// Images from `first` on that are scanned together: as many as there are lanes, of one share.
int images_together(const Plan& plan, int64_t first) {
    const ScanInput& in = plan.in;
    const int most = int(std::min<int64_t>(plan.shape.lanes, in.num_images - first));
    int num = 1;
    while (num < most &&
           (!in.shares || in.shares->of_images[first + num] == in.shares->of_images[first]))
        ++num;
    return num;
}

// Scaled pixels of images first .. first + present - 1, one image per lane.
void load_block(const Plan& plan, int64_t first, int present, Workspace& space) {
    const ScanInput& in = plan.in;
    const ScanShape& shape = plan.shape;
    const int64_t rows = int64_t(in.channels) * in.height;
    const uint8_t* const source = in.pixels + first * rows * in.width;
    const int64_t inside = -shape.train_low(), width = in.width;
    for (int64_t row = 0; row < rows; ++row) {
        float* const out = space.block.data() + row * shape.train_count() * shape.lanes;
        const auto column = [&](int64_t x) { return out + x * shape.lanes; };
        load_row(plan, source + row * width, rows * width, present, column(inside));
        if (shape.has_padded_block())
            std::copy(column(inside), column(inside + width),
                      space.padded_block.data() + (column(inside) - space.block.data()));
        if (!shape.cols.train_wraps) continue;
        for (int64_t x = inside - 1; x >= 0; --x)
            std::copy_n(column(x + width), shape.lanes, column(x));
        for (int64_t x = inside + width; x < shape.train_count(); ++x)
            std::copy_n(column(x - width), shape.lanes, column(x));
    }
}

// Compares the block of a workspace with a query.
ScanTask make_task(const Plan& plan, int64_t query, Workspace& space,
                   const std::atomic<bool>& stop) {
    const ScanShape& shape = plan.shape;
    ScanTask task{};
    task.shape = &shape;
    task.block = space.block.data();
    task.padded_block = shape.has_padded_block() ? space.padded_block.data() : space.block.data();
    task.query = plan.queries.data() + query * shape.query_size();
    task.scratch = space.scratch.data();
    task.zeros = space.zeros.data();
    task.running = plan.running[query];
    task.skip_below = plan.skip_below;
    task.stop = &stop;
    return task;
}

void scan_images(const Plan& plan, int64_t first_image, int64_t stop_image, int64_t first_query,
                 Workspace& space, std::vector<PixelSums>& totals, const std::atomic<bool>& stop) {
    const int64_t blocks_per_flush = std::max<int64_t>(1, 1024 / plan.largest_share);
    int64_t num_blocks = 0;
    for (int64_t image = first_image; image < stop_image; ++num_blocks) {
        const int present = images_together(plan, image);
        load_block(plan, image, present, space);
        const bool last = image + present >= stop_image;
        const bool flush = last || num_blocks == 0 || num_blocks % blocks_per_flush == 0;
        for (size_t q = 0; q < totals.size(); ++q) {
            ScanTask task = make_task(plan, first_query + q, space, stop);
            task.sums = space.sums[q]->data();
            task.shares = plan.shares.empty() ? nullptr : plan.shares.data();
            task.share = plan.in.shares ? plan.in.shares->of_images[image] : 0;
            const bool may_be_dense = blocks_per_flush == 1 && num_blocks > 0;
            totals[q].add_block(*plan.kernels, task, flush, may_be_dense);
            if (stop) return;
        }
        image += present;
    }
}

// Patches that each pixel is compared with.
std::vector<int64_t> count_scored(const Plan& plan) {
    const ScanInput& in = plan.in;
    const Axis &rows = plan.shape.rows, &cols = plan.shape.cols;
    const int r = rows.radius();
    std::map<int32_t, int64_t> images;  // of each share
    if (in.shares)
        for (int64_t i = 0; i < in.num_images; ++i) ++images[in.shares->of_images[i]];
    std::vector<int64_t> counts(size_t(in.height) * in.width, 0);
    for (size_t y = 0; y < rows.strips.size(); ++y) {
        std::vector<int64_t> of_cols(in.width + 1,
                                     0);  // of each column, less that of the one before
        for (size_t x = 0; x < cols.strips.size(); ++x) {
            const Strip& col = cols.strips[x];
            const int64_t num =
                in.shares ? images[plan.shares[y * cols.strips.size() + x]] : in.num_images;
            of_cols[col.first + r] += num;
            of_cols[col.stop - r] -= num;
        }
        std::partial_sum(of_cols.begin(), of_cols.end(), of_cols.begin());
        for (int row = rows.strips[y].first + r; row < rows.strips[y].stop - r; ++row)
            for (int x = 0; x < in.width; ++x) counts[size_t(row) * in.width + x] += of_cols[x];
    }
    return counts;
}

// The masses of all queries as references: 2^reference, times a factor for what floats lack.
struct Masses {
    std::vector<float> references, factors;

    Masses(const double* log_mass, size_t num) : references(num), factors(num) {
        for (size_t i = 0; i < num; ++i) {
            const double reference = std::max(-log_mass[i] / std::log(2.0), double(NO_MASS));
            references[i] = float(reference);
            factors[i] = float(std::exp2(reference - double(references[i])));
        }
    }
};

// Writes down the large shares of one block for one query.
struct Listing final : ShareListener {
    const Plan& plan;
    const Masses& masses;
    float list_above;
    std::vector<ListedPatch>& listed;
    int64_t query = 0, image = 0;
    int present = 0;

    Listing(const Plan& plan, const Masses& masses, float list_above,
            std::vector<ListedPatch>& listed)
        : plan(plan), masses(masses), list_above(list_above), listed(listed) {}

    void hear(int64_t pixel, int train_row, int train_col, const float* log2_shares) override {
        const int64_t plane = int64_t(plan.in.height) * plan.in.width;
        const int64_t place = query * plane + pixel;
        const int64_t center =
            int64_t(train_row) * plan.in.width + plan.shape.cols.wrapped(train_col);
        for (int lane = 0; lane < present; ++lane)
            if (log2_shares[lane] > list_above)
                listed.push_back({place, (image + lane) * plane + center,
                                  std::exp2(double(log2_shares[lane])) * masses.factors[place]});
    }
};

// The shares of some images in some queries; of each block of images all queries together.
void share_images(const Plan& plan, const Masses& masses, int64_t first_image, int64_t stop_image,
                  int64_t first_query, int64_t stop_query, Workspace& space, Listing& listing,
                  double* images, const std::atomic<bool>& stop) {
    const size_t pixels = plan.shape.num_pixels();
    for (int64_t image = first_image; image < stop_image; image += listing.present) {
        listing.image = image;
        listing.present = images_together(plan, image);
        load_block(plan, image, listing.present, space);
        for (int64_t query = first_query; query < stop_query; ++query) {
            double sums[MOST_LANES] = {};
            listing.query = query;
            ScanTask task = make_task(plan, query, space, stop);
            task.references = const_cast<float*>(masses.references.data()) + query * pixels;
            task.factors = masses.factors.data() + query * pixels;
            task.image_sums = sums;
            task.list_above = listing.list_above;
            task.listener = &listing;
            plan.kernels->scan_block(task, Mode::shares);
            if (stop) return;
            std::copy_n(sums, listing.present, images + query * plan.in.num_images + image);
        }
    }
}

}  // namespace

bool scan_shares(const ScanInput& input, const ShareInput& shares, const ShareOutput& output,
                 const std::function<bool()>& interrupted) {
    const Plan plan = make_plan(input);
    const Masses masses(shares.log_mass, size_t(input.batch) * plan.shape.num_pixels());
    const float list_above =
        shares.least_share > 0 ? float(std::log2(shares.least_share)) : -LARGEST_BITS;
    std::atomic<bool> stop{false};
    std::vector<std::unique_ptr<Workspace>> spaces(input.threads);
    std::vector<std::vector<ListedPatch>> listed(plan.units_per_query * plan.query_groups);
    const auto work = [&](int64_t unit, int worker) {
        if (!spaces[worker]) spaces[worker] = std::make_unique<Workspace>(plan.shape);
        const int64_t first_query = unit / plan.units_per_query * QUERIES_PER_UNIT;
        const int64_t first_image = unit % plan.units_per_query * plan.images_per_unit;
        Listing listing(plan, masses, list_above, listed[unit]);
        share_images(plan, masses, first_image,
                     std::min(first_image + plan.images_per_unit, input.num_images), first_query,
                     std::min(first_query + QUERIES_PER_UNIT, input.batch), *spaces[worker],
                     listing, output.images, stop);
    };
    run_units(int64_t(listed.size()), input.threads, stop, work, interrupted);
    for (const std::vector<ListedPatch>& part : listed)
        output.listed.insert(output.listed.end(), part.begin(), part.end());
    return !stop;
}

bool exact_scan(const ScanInput& input, const ScanOutput& output,
                const std::function<bool()>& interrupted) {
    const Plan plan = make_plan(input);
    const ScanShape& shape = plan.shape;
    const size_t pixels = size_t(input.height) * input.width;
    std::atomic<bool> stop{false};
    InOrder in_order(stop, 4 * input.threads);
    std::vector<std::unique_ptr<Workspace>> spaces(input.threads);

    const auto work = [&](int64_t unit, int worker) {
        if (!spaces[worker]) spaces[worker] = std::make_unique<Workspace>(shape);
        Workspace& space = *spaces[worker];
        const int64_t first_query = unit / plan.units_per_query * QUERIES_PER_UNIT;
        const int64_t first_image = unit % plan.units_per_query * plan.images_per_unit;
        const int64_t stop_image = std::min(first_image + plan.images_per_unit, input.num_images);
        const int64_t num_queries = std::min(QUERIES_PER_UNIT, input.batch - first_query);
        while (int64_t(space.sums.size()) < num_queries)
            space.sums.push_back(std::make_unique<AlignedFloats>(shape.num_pixels() *
                                                                 shape.num_sums() * shape.lanes));
        auto totals = std::make_shared<std::vector<PixelSums>>(num_queries, PixelSums(shape));
        scan_images(plan, first_image, stop_image, first_query, space, *totals, stop);
        if (stop) return;
        in_order.then(unit, [&output, &shape, &plan, totals, first_query, pixels] {
            for (size_t q = 0; q < totals->size(); ++q)
                (*totals)[q].merge_into(output, (first_query + q) * pixels, plan.scale);
        });
    };
    run_units(plan.units_per_query * plan.query_groups, input.threads, stop, work, interrupted);
    if (stop) return false;

    const std::vector<int64_t> counts = count_scored(plan);
    for (int64_t b = 0; b < input.batch; ++b)
        std::copy(counts.begin(), counts.end(), output.num_scored + b * pixels);
    return true;
}

}  // namespace patchindex
