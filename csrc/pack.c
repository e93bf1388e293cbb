#define _GNU_SOURCE
#include "pack.h"

#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif
#ifdef __GLIBC__
#include <malloc.h>
#endif

/* ---- memory ------------------------------------------------------------------------------------------------------ */

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

enum { HUGE_PAGE = 2 << 20, LARGE_BYTES = 256 << 10 };

/* A piece of memory of its own, or a huge page from which several are cut. The newest stands first. */
struct fg_store {
    fg_store *next;
    char *memory;
    size_t bytes, used;
};

/* A large chunk takes at least a huge page; what it has beyond full ones lies in small pages. */
static fg_store *new_chunk(size_t bytes, bool huge)
{
    fg_store *chunk = malloc(sizeof *chunk);
    void *memory = NULL;
    if (!chunk)
        return NULL;
    bytes = huge && bytes < HUGE_PAGE ? HUGE_PAGE : bytes;
    if (posix_memalign(&memory, huge ? HUGE_PAGE : FG_ALIGN, bytes) != 0)
        memory = NULL;
    *chunk = (fg_store){.memory = memory, .bytes = bytes};
    if (!chunk->memory) {
        free(chunk);
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    if (huge)
        madvise(chunk->memory, bytes, MADV_HUGEPAGE); /* where that is refused, small pages do */
#endif
    return chunk;
}

void *fg_store_alloc(fg_store **store, size_t bytes)
{
    if (bytes == 0 || bytes > PTRDIFF_MAX - HUGE_PAGE)
        return NULL;
    bytes = (bytes + FG_ALIGN - 1) / FG_ALIGN * FG_ALIGN;
    const bool huge = bytes >= LARGE_BYTES;
    fg_store *chunk = NULL;
    for (fg_store *i = *store; huge && i && !chunk; i = i->next)
        if (i->bytes - i->used >= bytes)
            chunk = i;
    if (!chunk) {
        chunk = new_chunk(bytes, huge);
        if (!chunk)
            return NULL;
        chunk->next = *store;
        *store = chunk;
    }
    void *memory = chunk->memory + chunk->used;
    chunk->used += bytes;
    memset(memory, 0, bytes);
    return memory;
}

void fg_store_free(fg_store *store)
{
    while (store) {
        fg_store *next = store->next;
        free(store->memory);
        free(store);
        store = next;
    }
}

void fg_release_pages(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

size_t fg_size(int64_t a, int64_t b, int64_t c)
{
    size_t size;
    if (a <= 0 || b <= 0 || c <= 0 || __builtin_mul_overflow((size_t)a, (size_t)b, &size) ||
        __builtin_mul_overflow(size, (size_t)c, &size) || size > PTRDIFF_MAX)
        return 0;
    return size;
}

/* ---- packing ----------------------------------------------------------------------------------------------------- */

void fg_pack_strided(float *out, const float *matrix, int64_t k_stride, int64_t column_stride, int64_t k,
                     int64_t columns, int lanes, int vectors)
{
    const int64_t width = (int64_t)vectors * lanes;
    for (int64_t first = 0; first < columns; first += width, matrix += width * column_stride) {
        const int64_t left = columns - first < width ? columns - first : width;
        const int64_t packed = (left + lanes - 1) / lanes * lanes;
        for (int64_t i = 0; i < k; i++, out += packed) {
            const float *row = matrix + i * k_stride;
            if (column_stride == 1)
                memcpy(out, row, (size_t)left * sizeof(float));
            else
                for (int64_t j = 0; j < left; j++)
                    out[j] = row[j * column_stride];
            memset(out + left, 0, (size_t)(packed - left) * sizeof(float));
        }
    }
}

void fg_pack_panels(float *out, const float *matrix, int64_t k, int64_t columns, int lanes, int vectors)
{
    fg_pack_strided(out, matrix, columns, 1, k, columns, lanes, vectors);
}

void fg_pack_deep(void *out, const void *matrix, int bytes, int depth, int64_t k, int64_t columns, int lanes,
                  int vectors)
{
    const char *from = matrix;
    char *to = out;
    const int64_t width = (int64_t)vectors * lanes, deep = (k + depth - 1) / depth;
    for (int64_t first = 0; first < columns; first += width) {
        const int64_t left = columns - first < width ? columns - first : width;
        const int64_t packed = (left + lanes - 1) / lanes * lanes;
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j < left; j++)
                memcpy(to + (((i / depth) * packed + j) * depth + i % depth) * bytes,
                       from + (i * columns + first + j) * bytes, (size_t)bytes);
        to += deep * packed * depth * bytes;
    }
}

void fg_group_columns(void *out, const void *matrix, int bytes, int64_t rows, int64_t units, int lanes,
                      const int *gates, int vectors)
{
    const char *from = matrix;
    char *to = out;
    for (int64_t row = 0; row < rows; row++, from += 3 * units * bytes)
        for (int64_t unit = 0; unit < units; unit += lanes) {
            const int64_t left = units - unit < lanes ? units - unit : lanes;
            for (int v = 0; v < vectors; v++, to += (int64_t)lanes * bytes) {
                memcpy(to, from + (gates[v] * units + unit) * bytes, (size_t)(left * bytes));
                memset(to + left * bytes, 0, (size_t)((lanes - left) * bytes));
            }
        }
}
