/* A GRU behind an embedding looks its x-projections up: the table of them, made when a plan is made.
 *
 * Rows are what the plan's own tiles give for the embedding's vectors, in the dtype of the GRU's weights. Of float32
 * they hold the bias, and a row is to the bit what would be multiplied. Narrow ones are rounded once more, and the bias
 * is added when they are looked up: int8 has a scale for each column, its largest magnitude over the vocabulary, and
 * one for each token, so that its row fills the range. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gru.h"

/* The most bytes of a table: it is filled when the network is loaded, and L3 should hold much of it. Counted in floats
 * for every dtype: the same networks are folded, and a narrow one takes its part of the memory of float32. */
enum { TABLE_BYTES = 32 << 20 };

enum { TOKENS = 64 /* that are projected at a time */, LARGEST = 127 };

/* ---- narrow numbers ---------------------------------------------------------------------------------------------- */

static uint32_t bits_of(float a)
{
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    return bits;
}

/* Both round to nearest, ties to even, and are given finite numbers that do not become infinite. */
static uint16_t to_bfloat16(float a)
{
    const uint32_t bits = bits_of(a);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static uint16_t to_float16(float a)
{
    const uint32_t bits = bits_of(a), magnitude = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
    if (magnitude < 0x38800000) /* below 2^-14: denormal there, a multiple of 2^-24 */
        return (uint16_t)(sign | (uint32_t)lrintf(fabsf(a) * 0x1p24f));
    return (uint16_t)(sign | ((magnitude + 0xfff + (magnitude >> 13 & 1)) - 0x38000000) >> 13);
}

/* The largest magnitude whose rounding is finite. */
static float most(fg_dtype dtype)
{
    static const uint32_t largest_bfloat16 = 0x7f7f7fff;
    float bound = FLT_MAX;
    if (dtype == FG_BFLOAT16)
        memcpy(&bound, &largest_bfloat16, sizeof bound);
    return dtype == FG_FLOAT16 ? 65519.99609375f : bound;
}

/* False where one of them would not be finite. */
static bool round_table(uint16_t *to, const float *from, int64_t n, fg_dtype dtype)
{
    const float bound = most(dtype);
    for (int64_t i = 0; i < n; i++) {
        if (!(fabsf(from[i]) <= bound))
            return false;
        to[i] = dtype == FG_BFLOAT16 ? to_bfloat16(from[i]) : to_float16(from[i]);
    }
    return true;
}

/* The largest magnitudes of columns; false where one is not finite. */
static bool find_column_scales(float *scale, const float *from, int64_t rows, int64_t columns)
{
    for (int64_t row = 0; row < rows; row++, from += columns)
        for (int64_t i = 0; i < columns; i++) {
            if (!(fabsf(from[i]) <= FLT_MAX))
                return false;
            scale[i] = fabsf(from[i]) > scale[i] ? fabsf(from[i]) : scale[i];
        }
    return true;
}

/* w · its token's scale · its column's scale is about `from`, which is overwritten. */
static void quantize_table(int8_t *w, float *row_scale, const float *column_scale, float *from, int64_t rows,
                           int64_t columns)
{
    for (int64_t row = 0; row < rows; row++, from += columns, w += columns) {
        float largest = 0.0f;
        for (int64_t i = 0; i < columns; i++) {
            from[i] = column_scale[i] >= FLT_MIN ? from[i] / column_scale[i] : 0.0f;
            largest = fabsf(from[i]) > largest ? fabsf(from[i]) : largest;
        }
        row_scale[row] = largest / LARGEST;
        const float inverse = row_scale[row] >= FLT_MIN ? LARGEST / largest : 0.0f;
        for (int64_t i = 0; i < columns; i++)
            w[i] = (int8_t)lrintf(from[i] * inverse);
    }
}

/* ---- of vectors -------------------------------------------------------------------------------------------------- */

/* y (vocabulary, width) = the product of an embedding's vectors. */
static bool project(const fg_kernels *kernels, const fg_matrix *input, const fg_table *vectors, fg_dtype dtype,
                    int64_t vocabulary, float *y)
{
    const int64_t features = vectors->columns, prepared = fg_prepared_floats(input->tiles, features);
    float *x = fg_alloc(fg_size(TOKENS, features, sizeof(float)));
    float *scratch = prepared ? fg_alloc((size_t)prepared * sizeof(float)) : NULL;
    const bool is_ready = x && (scratch || !prepared);
    const int64_t width = input->product.columns;
    for (int64_t first = 0; is_ready && first < vocabulary; first += TOKENS) {
        const int64_t count = vocabulary - first < TOKENS ? vocabulary - first : TOKENS;
        for (int64_t i = 0; i < count; i++)
            kernels->common->look_up[dtype](vectors, first + i, 0, features, x + i * features);
        const fg_grid from = {.data = x, .rows = count, .steps = 1, .inner = 1, .row_stride = features};
        const fg_grid to = {.data = y + first * width, .rows = count, .steps = 1, .inner = 1, .row_stride = width};
        fg_multiply(kernels, input, &from, &to, 0, count, 0, fg_matrix_panels(input, kernels), scratch);
    }
    free(x);
    free(scratch);
    return is_ready;
}

/* The same without the bias, narrow, in own->table. */
static bool project_narrow(fg_gru_layer *own, fg_plan *plan, const fg_table *vectors, fg_dtype dtype,
                           int64_t vocabulary, void *w)
{
    const int64_t width = own->width;
    float *y = fg_alloc(fg_size(vocabulary, width, sizeof(float)));
    float *no_bias = fg_alloc(fg_size(1, width, sizeof(float)));
    fg_matrix input = own->input;
    input.product.bias = no_bias;
    input.product.gates = false; /* computed once */
    bool done = y && no_bias && project(plan->kernels, &input, vectors, dtype, vocabulary, y);
    if (done && own->dtype != FG_INT8) {
        done = round_table(w, y, vocabulary * width, own->dtype);
    } else if (done) {
        float *row_scale = fg_store_alloc(&plan->store, fg_size(1, vocabulary, sizeof(float)));
        float *column_scale = fg_store_alloc(&plan->store, fg_size(1, width, sizeof(float)));
        done = row_scale && column_scale && find_column_scales(column_scale, y, vocabulary, width);
        if (done)
            quantize_table(w, row_scale, column_scale, y, vocabulary, width);
        own->table.row_scale = row_scale;
        own->table.column_scale = column_scale;
    }
    free(y);
    free(no_bias);
    return done;
}

/* ---- of one-hot vectors ------------------------------------------------------------------------------------------ */

/* The rows of the kernel, as they were before they were packed; of float32 plus the bias. The chain's other terms are
 * zeros, which change nothing of finite weights but the sign of a zero: these are the tiles' results, without their
 * vocabulary² · width products. */
static void copy_kernel(const fg_gru_layer *own, int64_t vocabulary, void *table)
{
    const fg_product *product = &own->input.product;
    const int bytes = own->tiles->weight_bytes, depth = own->tiles->depth;
    const int64_t group = own->width / own->weights.groups;
    const int64_t panel_bytes = fg_packed_bytes(own->tiles, product->k, group);
    char *to = table;
    for (int64_t token = 0; token < vocabulary; token++)
        for (int64_t panel = 0; panel < own->weights.groups; panel++) {
            const char *from = (const char *)product->weights.w + panel * panel_bytes +
                               (token / depth * group * depth + token % depth) * bytes;
            if (depth == 1)
                memcpy(to, from, (size_t)(group * bytes));
            for (int64_t i = 0; depth > 1 && i < group; i++)
                memcpy(to + i * bytes, from + i * depth * bytes, (size_t)bytes);
            to += group * bytes;
        }
    float *sums = table;
    for (int64_t i = 0; own->dtype == FG_FLOAT32 && i < vocabulary * own->width; i++)
        sums[i] = product->bias[i % own->width] + sums[i];
}

/* With an infinite weight or NaN the zeros of one-hot vectors do change sums. */
static bool has_finite_kernel(const fg_gru_layer *own)
{
    const void *w = own->input.product.weights.w;
    const int64_t n = fg_packed_bytes(own->tiles, own->input.product.k, own->width) / own->tiles->weight_bytes;
    const uint16_t exponent = own->dtype == FG_BFLOAT16 ? 0x7f80 : 0x7c00;
    for (int64_t i = 0; i < n; i++)
        if (own->dtype == FG_FLOAT32 ? !isfinite(((const float *)w)[i])
                                     : own->dtype != FG_INT8 && (((const uint16_t *)w)[i] & exponent) == exponent)
            return false;
    return true;
}

/* ------------------------------------------------------------------------------------------------------------------ */

static bool make_table(fg_gru_layer *own, fg_plan *plan, const fg_table *vectors, fg_dtype dtype, int64_t vocabulary,
                       void *w)
{
    if (!vectors->w) {
        copy_kernel(own, vocabulary, w);
        own->table.column_scale = own->input.product.weights.scale;
        return true;
    }
    return own->dtype == FG_FLOAT32 ? project(plan->kernels, &own->input, vectors, dtype, vocabulary, w)
                                    : project_narrow(own, plan, vectors, dtype, vocabulary, w);
}

bool fg_gru_fold(fg_plan *plan, fg_step *gru, const fg_step *embedding)
{
    fg_gru_layer *own = gru->own;
    int64_t vocabulary;
    fg_dtype dtype;
    const fg_table *vectors = fg_embedding_table(embedding, &dtype, &vocabulary);
    /* a table for one-hot vectors is as large as the kernel, all of which their product would read */
    if (vectors->w ? own->input.plain || vocabulary > TABLE_BYTES / (3 * own->weights.units * (int64_t)sizeof(float))
                   : !has_finite_kernel(own))
        return false;
    void *w = fg_store_alloc(&plan->store, fg_size(vocabulary, own->width, fg_dtype_bytes(own->dtype)));
    if (!w)
        return false;
    own->table = (fg_table){.columns = own->width, .bias = own->dtype == FG_FLOAT32 ? NULL : own->input.product.bias};
    const unsigned float_mode = fg_float_enter();
    const bool done = make_table(own, plan, vectors, dtype, vocabulary, w);
    fg_float_restore(float_mode);
    if (!done)
        return false;
    own->table.w = w;
    own->vocabulary = vocabulary;
    gru->x = embedding->x;
    gru->cost -= 3.0 * (double)own->weights.units * (double)vectors->columns;
    gru->bytes += vocabulary * fg_table_row_bytes(&own->table, own->dtype);
    gru->scratch_step = 0;
    gru->scratch_member = own->state_floats + (own->dtype == FG_FLOAT32 ? 0 : FG_MAX_ROWS * own->width);
    return true;
}
