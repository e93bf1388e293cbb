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
    float *plain; /* row-major (k, columns), only where BLAS may use it; else NULL */
    int64_t bytes;
} fg_matrix;

/* Packs matrix (k, columns) and bias (columns, or NULL) into the store. FG_NO_MEMORY. */
fg_status fg_matrix_init(fg_matrix *m, fg_store **store, const fg_kernels *kernels, fg_matmul matmul,
                         const float *matrix, const float *bias, int64_t k, int64_t columns, fg_activation f);
/* Number of panels. */
int64_t fg_matrix_panels(const fg_matrix *m, const fg_kernels *kernels);

/* y = f(x · m + bias) for the grid rows [first, last) and the panels [from, to). The grids have equal shape. */
void fg_multiply(const fg_kernels *kernels, const fg_matrix *m, const fg_grid *x, const fg_grid *y, int64_t first,
                 int64_t last, int64_t from, int64_t to);

/* The same for `count` rows that are given as pointers; never by BLAS. */
void fg_multiply_rows(const fg_kernels *kernels, const fg_matrix *m, int count, const float *const *x, float *const *y);

#endif
