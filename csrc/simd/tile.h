/* Words of the bodies that are compiled once per stub. */
#ifndef FG_TILE_H
#define FG_TILE_H

#include <stddef.h>

#define TILE static inline __attribute__((always_inline))
#define L V_LANES
#define PANEL 3 /* vectors in a full panel */

TILE int at_most(const int a, const int b)
{
    return a < b ? a : b;
}

#endif
