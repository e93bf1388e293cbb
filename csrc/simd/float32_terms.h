/* How a tile multiplies by float32 weights: what tiles_body.h asks of a dtype. */
#ifndef FG_TERMS_H
#define FG_TERMS_H

#include "float_rows.h"

#define TERMS_DEPTH 1
#define TERMS_BYTES 4
#define TERM_PARTS 1

TILE vec term_weight(const char *w, const int part)
{
    (void)part;
    return v_load((const float *)w);
}
#define term_shared_weight term_weight

#include "chains.h"

#endif
