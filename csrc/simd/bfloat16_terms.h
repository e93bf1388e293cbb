/* How a tile multiplies by bfloat16 weights that are widened when they are loaded: what tiles_body.h asks of a dtype.
 * Rows are floats and chains those of float32, so results are to the bit those of float32 weights of the same numbers.
 * In pairs along k: one load and one cheap instruction each widens two vectors of weights. */
#ifndef FG_TERMS_H
#define FG_TERMS_H

#include "float_rows.h"

#define TERMS_DEPTH 2
#define TERMS_BYTES 2
#define TERM_PARTS 2

TILE vec term_weight(const char *w, const int part)
{
    return part ? v_second_bfloat16(w) : v_first_bfloat16(w);
}

TILE vec term_shared_weight(const char *w, int part)
{
    return v_either_bfloat16(w, part);
}

#include "chains.h"

#endif
