/* Convolution over time, or over time and the axis behind it.
 *
 * The windows along the innermost axis that they move over (the axis behind time, or time itself) lie on *lines*; with
 * dilation d every d-th window is on one line. For some windows of a line the strip of columns that they see is
 * gathered, a column being the channels of all taps of the outer axis side by side. In it a window's numbers are
 * contiguous, and windows overlap as they do in x, so that a strip is hardly larger than what it is read from. Where x
 * itself is such a strip, nothing is gathered. A product with rows at overlapping places does the rest; padding is
 * zeros in the strip and so part of each chain. */
#include <stdlib.h>
#include <string.h>

#include "window.h"

/* Most windows of one product, and floats of its strip: as long as L2 holds them. */
enum { MOST_ROWS = 128, STRIP_FLOATS = 8192 };

typedef struct conv_layer {
    fg_window window;
    int64_t units, groups;
    fg_matrix *matrices;                  /* of each group; NULL where every channel is a group of its own */
    float *taps, *bias;                   /* (size[0], size[1], units) and (units), where each is */
    fg_activation f;                      /* of what has no matrices: elementwise */
    fg_activation rowwise;                /* FG_LINEAR: none */
    int64_t strip_floats, product_floats; /* of a member's scratch: what windows see, products that a glu halves */
    int inner;                            /* the innermost axis: 1, or 0 where windows are over time alone */
} conv_layer;

static void release(fg_step *step)
{
    conv_layer *own = step->own;
    if (own)
        free(own->matrices);
    free(own);
}

/* ---- adding ------------------------------------------------------------------------------------------------------ */

/* A window that covers the axis behind time is one over time, with more channels. */
static void flatten(fg_window *w)
{
    const bool padded = w->before[1] || w->after[1] || w->dilation[1] != 1;
    if (w->size[1] != w->width || padded || fg_window_count(w, 1, w->width) != 1)
        return;
    w->channels *= w->width;
    w->width = w->size[1] = w->stride[1] = 1;
}

/* One group's columns of the kernel, its rows in the order of a strip: inner tap, outer tap, channel. */
static fg_status pack_group(fg_plan *plan, conv_layer *own, const fg_layer *layer, int64_t group, fg_activation f)
{
    const fg_window *w = &own->window;
    const int64_t outer = own->inner == 0 ? 1 : w->size[0], inner = w->size[own->inner];
    const int64_t channels = w->channels / own->groups, units = own->units / own->groups, k = outer * inner * channels;
    const fg_weights *kernel = &layer->conv.kernel;
    const int bytes = fg_dtype_bytes(kernel->dtype);
    char *matrix = malloc(fg_size(k, units, bytes));
    if (!matrix)
        return FG_NO_MEMORY;
    for (int64_t i = 0; i < inner; i++)
        for (int64_t o = 0; o < outer; o++)
            for (int64_t c = 0; c < channels; c++)
                memcpy(matrix + ((i * outer + o) * channels + c) * units * bytes,
                       (const char *)kernel->data +
                           (((o * inner + i) * channels + c) * own->units + group * units) * bytes,
                       (size_t)(units * bytes));
    const fg_weights part = {matrix, kernel->scale ? kernel->scale + group * units : NULL, kernel->dtype};
    const float *bias = layer->conv.bias ? layer->conv.bias + group * units : NULL;
    const fg_status status =
        fg_matrix_init(&own->matrices[group], &plan->store, plan->kernels, FG_MATMUL_AUTO, &part, bias, k, units, f);
    free(matrix);
    return status;
}

static fg_status pack_taps(fg_plan *plan, conv_layer *own, const fg_layer *layer)
{
    const int64_t taps = own->window.size[0] * own->window.size[1];
    own->taps = fg_store_alloc(&plan->store, fg_size(taps, own->units, sizeof(float)));
    own->bias = fg_store_alloc(&plan->store, fg_size(own->units, 1, sizeof(float)));
    if (!own->taps || !own->bias)
        return FG_NO_MEMORY;
    memcpy(own->taps, layer->conv.kernel.data, (size_t)(taps * own->units) * sizeof(float));
    if (layer->conv.bias)
        memcpy(own->bias, layer->conv.bias, (size_t)own->units * sizeof(float));
    return FG_OK;
}

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    const fg_window *w = &layer->conv.window;
    const fg_activation f = layer->conv.activation, linear = {.function = FG_LINEAR};
    const int64_t units = layer->conv.units, groups = layer->conv.groups;
    const bool rowwise = f.function >= FG_SOFTMAX;
    if (!x || !fg_window_fits(w, x) || !layer->conv.kernel.data || units < 1 || units > INT32_MAX || groups < 1 ||
        w->channels % groups || units % groups || (f.function == FG_GLU && units % 2))
        return FG_BAD_LAYER;
    conv_layer *own = calloc(1, sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    step->own = own;
    *own = (conv_layer){.window = *w, .units = units, .groups = groups, .f = f, .rowwise = rowwise ? f : linear};
    const bool depthwise = groups == w->channels && groups > 1;
    if (depthwise && layer->conv.kernel.dtype != FG_FLOAT32)
        return FG_BAD_LAYER;
    const int64_t windows = fg_window_count(w, 1, w->width), taps = w->size[0] * w->size[1];
    if (groups == 1)
        flatten(&own->window);
    own->inner = own->window.width > 1 || own->window.size[1] > 1 || w->before[1] || w->after[1];
    own->matrices = depthwise ? NULL : calloc((size_t)groups, sizeof *own->matrices);
    if (!depthwise && !own->matrices)
        return FG_NO_MEMORY;
    fg_status status = depthwise ? pack_taps(plan, own, layer) : FG_OK;
    for (int64_t group = 0; !depthwise && status == FG_OK && group < groups; group++) {
        status = pack_group(plan, own, layer, group, rowwise ? linear : f);
        step->bytes += own->matrices[group].bytes;
    }
    if (status)
        return status;
    if (depthwise)
        step->bytes = taps * units * (int64_t)sizeof(float);
    const int64_t k = taps * (w->channels / groups);
    step->cost = (double)k * (double)units * (double)windows;
    own->strip_floats = depthwise ? 0 : fg_round_up(k * FG_MAX_ROWS, FG_MAX_LANES);
    if (!depthwise && own->strip_floats < STRIP_FLOATS)
        own->strip_floats = STRIP_FLOATS;
    /* a product twice as wide as what becomes of it goes through scratch */
    own->product_floats = f.function == FG_GLU ? fg_round_up(MOST_ROWS * units, FG_MAX_LANES) : 0;
    step->scratch_member =
        own->strip_floats + own->product_floats + (depthwise ? 0 : fg_prepared_floats(own->matrices[0].tiles, k));
    return fg_define_windows(plan, step, w, windows * (f.function == FG_GLU ? units / 2 : units));
}

static int64_t steps(const fg_plan *plan, const fg_step *step, const fg_call *call)
{
    const conv_layer *own = step->own;
    return fg_window_steps(plan, step, &own->window, call);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* The lines of a run. Window j of a line sees the columns at j · pace, j · pace + 1, … of those that stand `dilation`
 * entries apart. */
typedef struct conv_run {
    const conv_layer *own;
    fg_grid x, y;
    fg_tail tail;
    int64_t rows, places, lines, windows; /* lines are counted by row, place on the outer axis, class; windows on one */
    int64_t classes;                      /* windows so far apart are on one line; lines: of a place, at most as many */
    int64_t inner_windows, inner_length;  /* on the inner axis: windows of all classes, entries */
    int64_t x_column, y_column;           /* from one entry or window of the inner axis to the next, in floats */
    int64_t size, pace, taps, channels;   /* window and its pace on a line; outer taps, channels of a group */
    int64_t before[2];
    bool direct; /* a window that no padding touches is contiguous in x */
} conv_run;

/* Windows [first, last) of one line. */
typedef struct conv_piece {
    int64_t row, place, phase; /* phase: of the line's first window on the inner axis */
    int64_t first, last;
} conv_piece;

static int64_t common_divisor(int64_t a, int64_t b)
{
    return b ? common_divisor(b, a % b) : a;
}

static void begin(conv_run *r, const fg_step *step, const fg_context *c)
{
    const conv_layer *own = step->own;
    const fg_window *w = &own->window;
    *r = (conv_run){.own = own,
                    .x = fg_whole_of(c, step->x),
                    .y = fg_whole_of(c, step->y),
                    .tail = fg_tail_of(c, step),
                    .rows = c->rows};
    const bool flat = own->inner == 0;
    const int64_t dilation = w->dilation[own->inner], stride = w->stride[own->inner];
    const int64_t shared = common_divisor(dilation, stride);
    const int64_t outputs = own->rowwise.function == FG_GLU ? own->units / 2 : own->units;
    r->places = flat ? 1 : r->y.steps;
    r->inner_length = flat ? r->x.steps : w->width;
    r->inner_windows = flat ? r->y.steps : fg_window_count(w, 1, w->width);
    r->classes = dilation / shared;
    r->lines = r->classes < r->inner_windows ? r->classes : r->inner_windows;
    r->windows = (r->inner_windows + r->classes - 1) / r->classes;
    r->x_column = flat ? r->x.time_stride : w->channels;
    r->y_column = flat ? r->y.time_stride : outputs;
    r->size = w->size[own->inner];
    r->pace = stride / shared;
    r->taps = flat ? 1 : w->size[0];
    r->channels = w->channels / own->groups;
    r->before[0] = fg_window_begin(c, step, w);
    r->before[1] = fg_window_before(w, 1, w->width);
    r->direct = r->taps == 1 && (r->size == 1 || (dilation == 1 && r->x_column == r->channels));
}

/* The piece of the windows [first, last), counted over all lines, that begins at `first`: of one line, and so up to its
 * end, be there a last window or not (line_windows). */
static conv_piece piece_at(const conv_run *r, int64_t first, int64_t last)
{
    const int64_t line = first / r->windows, begin = first % r->windows;
    const int64_t left = last - first, rest = r->windows - begin;
    return (conv_piece){.row = line / r->lines / r->places,
                        .place = line / r->lines % r->places,
                        .phase = line % r->lines,
                        .first = begin,
                        .last = begin + (left < rest ? left : rest)};
}

/* Windows that stand on a line: where classes do not divide them evenly, one fewer on some. */
static int64_t line_windows(const conv_run *r, int64_t phase)
{
    return (r->inner_windows - phase + r->classes - 1) / r->classes;
}

/* The first entry of the inner axis that window j of a line sees. */
static int64_t first_entry(const conv_run *r, int64_t phase, int64_t j)
{
    const fg_window *w = &r->own->window;
    return (phase + j * r->classes) * w->stride[r->own->inner] - r->before[r->own->inner];
}

/* Where outer tap `tap` of a place finds entry 0 of the inner axis; NULL in padding. */
static const float *outer_data(const conv_run *r, const conv_piece *piece, int64_t tap)
{
    const float *row = r->x.data + piece->row * r->x.row_stride;
    if (r->own->inner == 0)
        return row;
    const fg_window *w = &r->own->window;
    const int64_t t = piece->place * w->stride[0] + tap * w->dilation[0] - r->before[0];
    if (t < 0)
        return fg_tail_step(&r->tail, piece->row, t);
    return t < r->x.steps ? row + t * r->x.time_stride : NULL;
}

static float *output_of(const conv_run *r, const conv_piece *piece, int64_t j)
{
    const int64_t outer = r->own->inner == 0 ? 0 : piece->place * r->y.time_stride;
    return r->y.data + piece->row * r->y.row_stride + outer + (piece->phase + j * r->classes) * r->y_column;
}

/* `count` columns of `width` floats, from steps of `from_step` to steps of `to_step`. Inlined into each case below, so
 * that the compiler knows a small width. */
static inline __attribute__((always_inline)) void copy_each(float *to, int64_t to_step, const float *from,
                                                            int64_t from_step, const int64_t width, int64_t count)
{
    enum { WIDE = 16 };
    for (int64_t i = 0; i < count; i++, to += to_step, from += from_step) {
        int64_t c = 0;
        for (; c + WIDE <= width; c += WIDE)
            memcpy(to + c, from + c, WIDE * sizeof(float));
        memcpy(to + c, from + c, (size_t)(width - c) * sizeof(float));
    }
}

static void copy_columns(float *to, int64_t to_step, const float *from, int64_t from_step, int64_t width, int64_t count)
{
    switch (width) {
    case 1: copy_each(to, to_step, from, from_step, 1, count); break;
    case 2: copy_each(to, to_step, from, from_step, 2, count); break;
    case 3: copy_each(to, to_step, from, from_step, 3, count); break;
    case 4: copy_each(to, to_step, from, from_step, 4, count); break;
    case 8: copy_each(to, to_step, from, from_step, 8, count); break;
    case 16: copy_each(to, to_step, from, from_step, 16, count); break;
    case 32: copy_each(to, to_step, from, from_step, 32, count); break;
    default: copy_each(to, to_step, from, from_step, width, count); break;
    }
}

static void zero_columns(float *to, int64_t to_step, int64_t width, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < width; c++)
            to[i * to_step + c] = 0.0f;
}

static int64_t clamp(int64_t n, int64_t least, int64_t most)
{
    return n < least ? least : n > most ? most : n;
}

/* `count` columns before the first entry of the inner axis: steps of the tail where that is time, else padding. */
static void gather_before(const conv_run *r, const conv_piece *piece, int64_t channel, int64_t entry, int64_t count,
                          float *strip)
{
    const int64_t apart = r->own->window.dilation[r->own->inner], column = r->taps * r->channels;
    for (int64_t i = 0; i < count; i++, strip += column) {
        const float *from = r->own->inner == 0 ? fg_tail_step(&r->tail, piece->row, entry + i * apart) : NULL;
        if (from)
            memcpy(strip, from + channel, (size_t)r->channels * sizeof(float));
        else
            zero_columns(strip, column, r->channels, 1);
    }
}

/* `count` columns, the first at entry `entry` of the inner axis, for the channels from `channel` on. */
static void gather_columns(const conv_run *r, const conv_piece *piece, int64_t channel, int64_t entry, int64_t count,
                           float *strip)
{
    const int64_t apart = r->own->window.dilation[r->own->inner], column = r->taps * r->channels;
    const int64_t first = clamp((-entry + apart - 1) / apart, 0, count);
    const int64_t end = clamp((r->inner_length - entry + apart - 1) / apart, first, count);
    for (int64_t tap = 0; tap < r->taps; tap++, strip += r->channels) {
        const float *from = outer_data(r, piece, tap);
        if (!from) {
            zero_columns(strip, column, r->channels, count);
            continue;
        }
        gather_before(r, piece, channel, entry, first, strip);
        copy_columns(strip + first * column, column, from + (entry + first * apart) * r->x_column + channel,
                     apart * r->x_column, r->channels, end - first);
        zero_columns(strip + end * column, column, r->channels, count - end);
    }
}

/* Gathers what windows [first, last) of a line see; returns the end of the strip. */
static float *gather(const conv_run *r, const conv_piece *piece, int64_t first, int64_t last, int64_t channel,
                     float *strip, const float **x)
{
    const int64_t column = r->taps * r->channels;
    const int64_t runs = r->pace < r->size ? 1 : last - first; /* windows that do not overlap are gathered one by one */
    const int64_t each = (last - first) / runs, columns = (each - 1) * r->pace + r->size;
    for (int64_t i = 0; i < runs; i++, strip += columns * column) {
        gather_columns(r, piece, channel, first_entry(r, piece->phase, first + i), columns, strip);
        for (int64_t j = 0; j < each; j++)
            *x++ = strip + j * r->pace * column;
    }
    return strip;
}

/* Points x at what each window of a piece sees; returns the end of the strip. */
static float *see(const conv_run *r, const conv_piece *piece, int64_t channel, float *strip, const float **x)
{
    if (!r->direct || !outer_data(r, piece, 0))
        return gather(r, piece, piece->first, piece->last, channel, strip, x);
    const int64_t entry = first_entry(r, piece->phase, 0), pace = first_entry(r, piece->phase, 1) - entry;
    const int64_t most = r->inner_length - fg_reach(&r->own->window, r->own->inner); /* where a window may begin */
    const int64_t from = clamp((-entry + pace - 1) / pace, piece->first, piece->last);
    const int64_t to = most < entry ? from : clamp((most - entry) / pace + 1, from, piece->last);
    if (from > piece->first)
        strip = gather(r, piece, piece->first, from, channel, strip, x);
    for (int64_t j = from; j < to; j++)
        x[j - piece->first] = outer_data(r, piece, 0) + (entry + j * pace) * r->x_column + channel;
    if (piece->last > to)
        strip = gather(r, piece, to, piece->last, channel, strip, x + (to - piece->first));
    return strip;
}

/* Windows at a time, such that their strip has room, however they lie on lines: a piece has `size` columns, and `pace`
 * more with each further window, and at each end of a line one may be gathered apart. */
static int64_t windows_at_once(const conv_run *r, const fg_kernels *kernels)
{
    const int64_t columns = r->own->strip_floats / (r->taps * r->channels);
    const int64_t pace = r->pace < r->size ? r->pace : r->size, more = r->size - pace;
    const int64_t room = (columns - 4 * more) * r->windows / (r->windows * pace + 2 * more);
    return clamp(room, kernels->rows, MOST_ROWS) / kernels->rows * kernels->rows;
}

/* Up to windows_at_once windows, from `first` on over all lines. */
static void multiply(const conv_run *r, const fg_context *c, float *scratch, int64_t first, int64_t last)
{
    const conv_layer *own = r->own;
    const int64_t units = own->units / own->groups;
    const float *x[MOST_ROWS];
    float *y[MOST_ROWS], *out[MOST_ROWS];
    for (int64_t group = 0; group < own->groups; group++) {
        float *strip = scratch;
        int count = 0;
        for (int64_t i = first; i < last;) {
            conv_piece piece = piece_at(r, i, last);
            i += piece.last - piece.first;
            piece.last = clamp(piece.last, piece.first, line_windows(r, piece.phase));
            if (piece.first == piece.last)
                continue;
            strip = see(r, &piece, group * r->channels, strip, x + count);
            for (int64_t j = piece.first; j < piece.last; j++, count++) {
                y[count] = out[count] = output_of(r, &piece, j);
                if (own->rowwise.function == FG_GLU)
                    y[count] = scratch + own->strip_floats + count * own->units;
                y[count] += group * units;
            }
        }
        fg_multiply_rows(c->kernels, &own->matrices[group], count, x, y,
                         scratch + own->strip_floats + own->product_floats);
        for (int i = 0; own->rowwise.function != FG_LINEAR && group == own->groups - 1 && i < count; i++)
            c->kernels->common->activate_row(&own->rowwise, own->units, y[i] - group * units, out[i]);
    }
}

/* One window where every channel is a group of its own; padding adds nothing. */
static void depthwise_window(const conv_run *r, const fg_context *c, const conv_piece *piece, float *y)
{
    const conv_layer *own = r->own;
    const int64_t channels = own->groups, each = own->units / channels;
    const int64_t apart = own->window.dilation[own->inner], entry = first_entry(r, piece->phase, piece->first);
    memcpy(y, own->bias, (size_t)own->units * sizeof(float));
    for (int64_t tap = 0; tap < r->taps; tap++) {
        const float *from = outer_data(r, piece, tap);
        for (int64_t i = 0; from && i < r->size; i++) {
            const int64_t at = entry + i * apart;
            const float *past = at < 0 && own->inner == 0 ? fg_tail_step(&r->tail, piece->row, at) : NULL;
            if ((at < 0 && !past) || at >= r->inner_length)
                continue;
            const float *restrict x = past ? past : from + at * r->x_column;
            const float *restrict w = own->taps + (tap * r->size + i) * own->units;
            float *restrict sum = y;
            if (each == 1)
                for (int64_t channel = 0; channel < channels; channel++)
                    sum[channel] += x[channel] * w[channel];
            else
                for (int64_t channel = 0; channel < channels; channel++)
                    for (int64_t k = channel * each; k < (channel + 1) * each; k++)
                        sum[k] += x[channel] * w[k];
        }
    }
    if (own->rowwise.function == FG_LINEAR && own->f.function != FG_LINEAR)
        c->kernels->common->activate(&own->f, own->units, y, y);
}

static void depthwise(const conv_run *r, const fg_context *c, float *scratch, int64_t first, int64_t last)
{
    const conv_layer *own = r->own;
    for (int64_t i = first; i < last; i++) {
        const conv_piece piece = piece_at(r, i, i + 1);
        if (piece.first >= line_windows(r, piece.phase))
            continue;
        float *out = output_of(r, &piece, piece.first), *y = own->rowwise.function == FG_GLU ? scratch : out;
        depthwise_window(r, c, &piece, y);
        if (own->rowwise.function != FG_LINEAR)
            c->kernels->common->activate_row(&own->rowwise, own->units, y, out);
    }
}

static void convolve_share(void *argument, int member)
{
    const conv_run *r = argument;
    const fg_context *c = r->tail.c;
    float *scratch = fg_member_scratch(c, member);
    int64_t first, last;
    fg_share(c, member, r->rows * r->places * r->lines * r->windows, &first, &last);
    if (first == last)
        return;
    const int64_t at_once = r->own->matrices ? windows_at_once(r, c->kernels) : MOST_ROWS;
    for (; first < last; first += at_once)
        (r->own->matrices ? multiply : depthwise)(r, c, scratch, first,
                                                  last - first < at_once ? last : first + at_once);
}

static void keep_share(void *argument, int member)
{
    const conv_run *r = argument;
    int64_t first, last;
    fg_share(r->tail.c, member, r->rows, &first, &last);
    for (int64_t row = first; row < last; row++)
        fg_tail_keep(&r->tail, &r->x, row);
}

static void run(const fg_step *step, fg_context *c)
{
    conv_run r;
    begin(&r, step, c);
    fg_phase(c, convolve_share, &r);
    if (r.tail.memory)
        fg_phase(c, keep_share, &r);
}

static void count(const fg_step *step, fg_context *c, fg_profile *profile)
{
    const conv_layer *own = step->own;
    conv_run r;
    begin(&r, step, c);
    const int64_t windows = r.rows * r.places * r.inner_windows;
    for (int64_t group = 0; own->matrices && group < own->groups; group++)
        fg_count_product(&profile->input, &own->matrices[group], windows);
    if (!own->matrices)
        profile->input.multiply_adds += windows * r.taps * r.size * own->units;
}

const fg_layer_ops fg_conv_ops = {
    .add = add, .run = run, .count = count, .release = release, .steps = steps, .once = true};
