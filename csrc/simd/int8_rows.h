/* What a prepared row of int8 products is. */
#ifndef FG_INT8_ROWS_H
#define FG_INT8_ROWS_H

#include <stdbool.h>

#include "tile.h"

/* An input has 16 bits and a state 8. Of the panels that a GRU multiplies its input with, those of z, r and n, r takes
 * the input's upper byte alone: what r multiplies is small, and so are the errors that it makes there. */
typedef enum row_kind {
    INPUT_ROW,
    GATES_ROW, /* the input of a GRU */
    Z_N_ROW,   /* its parts, where r multiplies otherwise than z and n */
    R_ROW,
    STATE_ROW
} row_kind;

/* Whether the i-th vector of a GRU's panels takes the upper byte alone. */
TILE bool is_upper(const row_kind kind, const int i)
{
    return kind == GATES_ROW && i % PANEL == 1;
}

/* The i-th vector of the panels that such a row is multiplied with. */
TILE int place(const row_kind kind, const int i)
{
    return kind == R_ROW ? i * PANEL + 1 : kind == Z_N_ROW ? i / 2 * PANEL + i % 2 * 2 : i;
}

#endif
