/* The whole native API of fastgru: compile a network to a Plan, give it a State, run it.
 *
 * The core knows no Python and no model file. Nothing here prints, aborts or exits; what can fail returns fg_status.
 * A Plan is immutable once finished and may be run from any number of threads at once, each with a State of its own.
 */
#ifndef FASTGRU_H
#define FASTGRU_H

#include <stdbool.h>
#include <stdint.h>

typedef enum fg_status {
    FG_OK = 0,
    FG_NO_MEMORY, /* an allocation failed; nothing was changed */
    FG_BAD_LAYER, /* fg_plan_add: sizes or values do not fit each other */
    FG_BAD_CALL,  /* fg_run: batch, steps or a view do not fit the plan */
    FG_NO_ISA,    /* the kernel set asked for is unknown or this CPU lacks it */
    FG_NO_BLAS,   /* the BLAS library could not be opened or lacks cblas_sgemm */
    FG_BAD_LOGITS /* fg_sample: NaN or infinity, or no token that may be chosen */
} fg_status;

/* A sentence for a status; never NULL. */
const char *fg_status_text(fg_status status);

/* ---- activations ------------------------------------------------------------------------------------------------- */

/* In the order of graph.py's tables; p[] holds the parameters in the order given there. */
// clang-format off
typedef enum fg_function {
    FG_LINEAR, FG_RELU, FG_SIGMOID, FG_TANH, FG_HARD_SIGMOID, FG_HARD_SILU, FG_HARD_TANH, FG_SOFTPLUS, FG_SOFTSIGN,
    FG_ELU, FG_SELU, FG_CELU, FG_GELU, FG_GELU_TANH, FG_SILU, FG_MISH, FG_EXPONENTIAL, FG_LOG_SIGMOID, FG_SQUAREPLUS,
    FG_SOFT_SHRINK, FG_HARD_SHRINK, FG_TANH_SHRINK, FG_SPARSE_PLUS, FG_SPARSE_SIGMOID, FG_THRESHOLD,
    FG_ABS, FG_NEGATIVE, FG_SQUARE, FG_SQRT, FG_RSQRT, FG_RECIPROCAL, FG_EXPM1, FG_LOG, FG_LOG1P,
    FG_CLIP, FG_AFFINE, FG_SCALED_TANH, FG_ERF, FG_SIGN, FG_FLOOR, FG_CEIL, FG_ROUND,
    FG_SOFTMAX, FG_LOG_SOFTMAX, FG_SPARSEMAX, FG_GLU, /* these four look at a whole row */
    FG_FUNCTIONS
} fg_function;
// clang-format on

typedef struct fg_activation {
    fg_function function;
    float p[3];
} fg_activation;

/* ---- arithmetic on values ---------------------------------------------------------------------------------------- */

typedef enum fg_operation {
    FG_ADD,
    FG_SUBTRACT,
    FG_MULTIPLY,
    FG_DIVIDE,
    FG_AVERAGE,
    FG_MAXIMUM,
    FG_MINIMUM
} fg_operation;

typedef enum fg_normalization { FG_LAYER_NORM, FG_RMS_NORM, FG_UNIT_NORM } fg_normalization;

/* The most axes of a step that a combination may have, after those that all of its values share are merged. */
#define FG_MAX_DIMS 8
typedef struct fg_plan fg_plan;
typedef struct fg_state fg_state;

/* ---- describing a network ---------------------------------------------------------------------------------------- */

/* A value is a small number chosen by the caller, 0 .. n_values-1; FG_NONE is "absent". */
typedef int32_t fg_value;
#define FG_NONE ((fg_value)-1)

typedef enum fg_kind {
    FG_INPUT,  /* features float32 per row and step */
    FG_TOKENS, /* int32 per row and step */
    FG_MASK,   /* one byte per row and step; may be absent in a call */
    FG_EMBEDDING,
    FG_MASKING,
    FG_GRU,
    FG_DENSE,
    FG_ACTIVATE,
    FG_SCALE,
    FG_PRELU,
    FG_NORMALIZE,
    FG_COMBINE,
    FG_WHERE, /* inputs: x and, if there is one, what stands where `mask` is false */
    FG_RESHAPE,
    FG_CONCATENATE,
    FG_APPEND,         /* sequences one after the other */
    FG_TRANSPOSE,      /* the axes of a step */
    FG_TRANSPOSE_TIME, /* the axes behind the batch, of which another becomes time */
    FG_SELECT,         /* slices, pads and repeats along an axis of a step */
    FG_SELECT_TIME,    /* the same over time */
    FG_LAST,           /* the last step of a sequence */
    FG_AND_MASKS,      /* a mask that is true where all of `inputs` are; y is the mask */
    FG_OR_MASKS,       /* a mask that is true where any of `inputs` is; y is the mask */
    FG_APPEND_MASKS,   /* masks one after the other; y is the mask */
    FG_STEP_MASK,      /* true at the first steps of x, as many as `h0` says: ids without time; y is the mask */
    FG_CONV,
    FG_POOL,
    FG_REDUCE,          /* over an axis of a step */
    FG_REDUCE_TIME,     /* over time */
    FG_ARGMAX,          /* y: ids */
    FG_ATTENTION,       /* inputs: query, value, key; y_state, if read, the weights */
    FG_MATMUL,          /* inputs: a, b */
    FG_TIME_DISTRIBUTED /* a network on every step; y_mask is true where any of its second output is */
} fg_kind;

/* The most axes that a value may have behind the batch. */
enum { FG_MAX_AXES = 9 };

/* Same: as many windows as strides begin; the odd entry of padding stands after, or with `same_lower` before. */
typedef enum fg_padding { FG_PAD_EXPLICIT, FG_PAD_SAME, FG_PAD_SAME_LOWER } fg_padding;

/* Windows over time (axis 0) and over the axis behind it (axis 1): a step holds `width` × `channels` numbers. Over time
 * alone width is 1, and so is all of axis 1, its padding 0. */
typedef struct fg_window {
    int64_t size[2], stride[2], dilation[2];
    int64_t before[2], after[2]; /* explicit padding */
    fg_padding padding;
    int64_t width, channels;
} fg_window;

typedef enum fg_reduction { FG_OVER_MEAN, FG_OVER_SUM, FG_OVER_MAXIMUM, FG_OVER_MINIMUM } fg_reduction;

/* What an attention gives to a step of the query that sees none of the value's: softmax(scores - 1e9) over all of them,
 * their mean, or zero. */
typedef enum fg_all_masked { FG_PENALTY, FG_MEAN, FG_ZERO } fg_all_masked;

/* What weights are held in. Of bfloat16 the 16 bits are given, of float16 too; int8 lies in [-127, 127]. */
typedef enum fg_dtype { FG_FLOAT32, FG_FLOAT16, FG_BFLOAT16, FG_INT8, FG_DTYPES } fg_dtype;

/* A row-major matrix of weights; data NULL: absent. */
typedef struct fg_weights {
    const void *data;
    const float *scale; /* int8: of each column, of an embedding's table of each row; else NULL */
    fg_dtype dtype;
} fg_weights;

/* One layer. Weight pointers are read by fg_plan_add and not kept, but for an embedding's table, which must outlive the
 * plan: it is read in place. All matrices are row-major; what is no fg_weights is float32. Absent biases are NULL. */
typedef struct fg_layer {
    fg_kind kind;
    fg_value x, mask, h0;        /* inputs; mask and h0 may be FG_NONE. Of an FG_MASK x is the input that it masks */
    const fg_value *inputs;      /* of a layer that reads several values alike: all of them, x the first; else NULL */
    int32_t n_inputs;            /* not kept, like the weights */
    fg_value y, y_mask, y_state; /* outputs; FG_NONE where nobody reads them */
    union {
        struct {
            bool sequence;
            int64_t features; /* of tokens: ids per row and step */
        } input;
        struct {
            fg_weights table; /* absent: the identity, so that one-hot vectors come out */
            int64_t vocabulary, features;
            bool mask_zero;
        } embedding;
        struct {
            float mask_value;
        } masking;
        struct {
            float value; /* where there is no other input */
        } where;
        struct {
            int64_t units;
            fg_weights kernel, recurrent_kernel; /* of one dtype; layouts: graph.py */
            const float *bias, *recurrent_bias, *initial_state;
            fg_activation activation, recurrent_activation;
            float clip; /* bounds what the activations are applied to; infinity: no bound */
            bool reset_after, return_sequences, go_backwards, time_order;
            bool zero_output_for_mask, zero_state_without_steps;
        } gru;
        struct {
            fg_weights kernel;
            const float *bias;
            int64_t inputs, units;
            fg_activation activation;
        } dense;
        struct {
            fg_activation activation;
            int64_t row; /* length of the last axis */
        } activate;
        struct {
            const float *scale, *offset; /* (steps, features of x); of FG_PRELU: scale is alpha */
            int64_t steps;               /* 1, or that of x where each step has numbers of its own */
        } scale;
        struct {
            fg_normalization function;
            double epsilon;
            int64_t size; /* of the axes that are normalized, the last ones of a step */
            const float *scale, *offset;
        } normalize;
        /* y has axes of `counts`, and an input moves by `strides` elements along them: 0 where it has one entry only.
         * A one_step input is a sequence of one step that goes with all steps of y. */
        struct {
            fg_operation operation;
            int32_t dims;
            const int64_t *counts;   /* (dims) */
            const int64_t *strides;  /* (n_inputs, dims) */
            const uint8_t *one_step; /* (n_inputs) */
        } combine;
        /* time is merged into the row: (batch, time, features) -> (batch, [time',] features'); steps 0: what fits */
        struct {
            bool sequence;
            int64_t steps, features;
        } reshape;
        struct {
            int64_t inner; /* rows of the joined axis per step */
        } concatenate;
        struct {
            int32_t axes;               /* those of a step; of FG_TRANSPOSE_TIME time before them */
            int64_t sizes[FG_MAX_AXES]; /* of x */
            int32_t order[FG_MAX_AXES]; /* axis i of y is this one of x */
        } transpose;
        /* The entries start:stop:step of an axis as Python takes them, `before` and `after` more of `value`, each
         * `times` in a row. The three numbers of the slice are at most 2**61 in magnitude: what is absent there is as
         * far out as that. A step is (outer, size, …), size the axis; over time both are unused. */
        struct {
            int64_t outer, size, start, stop, step, before, after, times;
            float value;
            bool drop; /* over time: y is no sequence, there is one entry */
        } select;
        struct {
            fg_window window;
            fg_weights
                kernel; /* (size[0], size[1], channels / groups, units); float32 where every channel is a group */
            const float *bias;
            int64_t units, groups;
            fg_activation activation;
        } conv;
        struct {
            fg_window window;
            fg_reduction function; /* FG_OVER_MAXIMUM, FG_OVER_MEAN */
            bool count_padding;    /* a mean takes padding for zeros */
        } pool;
        struct {
            fg_reduction function;
            int64_t outer, size, inner; /* of a step, reduced over `size`; over time not read */
        } reduce;
        struct {
            int64_t size; /* of the last axis */
            bool last;    /* of equals the last */
        } argmax;
        struct {
            fg_value query_mask; /* or FG_NONE */
            int64_t heads;
            int64_t window; /* steps this far away are masked; 0: none are for that */
            int64_t steps;  /* of the value, where its weights are a value; 0: any number */
            float scale, inner_scale;
            const float *weight; /* additive: as the features of the key, NULL: ones */
            bool additive, causal, zero_masked_queries;
            fg_all_masked all_masked;
        } attention;
        struct {
            int64_t columns; /* of y */
            bool transpose_b;
        } matmul;
        /* finished, with the same kernels, of one input beside its mask; must outlive the plan */
        struct {
            const fg_plan *plan;
        } nested;
    };
} fg_layer;

typedef enum fg_matmul { FG_MATMUL_AUTO, FG_MATMUL_BLAS } fg_matmul;

/* Starts an empty plan. isa: a name of fg_isa_name, or NULL for the best of this CPU. FG_NO_ISA, FG_NO_MEMORY. */
fg_status fg_plan_new(int32_t n_values, const char *isa, fg_matmul matmul, fg_plan **plan);
/* Appends a layer, packing its weights. FG_BAD_LAYER, FG_NO_MEMORY; after an error the plan can only be freed. */
fg_status fg_plan_add(fg_plan *plan, const fg_layer *layer);
/* Ends the plan: `outputs` are the values that a run delivers. FG_BAD_LAYER, FG_NO_MEMORY. */
fg_status fg_plan_finish(fg_plan *plan, const fg_value *outputs, int32_t n_outputs);
void fg_plan_free(fg_plan *plan); /* NULL is fine */

/* Facts of a finished plan. */
const char *fg_plan_isa(const fg_plan *plan);
bool fg_plan_causal(const fg_plan *plan); /* output at t needs no input after t */
/* Whether a layer gives other numbers of steps than it takes, so that a call must say what was `before`. */
bool fg_plan_changes_steps(const fg_plan *plan);
int64_t fg_plan_bytes(const fg_plan *plan); /* packed weights */
double fg_plan_cost(const fg_plan *plan);   /* multiply-adds per row and step */
/* Whether two sequence inputs must have the same number of steps. */
bool fg_plan_same_steps(const fg_plan *plan, fg_value a, fg_value b);
/* Whether a layer, counted as in fg_call.profile, is an embedding whose vectors nobody reads: the GRUs behind it look
 * up a token's x-projection instead. */
bool fg_plan_folded(const fg_plan *plan, int layer);

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* Where a value of a call lies: element (b, t, i) at data + b*batch_stride + t*time_stride + i, strides in elements
 * (time_stride unused for values without time). data NULL: an absent mask, or an output nobody wants. */
typedef struct fg_view {
    void *data;
    int64_t batch_stride, time_stride;
} fg_view;

/* Weights that a layer reads, or rows of a table: what is done with them, and how large they are as a whole. */
typedef struct fg_work {
    int64_t multiply_adds; /* padded columns not counted */
    int64_t bytes;         /* read: all of them once a step or once a block, however many rows share that */
    int64_t weights;       /* bytes of all of them */
} fg_work;

/* The time of a layer: products of its input; steps of a GRU, with what is computed in them and beside them; the rest.
 */
typedef enum fg_part { FG_PRODUCTS, FG_STEPS, FG_OTHER, FG_PARTS } fg_part;

/* What a layer did in the calls so far. Time is the calling thread's, and work that of the rows it took: where threads
 * split rows its own, where they are a team all. */
typedef struct fg_profile {
    int64_t ns[FG_PARTS];
    fg_work input, recurrent; /* of a layer that is no GRU: input alone */
    int64_t units;            /* of a GRU: whose gates were computed, over rows and steps */
    int64_t steps, chain;     /* of a GRU: its steps, and the multiply-adds in them of which each waits for the last */
} fg_profile;

/* In the place of fg_call.before: the rows are fresh and end with the call, so what only a next one would read is not
 * kept, and a layer that completes no step is a misfit. */
enum { FG_WHOLE = -1 };

typedef struct fg_call {
    int64_t batch, steps;       /* steps: of the sequence inputs; 1 where a network has none */
    const int64_t *input_steps; /* of each input, where they differ; else NULL */
    const int64_t *rows;        /* of each row of the call its row of the State, no two the same; NULL: 0 .. batch-1 */
    int64_t before;         /* steps that each of these rows has had, read where a layer changes their number alone; or
                               FG_WHOLE */
    bool begins;            /* no steps: only takes fresh rows to their initial state, outputs mean nothing */
    int threads;            /* upper bound, at least 1 */
    const fg_view *inputs;  /* for each FG_INPUT / FG_TOKENS / FG_MASK layer, in the order of fg_plan_add */
    const fg_view *outputs; /* for each output */
    fg_profile *profile;    /* for each other layer, in the order of fg_plan_add: added to. NULL: nothing is measured */
} fg_call;

/* A State for up to `rows` rows, every row at the network's initial state. Grows by itself in fg_run where a call has
 * more rows; for causal networks without windows over time nothing in it depends on the number of steps. What windows
 * look back on has its place from the first call that is not FG_WHOLE. */
fg_status fg_state_new(const fg_plan *plan, int64_t rows, fg_state **state);
void fg_state_free(fg_state *state); /* NULL is fine; the plan may be freed before */
/* Makes room for so many rows, new ones at the initial state; rows that there are stay where they lie. FG_NO_MEMORY. */
fg_status fg_state_reserve(fg_state *state, int64_t rows);
/* Rows [first, first + count) start afresh with their next step. */
void fg_state_reset(fg_state *state, int64_t first, int64_t count);
/* Lets row `to` stand where row `from` does. FG_BAD_CALL where there is no such row, FG_NO_MEMORY. */
fg_status fg_state_copy(fg_state *state, int64_t from, int64_t to);
int64_t fg_state_bytes(const fg_state *state);

/* What is known of a row of a GRU. HAS_OUTPUT: its last output is h; else that is zero, for want of an unmasked step or
 * because the last step was masked and gives zero. HAS_RUN: it has had an unmasked step. */
enum { FG_HAS_OUTPUT = 1, FG_HAS_RUN = 2 };

/* What a layer (named by its y or y_state value) carries from step to step, one row, and how many numbers these are (0
 * where it carries nothing): a GRU its hidden state, `units` floats, and its marks; a step mask the bits of an int32,
 * the steps so far; windows over time the last steps that they look back on, S of them (fg_window), and behind them the
 * bits of an int32 N: step n of those so far, counted so that N is less than 2·S, stands at n % S, and where N is less
 * than S the row has had no more; a last step behind a layer that changes their number itself. Setting one layer of a
 * row that starts afresh makes all of its layers go on, so set them all. FG_BAD_CALL where there is no such layer or
 * row, FG_NO_MEMORY. */
int64_t fg_plan_carried(const fg_plan *plan, fg_value v);
fg_status fg_state_get(const fg_plan *plan, const fg_state *state, fg_value v, int64_t row, float *h, uint8_t *marks);
fg_status fg_state_set(const fg_plan *plan, fg_state *state, fg_value v, int64_t row, const float *h, uint8_t marks);

/* Number of steps of a value in a call, of which only the steps are read: 1 where it is no sequence, -1 where there can
 * be none (fg_run gives FG_BAD_CALL then). */
int64_t fg_plan_steps(const fg_plan *plan, fg_value v, const fg_call *call);

/* The first layer, counted as in fg_call.profile, that cannot run on the numbers of steps of a call; -1 where all can.
 */
int fg_plan_misfit(const fg_plan *plan, const fg_call *call);

/* Runs `steps` steps of `batch` rows from where the state's rows stand; those that are not of the call are not touched.
 * Token ids must lie in the tables. FG_NO_MEMORY, FG_BAD_CALL: the state is unchanged. */
fg_status fg_run(const fg_plan *plan, fg_state *state, const fg_call *call);

/* ---- the machine ------------------------------------------------------------------------------------------------- */

/* The i-th kernel set in this build, worst first, or NULL past the end; and whether this CPU can run it. */
const char *fg_isa_name(int i);
bool fg_isa_available(const char *name);
/* What one thread can do at most, in nanoseconds: a multiply-add of floats among many; one that waits for the last;
 * reading memory of so many bytes again and again. And with weights of a dtype, as its kernels do it: a multiply-add of
 * an input among many; of a GRU's input; of a state; one of a state that waits for the last, 0 where sums need not
 * wait; the gates of a GRU unit among many; those of a unit that waits for the last. */
typedef enum fg_limit {
    FG_LIMIT_FMA,
    FG_LIMIT_FMA_CHAIN,
    FG_LIMIT_SWEEP,
    FG_LIMIT_INPUTS,
    FG_LIMIT_GRU_INPUTS,
    FG_LIMIT_STATES,
    FG_LIMIT_STATES_CHAIN,
    FG_LIMIT_GATES,
    FG_LIMIT_GATES_CHAIN,
    FG_LIMITS
} fg_limit;
/* Measures one in some ten milliseconds. `bytes` is the size of the sweep, rounded up to 1 KB; `dtype` that of weights,
 * read by the last six. FG_NO_ISA, FG_NO_MEMORY, FG_BAD_CALL. */
fg_status fg_limit_ns(const char *isa, fg_limit limit, fg_dtype dtype, int64_t bytes, double *ns);
/* Additions, one after the other, in a nanosecond of the calling thread, measured in some 300 microseconds: about its
 * CPU's clock in GHz, and half of that or so while another thread computes on the same core. */
double fg_core_rate(void);
/* Gives pages that nobody holds any more back to the system, where the C library would keep them for later. */
void fg_release_pages(void);
/* CPUs that affinity and the cgroup quota allow, at least 1. */
int fg_cpu_count(void);
/* Opens a CBLAS library for FG_MATMUL_BLAS: `prefix` stands before its symbols ("scipy_" or ""). Once per process. */
fg_status fg_blas_open(const char *path, const char *prefix);
/* Its description of itself, or NULL while none is open. */
const char *fg_blas_config(void);

#endif
