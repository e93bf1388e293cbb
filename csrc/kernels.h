/* THE contract between the core and its kernels.
 *
 * simd/common_body.h and simd/tiles_body.h implement the functions below once, over the names of a vector header; each
 * stub in simd/ compiles them with one ISA's flags. A stub exports `fg_common` or `fg_tiles` tables and nothing else;
 * cpu.c makes kernel sets of them.
 *
 * Shapes. A *panel* is up to three vectors of `lanes` columns. Packed weights stand panel after panel, each panel as
 * k rows of its vectors: K × (vectors · lanes) weights, 64-byte aligned, columns past the last padded with zeros. Of
 * narrow weights `depth` neighbours along k stand together: K / depth rows of vectors · lanes · depth weights, K padded
 * with zeros to a multiple of depth.
 * Rows of activations are given as pointers, so that strided, reversed, gathered or thinned rows cost no copy.
 *
 * The rule of the same bits. An output element is one chain of fused multiply-adds that starts at its bias and walks
 * k = 0, 1, …; no kernel splits a chain, whatever the number of rows, panels or threads. Scalar code may lack FMA and
 * then stands outside the promise between ISAs, not outside the one between batch sizes.
 *
 * Aliasing: outputs overlap no input, but `activate` and, glu aside, `activate_row` may work in place.
 */
#ifndef FASTGRU_KERNELS_H
#define FASTGRU_KERNELS_H

#include "fastgru.h"

#define FG_MAX_ROWS 8   /* most rows in any tile, of any ISA */
#define FG_MAX_LANES 16 /* most floats in a vector, of any ISA; states are padded to a multiple of it */
#define FG_ALIGN 64     /* bytes */

/* Rows of int8 weights (k) whose products are summed as integers: with inputs of 16 bits the most of which no sum
 * overflows. The sums of slices are added as floats, in order. */
#define FG_SLICE 512

/* A packed weight matrix. */
typedef struct fg_packed {
    const void *w;         /* panels, see above */
    const float *scale;    /* int8: of each column, packed like a row of w; else NULL */
    const int32_t *offset; /* int8: of each slice of FG_SLICE rows and each column -128 times the sum of its weights;
                            * see int8_fours.h and int8_pairs.h */
    int64_t width;         /* columns, padded to vectors */
} fg_packed;

/* rows × columns of one product: y[i][j] = f(bias[j] + Σk x[i][k] · w[k][j]). */
typedef struct fg_product {
    fg_packed weights; /* panels of three vectors, the last one shorter if columns allow */
    const float *bias; /* packed like a row of w: padded columns are zero; never NULL */
    int64_t k;         /* depth */
    int64_t columns;   /* true number of columns */
    fg_activation f;   /* elementwise; applied to the sum */
    bool gates;        /* int8: a GRU's input, panels of z, r and n, see int8_rows.h */
} fg_product;

/* One GRU layer's weights, packed for the recurrent part. A *group* is the `lanes` units of one vector; the
 * x-projection row of a GRU holds, group after group, lanes z, lanes r, lanes n: the column order of `input` below. */
typedef struct fg_gru_weights {
    int64_t inputs, units, groups; /* groups = ceil(units / lanes) */
    fg_product input;    /* x W + b, columns in group order; reset_after: b = bz+cz, br+cr, bn; else all summed */
    fg_packed recurrent; /* reset_after: per group K=units rows of [z r n]; else per group rows of [z r] */
    fg_packed candidate; /* reset_after false: per group K=units rows of [n] */
    const float *candidate_bias; /* reset_after: cn, padded to groups·lanes */
    fg_activation f, g;          /* recurrent_activation, activation; elementwise */
    float clip;                  /* f and g are applied to what is bounded to [-clip, clip]; infinity: no bound */
    bool reset_after;
} fg_gru_weights;

/* A product that a step of one row works on between the loads of its own weights: such a step waits for bytes while its
 * FMA units idle. Of each panel, `beside_rows` rows are summed slice after slice of the depth, the partial sums
 * standing in y: the chains of the whole product. Linear, its columns a multiple of a panel. Of int8 weights neither
 * this product nor that of the step is deeper than FG_SLICE. */
typedef struct fg_beside {
    const fg_product *product;
    const void *x[FG_MAX_ROWS]; /* prepared rows */
    float *y[FG_MAX_ROWS];
    int64_t steps;       /* over which it is spread */
    int64_t panel, left; /* the panel at work, and how many are not done */
    int64_t way;         /* to the next one, 1 or -1 */
    int64_t k;           /* rows of packed weights done of it */
} fg_beside;

/* The groups that a call computes, and from which end: what the last call has left in a cache should come first. */
typedef struct fg_sweep {
    int64_t first, last;
    bool backwards;
} fg_sweep;

/* The rows of one tile of one step. Entries past the number of rows are not read. h and out rows are padded to
 * groups·lanes. */
typedef struct fg_gru_rows {
    const float *h[FG_MAX_ROWS]; /* state before the step */
    const void
        *state[FG_MAX_ROWS];    /* the same, or for `gru_candidate` r · h, prepared; not read where rows are floats */
    const void *x[FG_MAX_ROWS]; /* x-projection in group order; or, for `gru_step_x`, the layer's input, prepared */
    float *out[FG_MAX_ROWS];    /* state after the step */
    float *y[FG_MAX_ROWS];      /* also store exactly `units` floats here; NULL: do not */
    float *z[FG_MAX_ROWS];      /* reset_after false: scratch of groups·lanes floats between the two halves */
    float *rh[FG_MAX_ROWS];     /* likewise: r · h */
    void *prepared_out;         /* `gru_run`: of one row, also the state after the step, prepared; NULL: not yet */
    fg_beside *beside;          /* of a tile of one row; NULL: nothing is to be done beside it */
} fg_gru_rows;

/* Consecutive steps of one row. */
typedef struct fg_gru_run {
    float *h[2];    /* the state before the first step stands in h[0], that before the second in h[1], … */
    const float *x; /* as of fg_gru_rows, the next step's x_stride floats on */
    float *y;       /* also store exactly `units` floats a step here; NULL: do not */
    int64_t x_stride, y_stride, steps;
    bool direct;            /* x is the layer's input itself, as floats */
    bool backwards;         /* how the first step sweeps the groups */
    void *state[2], *input; /* room for two prepared states and a prepared input; not used where rows are floats */
} fg_gru_run;

/* Rows of numbers of which a token has one: an embedding's vectors, or x-projections in group order. Row `token` stands
 * at w + token · columns numbers, at any alignment. */
typedef struct fg_table {
    const void *w;
    const float *row_scale;    /* int8: of each token; NULL: ones */
    const float *column_scale; /* int8: of each column where there is a bias, else not read */
    const float *bias;         /* of a narrow projection, added; NULL: there is none, or it is in w */
    int64_t columns;
} fg_table;

/* Rows of numbers to pool: rows × columns of them, at two strides. */
typedef struct fg_entries {
    const float *data;
    int64_t rows, columns, row_stride, column_stride;
} fg_entries;

/* A limit's loop: `count` times the same, `each` operations a time, on memory of `floats`, a multiple of
 * FG_LIMIT_BLOCK.
 */
#define FG_LIMIT_BLOCK 256
typedef struct fg_limit_kernel {
    float (*run)(float *memory, int64_t floats, int64_t count);
    int64_t each;
} fg_limit_kernel;

typedef void fg_step_kernel(const fg_gru_weights *w, int rows, const fg_gru_rows *r, fg_sweep sweep);

/* How weights of one dtype are multiplied. Products read *prepared* rows of activations: floats as they lie where
 * `prepare` is NULL, else what `prepare` makes of them, so that a row is converted once for all panels. What it makes
 * depends on this row alone (the rule of the same bits). */
typedef struct fg_tiles {
    int rows;        /* of a full tile */
    int beside_rows; /* of a product beside a step; 0: this set has none */
    int depth;       /* neighbours along k that stand together in packed weights: 1, of bfloat16 2, int8 4 */
    int weight_bytes;

    /* Bytes of a prepared row of k, a multiple of FG_ALIGN. NULL, like the next two: rows are floats. */
    int64_t (*row_bytes)(int64_t k);
    /* row = x, aligned to FG_ALIGN; of an input, and of a state. Any alignment of x. */
    void (*prepare)(int64_t k, const float *x, void *row);
    void (*prepare_state)(int64_t k, const float *h, void *row);

    /* Rows 0..rows-1 (1 ≤ rows ≤ this->rows) of a product, panels [first, last). */
    void (*product)(const fg_product *p, int rows, const void *const *x, float *const *y, int64_t first, int64_t last);

    /* What is left of a product beside; NULL without. */
    void (*finish)(fg_beside *beside);

    /* One step of a tile of rows, reset_after=true. gru_step starts from the x-projection, gru_step_x multiplies the
     * input itself: same bits, one pass over the weights, nothing beside it. */
    fg_step_kernel *gru_step, *gru_step_x;
    /* Step after step of one row, reset_after=true: what gru_step or gru_step_x gives, with less in between. */
    void (*gru_run)(const fg_gru_weights *w, const fg_gru_run *run);
    /* reset_after=false takes two halves, since n needs every unit's r·h: gates fills z and rh, candidate the rest. */
    fg_step_kernel *gru_gates, *gru_candidate;

    /* From FG_LIMIT_INPUTS on; `run` NULL: nothing waits. NULL: as of floats. */
    const fg_limit_kernel *limits;
} fg_tiles;

/* What all kernel sets of one vector share: no weights that are packed. */
typedef struct fg_common {
    int lanes; /* floats in a vector */

    /* y[j] = Σk x[k] · m[k·stride + j] for j < columns: the chains of a product of one row, with a matrix as it lies,
     * which is read but once. Any alignment. */
    void (*combine)(int64_t k, const float *x, const float *m, int64_t stride, int64_t columns, float *y);

    /* y[i] = Σk x[k] · m[i·stride + k] for i < rows: the chains of a product whose weights are one column, of rows as
     * they lie. Any alignment. */
    void (*dot)(int64_t k, const float *x, const float *m, int64_t stride, int64_t rows, float *y);

    /* y[i] = f(x[i]) for i < n; any alignment, in place allowed. Elementwise functions. */
    void (*activate)(const fg_activation *f, int64_t n, const float *x, float *y);
    /* The same for one row of n under a row-wise function; glu writes n/2. Reductions use FG_MAX_LANES virtual lanes.
     */
    void (*activate_row)(const fg_activation *f, int64_t n, const float *x, float *y);

    /* y[i] = the sum, maximum or minimum of element i of all entries, i < n; of none 0, -infinity, infinity. NaN where
     * one of them is. */
    void (*pool)(fg_reduction f, const fg_entries *e, int64_t n, float *y);

    /* y[j] = column j of row `token`, first ≤ j < last, of a table of each dtype: w; of int8 w · row_scale; with a bias
     * w + bias, and of int8 one multiply-add w · row_scale · column_scale + bias. Any alignment. */
    void (*look_up[FG_DTYPES])(const fg_table *table, int64_t token, int64_t first, int64_t last, float *y);

    const fg_limit_kernel *limits; /* by fg_limit, with weights of floats */
} fg_common;

/* A kernel set, as FASTGRU_ISA names it. */
typedef struct fg_kernels {
    const char *name;
    int lanes, rows; /* floats in a vector; rows of the largest tile */
    const fg_common *common;
    const fg_tiles *tiles[FG_DTYPES]; /* by the dtype of weights */
} fg_kernels;

extern const fg_common fg_common_scalar;
extern const fg_tiles fg_float32_scalar, fg_float16_scalar, fg_bfloat16_scalar, fg_int8_scalar;
#if defined(__x86_64__)
extern const fg_common fg_common_avx2, fg_common_avx512;
extern const fg_tiles fg_float32_avx2, fg_float16_avx2, fg_bfloat16_avx2;
extern const fg_tiles fg_int8_avx2, fg_int8_avx2_vnni, fg_int8_avx2_vnni_evex;
extern const fg_tiles fg_float32_avx512, fg_float16_avx512, fg_bfloat16_avx512, fg_bfloat16_avx512_bf16;
extern const fg_tiles fg_int8_avx512, fg_int8_avx512_vnni;
#endif

#endif
