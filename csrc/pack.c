#include "pack.h"

#include <stdlib.h>
#include <string.h>

void *fg_alloc(size_t bytes)
{
    if (bytes == 0 || bytes > SIZE_MAX - FG_ALIGN)
        return NULL;
    bytes = (bytes + FG_ALIGN - 1) / FG_ALIGN * FG_ALIGN;
    void *memory = aligned_alloc(FG_ALIGN, bytes);
    if (memory)
        memset(memory, 0, bytes);
    return memory;
}

size_t fg_size(int64_t a, int64_t b, int64_t c)
{
    size_t size;
    if (a <= 0 || b <= 0 || c <= 0 || __builtin_mul_overflow((size_t)a, (size_t)b, &size) ||
        __builtin_mul_overflow(size, (size_t)c, &size) || size > PTRDIFF_MAX)
        return 0;
    return size;
}

void fg_pack_panels(float *out, const float *matrix, int64_t k, int64_t columns, int lanes, int vectors)
{
    const int64_t width = (int64_t)vectors * lanes;
    for (int64_t first = 0; first < columns; first += width) {
        const int64_t left = columns - first < width ? columns - first : width;
        const int64_t packed = (left + lanes - 1) / lanes * lanes;
        for (int64_t i = 0; i < k; i++, out += packed) {
            memcpy(out, matrix + i * columns + first, (size_t)left * sizeof(float));
            memset(out + left, 0, (size_t)(packed - left) * sizeof(float));
        }
    }
}

void fg_group_columns(float *out, const float *matrix, int64_t rows, int64_t units, int lanes, const int *gates,
                      int vectors)
{
    for (int64_t row = 0; row < rows; row++, matrix += 3 * units)
        for (int64_t unit = 0; unit < units; unit += lanes) {
            const int64_t left = units - unit < lanes ? units - unit : lanes;
            for (int v = 0; v < vectors; v++, out += lanes) {
                memcpy(out, matrix + gates[v] * units + unit, (size_t)left * sizeof(float));
                memset(out + left, 0, (size_t)(lanes - left) * sizeof(float));
            }
        }
}
