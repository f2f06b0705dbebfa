// The rows nearest to vectors: among all rows, or among those of the nearest cells.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace patchindex {

// positions[q][count] of the rows [num_rows][dims] nearest to each vector [num_vectors][dims],
// nearest first; count <= num_rows. Throws std::invalid_argument for values that are not finite.
bool nearest_rows(const float* rows, int64_t num_rows, int dims, const float* vectors,
                  int64_t num_vectors, int64_t count, int64_t* positions, int threads,
                  const std::string& isa, const std::function<bool()>& interrupted);

constexpr int64_t MOST_VISITS = 64;

struct CellInput {
    const float* centers;  // [num_cells][dims]
    int64_t num_cells;
    const float* rows;       // [rows][dims], cell after cell; each cell has at least one
    const int64_t* offsets;  // [num_cells + 1] first row of each cell
    int dims;
    const float* vectors;  // [num_vectors][dims]
    int64_t num_vectors;
    int64_t num_visits;  // cells that are looked into for each vector, 1..num_cells and MOST_VISITS
    int threads;
    std::string isa;
};

// positions[q] of the row nearest to each vector among those of the `num_visits` cells whose centers
// are nearest to it; of equally near ones the first. What a vector gets depends on no other vector
// and not on the number of threads. Throws std::invalid_argument for values that are not finite.
bool nearest_in_cells(const CellInput& input, int32_t* positions,
                      const std::function<bool()>& interrupted);

}  // namespace patchindex
