/* Layer, RMS and unit normalization of each row of a step's last axes, in double precision, rounded once: sums go over
 * LANES partial sums, element i to number i mod LANES, so they are the same wherever the loops are compiled. */
#include <math.h>
#include <stdlib.h>

#include "layers.h"

enum { LANES = 8 };

typedef struct normalize_layer {
    fg_normalization function;
    double epsilon;
    int64_t size;          /* of a row */
    float *scale, *offset; /* (size) in the plan's store */
} normalize_layer;

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    const int64_t size = layer->normalize.size;
    if (!x || layer->y == FG_NONE || size < 1 || x->features % size || !(layer->normalize.epsilon >= 0))
        return FG_BAD_LAYER;
    normalize_layer *own = calloc(1, sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    step->own = own;
    own->function = layer->normalize.function;
    own->epsilon = layer->normalize.epsilon;
    own->size = size;
    own->scale = fg_keep_numbers(plan, step, layer->normalize.scale, 1.0f, size);
    own->offset = fg_keep_numbers(plan, step, layer->normalize.offset, -0.0f, size); /* x + -0 is x */
    if (!own->scale || !own->offset)
        return FG_NO_MEMORY;
    return fg_define(plan, layer->y, layer->x, FG_FLOATS, x->features);
}

static double fold(const double *part)
{
    const double a = (part[0] + part[4]) + (part[2] + part[6]), b = (part[1] + part[5]) + (part[3] + part[7]);
    return a + b;
}

static double sum(int64_t n, const float *x)
{
    double part[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            part[k] += (double)x[i + k];
    for (int k = 0; i < n; i++, k++)
        part[k] += (double)x[i];
    return fold(part);
}

/* Σ (x − center)² */
static double sum_of_squares(int64_t n, const float *x, double center)
{
    double part[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) {
            const double d = (double)x[i + k] - center;
            part[k] += d * d;
        }
    for (int k = 0; i < n; i++, k++) {
        const double d = (double)x[i] - center;
        part[k] += d * d;
    }
    return fold(part);
}

static void normalize(const normalize_layer *own, const float *x, float *y)
{
    const int64_t n = own->size;
    const double count = (double)n, mean = own->function == FG_LAYER_NORM ? sum(n, x) / count : 0.0;
    const double squares = sum_of_squares(n, x, mean);
    const double least = squares < own->epsilon ? own->epsilon : squares; /* NaN stays NaN */
    const double factor = 1.0 / sqrt(own->function == FG_UNIT_NORM ? least : squares / count + own->epsilon);
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)(((double)x[i] - mean) * factor * (double)own->scale[i] + (double)own->offset[i]);
}

static void share(const fg_step *step, const fg_context *c, int member)
{
    const normalize_layer *own = step->own;
    fg_grid x = fg_grid_of(c, step->x), y = fg_grid_of(c, step->y);
    x.inner = y.inner = c->plan->values[step->y].features / own->size;
    x.inner_stride = y.inner_stride = own->size;
    int64_t first, last;
    fg_share(c, member, fg_grid_size(&x), &first, &last);
    for (int64_t i = first; i < last; i++) {
        float *from, *to;
        fg_grid_rows(&x, i, 1, &from);
        fg_grid_rows(&y, i, 1, &to);
        normalize(own, from, to);
    }
}

const fg_layer_ops fg_normalize_ops = {.add = add, .share = share, .release = fg_free_own};
