/* The one place where a product is dispatched: to our own tiles, or on request to a BLAS library. */
#ifndef FASTGRU_GEMM_H
#define FASTGRU_GEMM_H

#include "kernels.h"
#include "pack.h"

/* Rows of activations laid out over (rows, steps, inner): element i of row (b, t, j) is at
 * data + b·row_stride + t·time_stride + j·inner_stride + i. */
typedef struct fg_grid {
    float *data;
    int64_t rows, steps, inner;
    int64_t row_stride, time_stride, inner_stride;
} fg_grid;

static inline int64_t fg_grid_size(const fg_grid *grid)
{
    return grid->rows * grid->steps * grid->inner;
}

/* Pointers to `count` rows from number `first` on, counted step-major: all rows of step 0, then of step 1, …. */
void fg_grid_rows(const fg_grid *grid, int64_t first, int count, float **out);

/* A weight matrix ready for products. */
typedef struct fg_matrix {
    fg_product product;
    const fg_tiles *tiles;
    float *plain; /* row-major (k, columns), only where BLAS may use it; else NULL */
    int64_t bytes;
} fg_matrix;

/* Bytes of an element; so many of a packed matrix (k, columns). */
int fg_dtype_bytes(fg_dtype dtype);
int64_t fg_packed_bytes(const fg_tiles *tiles, int64_t k, int64_t width);

/* Packs a matrix (k, columns) in panels of so many vectors. FG_NO_MEMORY. */
fg_status fg_packed_init(fg_packed *packed, fg_store **store, const fg_kernels *kernels, const fg_weights *matrix,
                         int64_t k, int64_t columns, int vectors);

/* Packs matrix (k, columns) and bias (columns, or NULL) into the store. As fg_packed_init. */
fg_status fg_matrix_init(fg_matrix *m, fg_store **store, const fg_kernels *kernels, fg_matmul matmul,
                         const fg_weights *matrix, const float *bias, int64_t k, int64_t columns, fg_activation f);
/* Number of panels. */
int64_t fg_matrix_panels(const fg_matrix *m, const fg_kernels *kernels);

/* Floats that a tile of prepared rows of k takes; 0 where rows are floats. */
int64_t fg_prepared_floats(const fg_tiles *tiles, int64_t k);
/* rows[i] = x[i], prepared in `scratch` (aligned to FG_ALIGN), or as it lies. */
void fg_prepare(const fg_tiles *tiles, int64_t k, int count, const float *const *x, void *scratch, const void **rows);

/* Floats of a row beyond which a prefetcher follows. */
enum { FG_MOST_ASKED = 512 };

/* Asks for a row of k that is read soon. In a batch it lies far from the rows before it, where no prefetcher looks. */
static inline void fg_ask_for(int64_t k, const float *row)
{
    for (int64_t i = 0; i < k && i < FG_MOST_ASKED; i += FG_ALIGN / (int64_t)sizeof(float))
        __builtin_prefetch(row + i);
}

/* y = f(x · m + bias) for a tile of rows, at most m->tiles->rows. */
void fg_multiply_tile(const fg_matrix *m, int count, const float *const *x, float *const *y, int64_t from, int64_t to,
                      float *scratch);
/* y = f(x · m + bias) for the grid rows [first, last) and the panels [from, to). The grids have equal shape. scratch:
 * fg_prepared_floats of m's k. */
void fg_multiply(const fg_kernels *kernels, const fg_matrix *m, const fg_grid *x, const fg_grid *y, int64_t first,
                 int64_t last, int64_t from, int64_t to, float *scratch);

/* The same for `count` rows that are given as pointers; never by BLAS. */
void fg_multiply_rows(const fg_kernels *kernels, const fg_matrix *m, int count, const float *const *x, float *const *y,
                      float *scratch);

#endif
