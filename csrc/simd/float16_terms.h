/* How a tile multiplies by float16 weights: what tiles_body.h asks of a dtype. They are widened when they are loaded,
 * by an instruction that takes neighbours, so that they stand as float32 weights do. Rows are floats and chains those
 * of float32: results are to the bit those of float32 weights of the same numbers. */
#ifndef FG_TERMS_H
#define FG_TERMS_H

#include "float_rows.h"

#define TERMS_DEPTH 1
#define TERMS_BYTES 2
#define TERM_PARTS 1

TILE vec term_weight(const char *w, const int part)
{
    (void)part;
    return v_load_float16(w);
}
#define term_shared_weight term_weight

#include "chains.h"

#endif
