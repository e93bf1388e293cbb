/* Terms whose rows are floats, as they lie, and whose weights are float32 when they are multiplied, whatever they are
 * held in: what is alike in their *_terms.h, which add how weights are loaded and include chains.h. */
#ifndef FG_FLOAT_ROWS_H
#define FG_FLOAT_ROWS_H

#include "tile.h"

#define TERMS_ROWS V_ROWS

typedef float term_row;
typedef vec term_vec;
#define TERM_VALUES(k) (k)

TILE vec term_value(const float *x, int64_t i)
{
    return v_set(x[i]);
}

TILE vec term_add(vec value, vec weight, vec sum)
{
    return v_fma(value, weight, sum);
}

#endif
