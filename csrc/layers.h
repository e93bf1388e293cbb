/* What the parts of the core know of each other: the Plan, the State, one thread's view of a run, and what a layer
 * family (gru.c, dense.c, …) gives the plan. Not part of the native API.
 *
 * How a network runs. The layers of a plan stand in *stages*: even ones run once, odd ones walk a sequence in blocks of
 * steps, so that a block's intermediate values stay in cache and a causal network's memory does not grow with time. A
 * layer joins the stage of the sequence that it reads step by step; what it must see whole (go_backwards, a reshape
 * over time) or what stands only after the last step (a GRU's last output; a *late* sequence, which is written from its
 * end) puts it into a later one. A value read in a later stage than its own is kept *whole*, as is a late one; all
 * others for one block. */
#ifndef FASTGRU_LAYERS_H
#define FASTGRU_LAYERS_H

#include <stddef.h>

#include "cpu.h"
#include "gemm.h"
#include "kernels.h"
#include "parallel.h"

typedef struct fg_step fg_step;
typedef struct fg_context fg_context;

typedef enum fg_type { FG_FLOATS, FG_IDS, FG_BYTES } fg_type;

/* What the plan knows of a value. */
typedef struct fg_value_info {
    bool defined, sequence, is_input;
    fg_type type;
    int64_t features; /* elements per row and step */
    int stage;        /* the stage that computes it; inputs: -1 */
    bool ended;       /* made of something that stands only after a walk */
    bool late;        /* a sequence of which no step stands before its stage is over */
    bool whole;       /* kept for all steps, see above */
    /* Of a mask: there in every call; else absent where all masks that its layer joins are, or where the mask `mask_of`
     * is, or that is FG_NONE. */
    bool always;
    fg_value mask_of;
    int64_t readers; /* layers and outputs that read it, each as often as it does */
    /* Stored inside the value `part_of`, from its feature `part_offset` on; FG_NONE: on its own. */
    fg_value part_of;
    int64_t part_offset;
    /* Number of steps: that of the value `steps_of`. An input is its own, and so is a sequence whose layer changes
     * their number: `maker` says it then (fg_layer_ops.steps). Found inputs are pointed to each other where a layer
     * reads them side by side, so follow it with fg_steps_root. */
    fg_value steps_of;
    int maker; /* the step that defines it; -1: an input */
} fg_value_info;

/* A layer family. */
typedef struct fg_layer_ops {
    /* Checks the description against the values it reads, defines its outputs with fg_define, packs the weights into
     * step->own. */
    fg_status (*add)(fg_plan *plan, fg_step *step, const fg_layer *layer);
    /* Computes a member's share of the context's rows and block; what takes several phases is `run`, which calls
     * fg_phase for each. One of the two is NULL. */
    void (*share)(const fg_step *step, const fg_context *c, int member);
    void (*run)(const fg_step *step, fg_context *c);
    /* Adds what `run` or `share` will do to a profile, times aside; NULL: nothing that is worth counting. */
    void (*count)(const fg_step *step, fg_context *c, fg_profile *profile);
    void (*release)(fg_step *step);
    /* Number of steps of its y, a sequence whose steps_of is itself, from those of what it reads (fg_plan_steps); 1 of
     * a y that is no sequence. -1 where it cannot run on them. NULL: it runs on any, and its y has the steps of another
     * value. */
    int64_t (*steps)(const fg_plan *plan, const fg_step *step, const fg_call *call);
    /* Floats of scratch that a row takes in a call, where they hang on numbers of steps; -1 where those do not fit the
     * layer. NULL: what step->scratch_row and scratch_step say. */
    int64_t (*scratch)(const fg_plan *plan, const fg_step *step, const fg_call *call);
    bool reads_whole; /* sequences that it reads must be complete; may be overridden by step->reads_whole */
    bool once;        /* it runs once, on whole values in and out, and reads and writes their slots (fg_whole_of) */
} fg_layer_ops;

struct fg_step {
    const fg_layer_ops *ops;
    fg_value x, mask, h0, y, y_mask, y_state;
    fg_value *inputs; /* all values that it reads alike, x the first; NULL: x alone */
    int32_t n_inputs;
    fg_value query_mask; /* a second mask that it reads */
    bool joins;          /* y holds the inputs side by side, so they may be computed there */
    bool reads_whole;
    bool streams;      /* though it reads all steps of a call: the next call goes on where this one ends */
    bool counts_steps; /* it must know which step of the whole sequence it is at */
    int stage;
    fg_value walked;                   /* the sequence whose steps it walks; FG_NONE: it runs once */
    int memory;                        /* index of its fg_memory, -1: it carries nothing from step to step */
    int64_t carried;                   /* numbers of that, a row */
    bool carries_in_place;             /* see fg_memory */
    const float *initial;              /* of its state, NULL: zeros */
    int64_t scratch_row, scratch_step; /* floats of scratch that a row takes, and a row per step of a block */
    int64_t scratch_member;            /* and a member, however many rows there are */
    bool rolls;                        /* of that per step a row that stands alone touches but a few steps' */
    const fg_plan *inner;              /* a network that it runs, NULL: none */
    int64_t inner_steps;               /* of that network's input */
    int nested;                        /* its place among the layers that have one */
    double cost;                       /* multiply-adds per row and step */
    int64_t bytes;                     /* packed weights */
    void *own;                         /* the family's packed layer; what it points to lies in the plan's store */
};

/* Two sequences that a layer, plan->steps[reader], reads side by side. */
struct fg_equal {
    fg_value a, b;
    int reader;
};

struct fg_plan {
    const fg_kernels *kernels;
    fg_store *store; /* packed weights */
    fg_matmul matmul;
    int32_t n_values;
    fg_value_info *values;
    fg_step *steps;
    int n_steps, room_steps;
    fg_value *inputs; /* in the order of fg_plan_add */
    int32_t n_inputs, room_inputs;
    fg_value *outputs;
    int32_t n_outputs;
    int n_stages; /* stages 0 .. n_stages-1 */
    int n_memories, n_nested;
    struct fg_equal *equal; /* sequences that must prove to have the same steps when it runs */
    int n_equal, room_equal;
    bool causal, finished;
    bool changes_steps; /* a layer that streams does */
    bool has_parts;     /* a value is computed inside another one */
    double cost;
    int64_t bytes;
    int64_t scratch_row, scratch_step, scratch_member; /* the most of any layer; the last a multiple of a line */
    int64_t block_row_bytes, lone_block_bytes;         /* workspace that a row takes per step of a block; alone */
    int64_t row_elements; /* what a row holds at most per step: no product of it may overflow */
};

/* What a layer carries from step to step, row by row: a GRU its state, a step mask the number of steps so far, windows
 * the last steps of what they read. Of each row there are two copies, one behind the other: that which stands, and that
 * which the next step writes. What is carried `in_place` has one, which the layer writes when all have read it; of
 * whole sequences nobody reads it, so there are no rows before the first call that is not FG_WHOLE. Rows lie in slabs
 * that never move, so that rows come and go without a copy of the others. */
typedef struct fg_memory {
    int64_t units, stride; /* numbers of a copy, and the floats that it takes */
    bool in_place;
    const float *initial;
    int64_t rows;        /* rows there is room for: those of the State, or more where growing it failed */
    float **slabs;       /* of FG_SLAB_ROWS rows each, or the only one of fewer */
    uint8_t *marks;      /* per row: FG_HAS_OUTPUT, FG_HAS_RUN, FG_TURNED */
    float *(*copies)[2]; /* of each row of the run: what stood before its first step, and the other one, if any */
} fg_memory;

enum { FG_SLAB_ROWS = 256 };

/* A mark beside those of fastgru.h: of a row's two copies the second one stands. */
enum { FG_TURNED = 128 };

/* Where a value of this run lies. */
typedef struct fg_slot {
    fg_view view;
    int64_t steps;
    bool whole; /* the view covers all steps, not just the block's */
    bool owned; /* in the arena, at `offset` */
    size_t offset;
    int32_t output; /* the output of the call that it is; -1: none */
} fg_slot;

/* What the fastest of a few runs of one layout have taken of late, on one thread and on several. */
typedef struct fg_pace {
    int64_t alone, together; /* nanoseconds */
    unsigned runs;
} fg_pace;

struct fg_state {
    const fg_plan *plan;
    int64_t rows; /* rows there is room for */
    fg_memory *memories;
    uint8_t *fresh;             /* per row: the next step begins a sequence */
    int64_t run_rows;           /* rows of a run that there is room for in memories' copies */
    const int64_t *rows_of_run; /* fg_call.rows of the run */
    int64_t before;             /* fg_call.before of the run */
    bool begins_rows;           /* a row of the run is fresh */
    fg_slot *slots;
    char *arena; /* buffers of values, then scratch */
    size_t arena_bytes;
    /* the layout of the last run, which the next one of the same kind keeps */
    int64_t batch, steps; /* batch -1: there is none */
    int64_t laid_before;  /* fg_call.before, as far as it matters */
    uint64_t given;       /* which inputs and outputs were no NULL, a bit each */
    fg_pace pace;
    /* of networks that layers run: nested[lane * plan->n_nested + step->nested]; each laid out for so many rows as it
     * is given at a time */
    fg_state **nested;
    int nested_lanes;    /* threads that have theirs */
    int n_nested;        /* the plan's; like n_memories for freeing, when the plan may be gone */
    fg_profile *profile; /* of a nested one: what its layers do while the layer around it is measured */
    int64_t block;       /* steps in a block */
    float *scratch;
    int64_t scratch_row; /* floats of scratch per row */
    int lanes;           /* threads that there is scratch of members for; it lies behind that of the rows */
    int n_memories;
};

/* One thread's view of a run: some rows, some steps. Threads either take rows of their own (`members` 1) or are a team
 * that goes through the same phases and shares the columns of all rows. Since a share may be done by another than its
 * member, what it needs beyond this view stands in the State or in `beside`. */
struct fg_context {
    const fg_plan *plan;
    fg_state *state;
    const fg_kernels *kernels;
    int64_t row, rows;        /* this thread's rows: [row, row + rows) */
    int64_t t0, steps, total; /* the block: steps [t0, t0 + steps) of `total` */
    float *scratch;
    float *own_scratch; /* of member 0; see fg_member_scratch */
    int lane;           /* member 0's place among the threads of the run */
    int rank, members;
    fg_team *team;
    unsigned phase;      /* the last one */
    fg_beside *beside;   /* of each member */
    fg_profile *profile; /* of the layer at work; NULL: this thread measures nothing */
    int64_t lap;         /* when its last part ended */
};

/* ---- helpers for the families ------------------------------------------------------------------------------------ */

/* Points the copies of all memories at the rows of a call. FG_NO_MEMORY, FG_BAD_CALL where the State lacks one. */
fg_status fg_state_point(fg_state *state, const fg_call *call);
/* The steps of a value before the call whose `before` that is. */
int64_t fg_steps_before(const fg_plan *plan, fg_value v, int64_t before);
/* Gives a step a memory in place of so many numbers; see fg_memory. */
void fg_carry_in_place(fg_plan *plan, fg_step *step, int64_t numbers);
/* An odd number of steps left what stands in the other copy. */
void fg_state_turn(const fg_state *state, fg_memory *memory, int64_t ran);

/* The `release` of a family whose step->own is one allocation, or NULL. */
void fg_free_own(fg_step *step);
/* Defines a value: a sequence with the steps of the value `like`, or no sequence where that is FG_NONE or none itself.
 * FG_BAD_LAYER where the number is out of range or taken. v = FG_NONE defines nothing. */
fg_status fg_define(fg_plan *plan, fg_value v, fg_value like, fg_type type, int64_t features);
/* Defines a sequence with a number of steps of its own, which the layer's ops->steps says. */
fg_status fg_define_sequence(fg_plan *plan, fg_value v, fg_type type, int64_t features);
/* Defines the mask of a sequence like `like`; it is absent in a call where the mask `of` is, unless `always` there. */
fg_status fg_define_mask(fg_plan *plan, fg_value v, fg_value like, fg_value of, bool always);
/* The value whose number of steps a sequence has; FG_NONE where it is none. */
fg_value fg_steps_root(const fg_plan *plan, fg_value v);
/* Demands that two sequences have the same steps: inputs are one axis from here on, what else cannot be known now is
 * checked when the plan runs. FG_BAD_LAYER where one of them is no sequence, FG_NO_MEMORY. */
fg_status fg_same_steps(fg_plan *plan, fg_value a, fg_value b);
/* A value that must exist with that type; NULL where it does not. */
const fg_value_info *fg_read(const fg_plan *plan, fg_value v, fg_type type);

static inline bool fg_is_last_block(const fg_context *c)
{
    return c->t0 + c->steps >= c->total;
}

/* The State's row that row `row` of the run is. */
static inline int64_t fg_state_row(const fg_state *state, int64_t row)
{
    return state->rows_of_run ? state->rows_of_run[row] : row;
}

static inline fg_slot fg_slot_of(const fg_context *c, fg_value v)
{
    return c->state->slots[v];
}

/* The grid of a float value over the context's rows and the block's steps (one step where it is no sequence). */
static inline void fg_set_grid(fg_grid *grid, const fg_context *c, fg_value v)
{
    const fg_slot *slot = &c->state->slots[v];
    const bool sequence = c->plan->values[v].sequence;
    grid->data = (float *)slot->view.data + c->row * slot->view.batch_stride;
    if (sequence && slot->whole)
        grid->data += c->t0 * slot->view.time_stride;
    grid->rows = c->rows;
    grid->steps = sequence ? c->steps : 1;
    grid->inner = 1;
    grid->row_stride = slot->view.batch_stride;
    grid->time_stride = slot->view.time_stride;
    grid->inner_stride = 0;
}

static inline fg_grid fg_grid_of(const fg_context *c, fg_value v)
{
    fg_grid grid;
    fg_set_grid(&grid, c, v);
    return grid;
}

/* The same over all steps of a whole value: what a layer that runs once reads and writes. */
static inline fg_grid fg_whole_of(const fg_context *c, fg_value v)
{
    const fg_slot *slot = &c->state->slots[v];
    return (fg_grid){.data = (float *)slot->view.data + c->row * slot->view.batch_stride,
                     .rows = c->rows,
                     .steps = slot->steps,
                     .inner = 1,
                     .row_stride = slot->view.batch_stride,
                     .time_stride = slot->view.time_stride};
}

/* Row `row` (absolute) of a byte or id value, at the block's first step; a value that is whole in a layer that runs
 * once: at the first of all. */
uint8_t *fg_bytes_of(const fg_context *c, fg_value v, int64_t row, int64_t *time_stride);
const int32_t *fg_ids_of(const fg_context *c, fg_value v, int64_t row, int64_t *time_stride);

/* A token id that lies in the table: the caller has checked it, but the array is still theirs and may change under us.
 */
static inline int64_t fg_token(int32_t id, int64_t vocabulary)
{
    return id >= 0 && id < vocabulary ? id : 0;
}

/* A copy of `count` numbers that lives as long as the plan; `absent` everywhere where there are none to copy. NULL: no
 * memory. */
float *fg_keep_numbers(fg_plan *plan, fg_step *step, const float *numbers, float absent, int64_t count);
/* Keeps all inputs of a layer that reads several values of one type. FG_BAD_LAYER, FG_NO_MEMORY. */
fg_status fg_keep_inputs(const fg_plan *plan, fg_step *step, const fg_layer *layer, fg_type type);
/* Demands that they are all sequences with the same steps, or none is one. FG_BAD_LAYER, FG_NO_MEMORY. */
fg_status fg_inputs_go_together(fg_plan *plan, const fg_step *step);

/* Steps of all inputs together: the `steps` of a layer that appends them. */
int64_t fg_appended_steps(const fg_plan *plan, const fg_step *step, const fg_call *call);

/* Whether `mask` may mask the steps of x: FG_NONE, or bytes over the same steps. */
bool fg_mask_fits(fg_plan *plan, fg_value mask, fg_value x);

/* A member's share of n things: [first, last). */
static inline void fg_share(const fg_context *c, int member, int64_t n, int64_t *first, int64_t *last)
{
    *first = n * member / c->members;
    *last = n * (member + 1) / c->members;
}

/* A member's scratch of step->scratch_member floats. */
static inline float *fg_member_scratch(const fg_context *c, int member)
{
    return c->own_scratch + member * c->plan->scratch_member;
}

/* Goes through one phase: returns when share(argument, member) is done for all members. */
static inline void fg_phase(fg_context *c, void (*share)(void *argument, int member), void *argument)
{
    if (c->members == 1)
        share(argument, 0);
    else
        fg_team_phase(c->team, c->rank, c->members, ++c->phase, share, argument);
}

/* The State of a layer's network that a member's share has to itself. */
static inline fg_state *fg_inner_state(const fg_context *c, const fg_step *step, int member)
{
    return c->state->nested[(c->lane + member) * c->plan->n_nested + step->nested];
}
/* Runs the first `rows` rows of a nested State on the calling thread, from their initial states, whole sequences. The
 * call is like the one that the State was laid out for. */
void fg_run_inside(fg_state *nested, const fg_call *call, int64_t rows);

/* Ends a part of a layer's time. */
void fg_note_lap(fg_context *c, fg_part part);
static inline void fg_lap(fg_context *c, fg_part part)
{
    if (__builtin_expect(c->profile != NULL, false))
        fg_note_lap(c, part);
}

/* Adds a product with all of a matrix, which is read once. */
static inline void fg_count_product(fg_work *work, const fg_matrix *m, int64_t rows)
{
    work->multiply_adds += rows * m->product.k * m->product.columns;
    work->bytes += m->bytes;
    work->weights = m->bytes;
}

static inline int64_t fg_round_up(int64_t n, int64_t step)
{
    return (n + step - 1) / step * step;
}

/* The table that an embedding step reads: vocabulary × columns; w NULL: the identity. */
const fg_table *fg_embedding_table(const fg_step *step, fg_dtype *dtype, int64_t *vocabulary);
/* Bytes of a token's row, with its scale. */
static inline int64_t fg_table_row_bytes(const fg_table *table, fg_dtype dtype)
{
    return table->columns * fg_dtype_bytes(dtype) + (table->row_scale ? (int64_t)sizeof(float) : 0);
}
/* Lets a GRU step that reads an embedding's vectors look up their projections instead: `gru` then reads the token ids.
 * False, and nothing is changed, where the table of projections would be too large. */
bool fg_gru_fold(fg_plan *plan, fg_step *gru, const fg_step *embedding);

extern const fg_layer_ops fg_embedding_ops;
extern const fg_layer_ops fg_masking_ops;
extern const fg_layer_ops fg_gru_ops;
extern const fg_layer_ops fg_dense_ops;
extern const fg_layer_ops fg_activate_ops;
extern const fg_layer_ops fg_scale_ops;
extern const fg_layer_ops fg_normalize_ops;
extern const fg_layer_ops fg_combine_ops;
extern const fg_layer_ops fg_where_ops;
extern const fg_layer_ops fg_reshape_ops;
extern const fg_layer_ops fg_concatenate_ops;
extern const fg_layer_ops fg_append_ops;
extern const fg_layer_ops fg_and_masks_ops;
extern const fg_layer_ops fg_or_masks_ops;
extern const fg_layer_ops fg_append_masks_ops;
extern const fg_layer_ops fg_step_mask_ops;
extern const fg_layer_ops fg_transpose_ops;
extern const fg_layer_ops fg_transpose_time_ops;
extern const fg_layer_ops fg_select_ops;
extern const fg_layer_ops fg_select_time_ops;
extern const fg_layer_ops fg_last_ops;
extern const fg_layer_ops fg_conv_ops;
extern const fg_layer_ops fg_pool_ops;
extern const fg_layer_ops fg_reduce_ops;
extern const fg_layer_ops fg_reduce_time_ops;
extern const fg_layer_ops fg_argmax_ops;
extern const fg_layer_ops fg_attention_ops;
extern const fg_layer_ops fg_matmul_ops;
extern const fg_layer_ops fg_time_distributed_ops;

#endif
