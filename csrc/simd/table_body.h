/* The kernels `look_up` of kernels.h over the names of a vector header: each number by itself, the same operations on
 * every ISA. */
#ifndef FG_TABLE_BODY_H
#define FG_TABLE_BODY_H

#include "../kernels.h"
#include "activate_body.h"
#include "tile.h"

TILE vec load_float32(const void *p)
{
    return v_loadu(p);
}

/* n > 0 columns from `column` on, at most a vector's worth. */
TILE vec table_columns(const fg_table *table, vec load(const void *), const int bytes, const bool scaled,
                       const char *row, float scale, int64_t column, int64_t n)
{
    char few[L * sizeof(float)] = {0};
    const char *from = row + column * bytes;
    if (n < L)
        from = memcpy(few, from, (size_t)(n * bytes));
    const vec w = scaled ? v_mul(load(from), v_set(scale)) : load(from);
    if (!table->bias)
        return w;
    const vec bias = row_load(table->bias + column, n, v_zero());
    return scaled ? v_fma(w, row_load(table->column_scale + column, n, v_zero()), bias) : v_add(w, bias);
}

TILE void look_up(const fg_table *table, vec load(const void *), const int bytes, const bool scaled, int64_t token,
                  int64_t first, int64_t last, float *y)
{
    const char *row = (const char *)table->w + token * table->columns * bytes;
    const float scale = scaled && table->row_scale ? table->row_scale[token] : 1.0f;
    int64_t i = first;
    for (; last - i >= L; i += L)
        v_storeu(y + i, table_columns(table, load, bytes, scaled, row, scale, i, L));
    if (i < last)
        row_store(y + i, table_columns(table, load, bytes, scaled, row, scale, i, last - i), last - i);
}

static void look_up_float32(const fg_table *table, int64_t token, int64_t first, int64_t last, float *y)
{
    look_up(table, load_float32, 4, false, token, first, last, y);
}

static void look_up_float16(const fg_table *table, int64_t token, int64_t first, int64_t last, float *y)
{
    look_up(table, v_load_float16, 2, false, token, first, last, y);
}

static void look_up_bfloat16(const fg_table *table, int64_t token, int64_t first, int64_t last, float *y)
{
    look_up(table, v_load_bfloat16, 2, false, token, first, last, y);
}

static void look_up_int8(const fg_table *table, int64_t token, int64_t first, int64_t last, float *y)
{
    look_up(table, v_load_int8, 1, true, token, first, last, y);
}

#endif
