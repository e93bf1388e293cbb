/* Canonical weights → aligned tiles, in the layouts of kernels.h. */
#ifndef FASTGRU_PACK_H
#define FASTGRU_PACK_H

#include <stddef.h>

#include "kernels.h"

/* Zeroed memory aligned to FG_ALIGN, or NULL; free with free(). */
void *fg_alloc(size_t bytes);
/* Memory that lives as long as a Plan. Large pieces lie in huge pages where the system has them: L2 goes by physical
 * addresses, and weights that would just fit do not where many of their small pages fall into the same sets. Starts as
 * NULL. */
typedef struct fg_store fg_store;
/* As fg_alloc, but freed with the store. */
void *fg_store_alloc(fg_store **store, size_t bytes);
void fg_store_free(fg_store *store);

/* a·b·c bytes, or 0 where that overflows or is zero. */
size_t fg_size(int64_t a, int64_t b, int64_t c);

/* out: panels of `vectors` vectors holding the columns of the row-major matrix (k, columns), the last panel as narrow
 * as columns allow. out has k · fg_round_up(columns, lanes) floats. */
void fg_pack_panels(float *out, const float *matrix, int64_t k, int64_t columns, int lanes, int vectors);

/* The same of a matrix whose element (i, j) is at matrix + i · k_stride + j · column_stride. */
void fg_pack_strided(float *out, const float *matrix, int64_t k_stride, int64_t column_stride, int64_t k,
                     int64_t columns, int lanes, int vectors);

/* The same panels of weights of `bytes` each, `depth` neighbours along k side by side: out has fg_round_up(k, depth) ·
 * fg_round_up(columns, lanes) of them, and holds zeros before. */
void fg_pack_deep(void *out, const void *matrix, int bytes, int depth, int64_t k, int64_t columns, int lanes,
                  int vectors);

/* Columns of a GRU matrix (rows, 3·units in z r n), of elements of so many bytes, rearranged to groups: out (rows,
 * groups·vectors·lanes), for each group the lanes of gates[0], gates[1], …; padded with zeros. */
void fg_group_columns(void *out, const void *matrix, int bytes, int64_t rows, int64_t units, int lanes,
                      const int *gates, int vectors);

#endif
