/* How a tile multiplies by float32 weights: what tiles_body.h asks of a dtype. */
#ifndef FG_TERMS_H
#define FG_TERMS_H

#include "tile.h"

#define TERMS_ROWS V_ROWS
#define TERMS_DEPTH 1
#define TERMS_BYTES 4

typedef float term_row;
typedef vec term_vec;
#define TERM_PARTS 1
#define TERM_VALUES(k) (k)

TILE vec term_value(const float *x, int64_t i)
{
    return v_set(x[i]);
}

TILE vec term_weight(const char *w, const int part)
{
    (void)part;
    return v_load((const float *)w);
}
#define term_shared_weight term_weight

TILE vec term_add(vec value, vec weight, vec sum)
{
    return v_fma(value, weight, sum);
}

#include "chains.h"

#endif
