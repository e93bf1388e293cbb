#define _GNU_SOURCE
#include "gemm.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"

/* ---- BLAS, opened on request ------------------------------------------------------------------------------------- */

enum { ROW_MAJOR = 101, NO_TRANS = 111 };
/* BLAS pays for its call from this many rows on. */
enum { BLAS_ROWS = 4 };

typedef void sgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                      const float *b, int ldb, float beta, float *c, int ldc);

static struct {
    _Atomic(sgemm_fn *) sgemm;
    const char *(*config)(void);
} blas;

static pthread_mutex_t blas_lock = PTHREAD_MUTEX_INITIALIZER;

static void *blas_symbol(void *library, const char *prefix, const char *name)
{
    char symbol[128];
    if (snprintf(symbol, sizeof symbol, "%s%s", prefix, name) >= (int)sizeof symbol)
        return NULL;
    return dlsym(library, symbol);
}

fg_status fg_blas_open(const char *path, const char *prefix)
{
    fg_status status = FG_OK;
    pthread_mutex_lock(&blas_lock);
    if (!atomic_load(&blas.sgemm)) {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        sgemm_fn *sgemm = library ? (sgemm_fn *)blas_symbol(library, prefix, "cblas_sgemm") : NULL;
        if (!sgemm) {
            if (library)
                dlclose(library);
            status = FG_NO_BLAS;
        } else {
            /* our own threads split the rows; the library's would fight them */
            void (*set_threads)(int) = (void (*)(int))blas_symbol(library, prefix, "openblas_set_num_threads");
            if (set_threads)
                set_threads(1);
            blas.config = (const char *(*)(void))blas_symbol(library, prefix, "openblas_get_config");
            atomic_store(&blas.sgemm, sgemm);
        }
    }
    pthread_mutex_unlock(&blas_lock);
    return status;
}

const char *fg_blas_config(void)
{
    if (!atomic_load(&blas.sgemm))
        return NULL;
    return blas.config ? blas.config() : "CBLAS";
}

/* One sgemm over rows that lie at one stride. */
static void blas_rows(const fg_kernels *kernels, const fg_matrix *m, int64_t rows, const float *x, int64_t ldx,
                      float *y, int64_t ldy)
{
    const fg_product *p = &m->product;
    for (int64_t r = 0; r < rows; r++)
        memcpy(y + r * ldy, p->bias, (size_t)p->columns * sizeof(float));
    atomic_load (&blas.sgemm)(ROW_MAJOR, NO_TRANS, NO_TRANS, (int)rows, (int)p->columns, (int)p->k, 1.0f, x, (int)ldx,
                              m->plain, (int)p->columns, 1.0f, y, (int)ldy);
    if (p->f.function != FG_LINEAR)
        for (int64_t r = 0; r < rows; r++)
            kernels->common->activate(&p->f, p->columns, y + r * ldy, y + r * ldy);
}

/* The whole grid by BLAS, one call per run of rows at one stride; false where it would not pay or strides do not fit.
 */
static bool blas_multiply(const fg_kernels *kernels, const fg_matrix *m, const fg_grid *x, const fg_grid *y)
{
    const fg_product *p = &m->product;
    const bool over_steps = x->steps > x->rows; /* the longer axis goes into one call */
    const int64_t count = over_steps ? x->steps : x->rows;
    const int64_t ldx = over_steps ? x->time_stride : x->row_stride, ldy = over_steps ? y->time_stride : y->row_stride;
    if (x->inner != 1 || count < BLAS_ROWS || ldx < p->k || ldy < p->columns || ldx > INT32_MAX || ldy > INT32_MAX)
        return false;
    for (int64_t i = 0; i < (over_steps ? x->rows : x->steps); i++)
        blas_rows(kernels, m, count, x->data + i * (over_steps ? x->row_stride : x->time_stride), ldx,
                  y->data + i * (over_steps ? y->row_stride : y->time_stride), ldy);
    return true;
}

/* ---- matrices ---------------------------------------------------------------------------------------------------- */

int fg_dtype_bytes(fg_dtype dtype)
{
    return dtype == FG_FLOAT32 ? 4 : dtype == FG_INT8 ? 1 : 2;
}

int64_t fg_packed_bytes(const fg_tiles *tiles, int64_t k, int64_t width)
{
    return (k + tiles->depth - 1) / tiles->depth * tiles->depth * width * tiles->weight_bytes;
}

/* See fg_packed.offset. Filled on every set, 4 bytes for each slice of a column: int8_pairs.h reads none of it, but
 * walks along it as int8_fours.h does, so that it may not be NULL. */
static void sum_slices(int32_t *offset, const int8_t *matrix, int64_t k, int64_t columns, int64_t width)
{
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < columns; j++)
            offset[i / FG_SLICE * width + j] -= 128 * matrix[i * columns + j];
}

fg_status fg_packed_init(fg_packed *packed, fg_store **store, const fg_kernels *kernels, const fg_weights *matrix,
                         int64_t k, int64_t columns, int vectors)
{
    const fg_tiles *tiles = kernels->tiles[matrix->dtype];
    const int64_t width = (columns + kernels->lanes - 1) / kernels->lanes * kernels->lanes;
    const int64_t deep = (k + tiles->depth - 1) / tiles->depth * tiles->depth;
    void *w = fg_store_alloc(store, fg_size(deep, width, tiles->weight_bytes));
    if (!w)
        return FG_NO_MEMORY;
    *packed = (fg_packed){.w = w, .width = width};
    if (matrix->dtype == FG_FLOAT32)
        fg_pack_panels(w, matrix->data, k, columns, kernels->lanes, vectors);
    else
        fg_pack_deep(w, matrix->data, tiles->weight_bytes, tiles->depth, k, columns, kernels->lanes, vectors);
    if (matrix->dtype != FG_INT8)
        return FG_OK;
    float *scale = fg_store_alloc(store, fg_size(1, width, sizeof(float)));
    int32_t *offset = fg_store_alloc(store, fg_size((k + FG_SLICE - 1) / FG_SLICE, width, sizeof(int32_t)));
    if (!scale || !offset)
        return FG_NO_MEMORY;
    memcpy(scale, matrix->scale, (size_t)columns * sizeof(float));
    sum_slices(offset, matrix->data, k, columns, width);
    packed->scale = scale;
    packed->offset = offset;
    return FG_OK;
}

fg_status fg_matrix_init(fg_matrix *m, fg_store **store, const fg_kernels *kernels, fg_matmul matmul,
                         const fg_weights *matrix, const float *bias, int64_t k, int64_t columns, fg_activation f)
{
    const bool by_blas = matmul == FG_MATMUL_BLAS && matrix->dtype == FG_FLOAT32;
    fg_packed packed;
    const fg_status status = fg_packed_init(&packed, store, kernels, matrix, k, columns, 3);
    if (status)
        return status;
    float *packed_bias = fg_store_alloc(store, fg_size(1, packed.width, sizeof(float)));
    float *plain = by_blas ? fg_store_alloc(store, fg_size(k, columns, sizeof(float))) : NULL;
    if (!packed_bias || (by_blas && !plain))
        return FG_NO_MEMORY;
    if (bias)
        memcpy(packed_bias, bias, (size_t)columns * sizeof(float));
    if (plain)
        memcpy(plain, matrix->data, (size_t)k * (size_t)columns * sizeof(float));
    const fg_tiles *tiles = kernels->tiles[matrix->dtype];
    *m = (fg_matrix){.product = {.weights = packed, .bias = packed_bias, .k = k, .columns = columns, .f = f},
                     .tiles = tiles,
                     .plain = plain,
                     .bytes = fg_packed_bytes(tiles, k, packed.width)};
    return FG_OK;
}

int64_t fg_matrix_panels(const fg_matrix *m, const fg_kernels *kernels)
{
    const int64_t width = 3 * kernels->lanes;
    return (m->product.columns + width - 1) / width;
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

void fg_grid_rows(const fg_grid *grid, int64_t first, int count, float **out)
{
    int64_t j = first % grid->inner, b = first / grid->inner % grid->rows, t = first / grid->inner / grid->rows;
    for (int i = 0; i < count; i++) {
        out[i] = grid->data + b * grid->row_stride + t * grid->time_stride + j * grid->inner_stride;
        if (++j == grid->inner) {
            j = 0;
            if (++b == grid->rows) {
                b = 0;
                t++;
            }
        }
    }
}

int64_t fg_prepared_floats(const fg_tiles *tiles, int64_t k)
{
    return tiles->prepare ? FG_MAX_ROWS * tiles->row_bytes(k) / (int64_t)sizeof(float) : 0;
}

void fg_prepare(const fg_tiles *tiles, int64_t k, int count, const float *const *x, void *scratch, const void **rows)
{
    if (!tiles->prepare) {
        for (int i = 0; i < count; i++)
            rows[i] = x[i];
        return;
    }
    const int64_t bytes = tiles->row_bytes(k);
    for (int i = 0; i < count; i++) {
        tiles->prepare(k, x[i], (char *)scratch + i * bytes);
        rows[i] = (char *)scratch + i * bytes;
    }
}

void fg_multiply_tile(const fg_matrix *m, int count, const float *const *x, float *const *y, int64_t from, int64_t to,
                      float *scratch)
{
    const void *rows[FG_MAX_ROWS];
    fg_prepare(m->tiles, m->product.k, count, x, scratch, rows);
    m->tiles->product(&m->product, count, rows, y, from, to);
}

/* Preparing rows is hardly more than reading them, and waits where a product of floats would not. */
static void ask_for_tile(const fg_matrix *m, const fg_grid *x, int64_t first, int64_t last)
{
    float *xs[FG_MAX_ROWS];
    const int count = (int)(last - first < m->tiles->rows ? last - first : m->tiles->rows);
    if (!m->tiles->prepare || count <= 0)
        return;
    fg_grid_rows(x, first, count, xs);
    for (int i = 0; i < count; i++)
        fg_ask_for(m->product.k, xs[i]);
}

static void multiply_panels(const fg_matrix *m, const fg_grid *x, const fg_grid *y, int64_t first, int64_t last,
                            int64_t from, int64_t to, float *scratch)
{
    float *xs[FG_MAX_ROWS], *ys[FG_MAX_ROWS];
    for (int64_t i = first; i < last; i += m->tiles->rows) {
        const int count = (int)(last - i < m->tiles->rows ? last - i : m->tiles->rows);
        ask_for_tile(m, x, i + count, last);
        fg_grid_rows(x, i, count, xs);
        fg_grid_rows(y, i, count, ys);
        fg_multiply_tile(m, count, (const float *const *)xs, ys, from, to, scratch);
    }
}

/* How many of `panels` to sweep at once: weights beyond half of L2 are swept once, panels outside, so that each stays
 * in cache for all rows. */
static int64_t panels_at_once(const fg_kernels *kernels, const fg_matrix *m, int64_t rows, int64_t panels)
{
    const int64_t panel_bytes = fg_packed_bytes(m->tiles, m->product.k, 3 * kernels->lanes);
    const int64_t budget = fg_cpu_l2_bytes() / 2;
    if (panels * panel_bytes <= budget || rows <= m->tiles->rows)
        return panels;
    return budget < panel_bytes ? 1 : budget / panel_bytes;
}

void fg_multiply(const fg_kernels *kernels, const fg_matrix *m, const fg_grid *x, const fg_grid *y, int64_t first,
                 int64_t last, int64_t from, int64_t to, float *scratch)
{
    const bool all = first == 0 && last == fg_grid_size(x) && from == 0 && to == fg_matrix_panels(m, kernels);
    if (m->plain && all && blas_multiply(kernels, m, x, y))
        return;
    const int64_t at_once = panels_at_once(kernels, m, last - first, to - from);
    for (int64_t panel = from; panel < to; panel += at_once)
        multiply_panels(m, x, y, first, last, panel, panel + at_once < to ? panel + at_once : to, scratch);
}

void fg_multiply_rows(const fg_kernels *kernels, const fg_matrix *m, int count, const float *const *x, float *const *y,
                      float *scratch)
{
    const int64_t panels = fg_matrix_panels(m, kernels), at_once = panels_at_once(kernels, m, count, panels);
    const int rows = m->tiles->rows;
    for (int64_t panel = 0; panel < panels; panel += at_once)
        for (int i = 0; i < count; i += rows)
            fg_multiply_tile(m, count - i < rows ? count - i : rows, x + i, y + i, panel,
                             panel + at_once < panels ? panel + at_once : panels, scratch);
}
