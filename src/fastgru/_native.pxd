"""csrc/fastgru.h as Cython sees it; that header says what everything means."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

cdef extern from "fastgru.h" nogil:
    ctypedef enum fg_status:
        FG_OK, FG_NO_MEMORY, FG_BAD_LAYER, FG_BAD_CALL, FG_NO_ISA, FG_NO_BLAS, FG_BAD_LOGITS
    ctypedef enum fg_function:
        FG_LINEAR, FG_SOFTMAX, FG_FUNCTIONS
    ctypedef enum fg_kind:
        FG_INPUT, FG_TOKENS, FG_MASK, FG_EMBEDDING, FG_MASKING, FG_GRU, FG_DENSE, FG_ACTIVATE, FG_SCALE,
        FG_PRELU, FG_NORMALIZE, FG_COMBINE, FG_WHERE, FG_RESHAPE, FG_CONCATENATE, FG_APPEND, FG_AND_MASKS,
        FG_OR_MASKS, FG_APPEND_MASKS, FG_STEP_MASK, FG_TRANSPOSE, FG_TRANSPOSE_TIME, FG_SELECT, FG_SELECT_TIME, FG_LAST, FG_CONV,
        FG_POOL, FG_REDUCE, FG_REDUCE_TIME,
        FG_ARGMAX, FG_ATTENTION, FG_MATMUL, FG_TIME_DISTRIBUTED
    ctypedef enum fg_padding:
        FG_PAD_EXPLICIT, FG_PAD_SAME, FG_PAD_SAME_LOWER
    ctypedef enum fg_reduction:
        FG_OVER_MEAN, FG_OVER_SUM, FG_OVER_MAXIMUM, FG_OVER_MINIMUM
    ctypedef enum fg_matmul:
        FG_MATMUL_AUTO, FG_MATMUL_BLAS
    ctypedef enum fg_operation:
        FG_ADD
    ctypedef enum fg_normalization:
        FG_LAYER_NORM
    enum:
        FG_MAX_DIMS
    ctypedef int32_t fg_value
    const fg_value FG_NONE
    enum:
        FG_MAX_AXES
    ctypedef struct fg_activation:
        fg_function function
        float p[3]
    ctypedef struct fg_plan:
        pass
    ctypedef struct fg_state:
        pass
    ctypedef enum fg_dtype:
        FG_FLOAT32
        FG_FLOAT16
        FG_BFLOAT16
        FG_INT8
    ctypedef struct fg_weights:
        const void *data
        const float *scale
        fg_dtype dtype
    ctypedef struct _input:
        bint sequence
        int64_t features
    ctypedef struct _embedding:
        fg_weights table
        int64_t vocabulary
        int64_t features
        bint mask_zero
    ctypedef struct _where:
        float value
    ctypedef struct _masking:
        float mask_value
    ctypedef struct _gru:
        int64_t units
        fg_weights kernel
        fg_weights recurrent_kernel
        const float *bias
        const float *recurrent_bias
        const float *initial_state
        fg_activation activation
        fg_activation recurrent_activation
        bint reset_after
        bint return_sequences
        bint go_backwards
        bint time_order
        bint zero_output_for_mask
        bint zero_state_without_steps
        float clip
    ctypedef struct _dense:
        fg_weights kernel
        const float *bias
        int64_t inputs
        int64_t units
        fg_activation activation
    ctypedef struct _activate:
        fg_activation activation
        int64_t row
    ctypedef struct _scale:
        const float *scale
        const float *offset
        int64_t steps
    ctypedef struct _normalize:
        fg_normalization function
        double epsilon
        int64_t size
        const float *scale
        const float *offset
    ctypedef struct _combine:
        fg_operation operation
        int32_t dims
        const int64_t *counts
        const int64_t *strides
        const uint8_t *one_step
    ctypedef struct _reshape:
        bint sequence
        int64_t steps
        int64_t features
    ctypedef struct _concatenate:
        int64_t inner
    ctypedef struct _transpose:
        int32_t axes
        int64_t sizes[9]
        int32_t order[9]
    ctypedef struct _select:
        int64_t outer
        int64_t size
        int64_t start
        int64_t stop
        int64_t step
        int64_t before
        int64_t after
        int64_t times
        float value
        bint drop
    ctypedef struct fg_window:
        int64_t size[2]
        int64_t stride[2]
        int64_t dilation[2]
        int64_t before[2]
        int64_t after[2]
        fg_padding padding
        int64_t width
        int64_t channels
    ctypedef struct _conv:
        fg_window window
        fg_weights kernel
        const float *bias
        int64_t units
        int64_t groups
        fg_activation activation
    ctypedef struct _pool:
        fg_window window
        fg_reduction function
        bint count_padding
    ctypedef struct _reduce:
        fg_reduction function
        int64_t outer
        int64_t size
        int64_t inner
    ctypedef struct _argmax:
        int64_t size
        bint last
    ctypedef enum fg_all_masked:
        FG_PENALTY, FG_MEAN, FG_ZERO
    ctypedef struct _attention:
        fg_value query_mask
        int64_t heads
        int64_t window
        int64_t steps
        float scale
        float inner_scale
        const float *weight
        bint additive
        bint causal
        bint zero_masked_queries
        fg_all_masked all_masked
    ctypedef struct _matmul:
        int64_t columns
        bint transpose_b
    ctypedef struct _nested:
        const fg_plan *plan
    ctypedef struct fg_layer:
        fg_kind kind
        fg_value x
        fg_value mask
        fg_value h0
        const fg_value *inputs
        int32_t n_inputs
        fg_value y
        fg_value y_mask
        fg_value y_state
        _input input
        _embedding embedding
        _masking masking
        _where where
        _gru gru
        _dense dense
        _activate activate
        _scale scale
        _normalize normalize
        _combine combine
        _reshape reshape
        _concatenate concatenate
        _transpose transpose
        _select select
        _conv conv
        _pool pool
        _reduce reduce
        _argmax argmax
        _attention attention
        _matmul matmul
        _nested nested
    ctypedef struct fg_view:
        void *data
        int64_t batch_stride
        int64_t time_stride
    ctypedef struct fg_work:
        int64_t multiply_adds
        int64_t bytes
        int64_t weights
    ctypedef enum fg_part:
        FG_PRODUCTS, FG_STEPS, FG_OTHER, FG_PARTS
    ctypedef struct fg_profile:
        int64_t ns[3]
        fg_work input
        fg_work recurrent
        int64_t units
        int64_t steps
        int64_t chain
    enum:
        FG_WHOLE
    ctypedef struct fg_call:
        int64_t batch
        int64_t steps
        const int64_t *input_steps
        const int64_t *rows
        int64_t before
        bint begins
        int threads
        const fg_view *inputs
        const fg_view *outputs
        fg_profile *profile
    const char *fg_status_text(fg_status status)
    fg_status fg_plan_new(int32_t n_values, const char *isa, fg_matmul matmul, fg_plan **plan)
    fg_status fg_plan_add(fg_plan *plan, const fg_layer *layer)
    fg_status fg_plan_finish(fg_plan *plan, const fg_value *outputs, int32_t n_outputs)
    void fg_plan_free(fg_plan *plan)
    const char *fg_plan_isa(const fg_plan *plan)
    bint fg_plan_causal(const fg_plan *plan)
    bint fg_plan_changes_steps(const fg_plan *plan)
    int64_t fg_plan_bytes(const fg_plan *plan)
    double fg_plan_cost(const fg_plan *plan)
    int64_t fg_plan_steps(const fg_plan *plan, fg_value v, const fg_call *call)
    bint fg_plan_same_steps(const fg_plan *plan, fg_value a, fg_value b)
    bint fg_plan_folded(const fg_plan *plan, int layer)
    fg_status fg_state_new(const fg_plan *plan, int64_t rows, fg_state **state)
    void fg_state_free(fg_state *state)
    fg_status fg_state_reserve(fg_state *state, int64_t rows)
    fg_status fg_state_copy(fg_state *state, int64_t from_, int64_t to)
    void fg_state_reset(fg_state *state, int64_t first, int64_t count)
    int64_t fg_plan_carried(const fg_plan *plan, fg_value v)
    int64_t fg_state_bytes(const fg_state *state)
    fg_status fg_state_get(const fg_plan *plan, const fg_state *state, fg_value v, int64_t row, float *h, uint8_t *marks)
    fg_status fg_state_set(const fg_plan *plan, fg_state *state, fg_value v, int64_t row, const float *h, uint8_t marks)
    enum:
        FG_HAS_OUTPUT, FG_HAS_RUN
    int fg_plan_misfit(const fg_plan *plan, const fg_call *call)
    fg_status fg_run(const fg_plan *plan, fg_state *state, const fg_call *call)
    const char *fg_isa_name(int i)
    bint fg_isa_available(const char *name)
    ctypedef enum fg_limit:
        FG_LIMITS
    fg_status fg_limit_ns(const char *isa, fg_limit limit, fg_dtype dtype, int64_t bytes, double *ns)
    double fg_core_rate()
    void fg_release_pages()
    int fg_cpu_count()
    fg_status fg_blas_open(const char *path, const char *prefix)
    const char *fg_blas_config()

cdef extern from "scheduler.h" nogil:
    ctypedef struct fg_scheduler:
        pass
    ctypedef enum fg_answer:
        FG_ACCEPTED, FG_NO_ROW, FG_ROW_CLOSED, FG_FULL, FG_TIME_OVER, FG_ENDED, FG_FORKED
    ctypedef enum fg_line_name:
        FG_POLLED, FG_DELIVERED
    ctypedef struct fg_chunk:
        int64_t row
        int64_t steps
        const char *const *inputs
        char *const *outputs
        void *owner
        fg_line_name line
        bint dropped
        bint taken
        fg_status status
    ctypedef struct fg_scheduler_facts:
        int64_t rows
        int64_t queued
        int64_t untaken
        int64_t quanta
        int64_t row_quanta
        int64_t row_steps
    bint fg_chunk_finished(const fg_chunk *chunk)
    fg_status fg_scheduler_new(const fg_plan *plan, fg_state *state, int64_t max_rows, int64_t queue, int threads,
                               const int *wanted, fg_scheduler **scheduler)
    void fg_scheduler_free(fg_scheduler *s)
    fg_answer fg_scheduler_open(fg_scheduler *s, const void *const *statics, int64_t *row)
    fg_answer fg_scheduler_close_row(fg_scheduler *s, int64_t row)
    fg_answer fg_scheduler_reset(fg_scheduler *s, int64_t row)
    fg_answer fg_scheduler_submit(fg_scheduler *s, fg_chunk *chunk, bint always, int64_t ns)
    fg_answer fg_scheduler_wait(fg_scheduler *s, fg_chunk *chunk, int64_t ns)
    fg_answer fg_scheduler_claim(fg_scheduler *s, fg_chunk *chunk, int count)
    fg_answer fg_scheduler_deliver(fg_scheduler *s, fg_chunk *chunk)
    fg_answer fg_scheduler_take(fg_scheduler *s, fg_line_name line, fg_chunk **chunks, int64_t most, int64_t ns,
                                int64_t *count)
    fg_answer fg_scheduler_hold(fg_scheduler *s, fg_chunk *chunk)
    fg_answer fg_scheduler_release(fg_scheduler *s, fg_chunk *chunk)
    void fg_scheduler_copy_statics(fg_scheduler *s, int64_t from_, int64_t to)
    fg_answer fg_scheduler_close(fg_scheduler *s, bint drain, int64_t ns)
    fg_answer fg_scheduler_look(fg_scheduler *s, fg_scheduler_facts *facts)

cdef extern from "parallel.h" nogil:
    int64_t fg_now()

cdef extern from "sample.h" nogil:
    ctypedef struct fg_sampler:
        pass
    ctypedef struct fg_sampling:
        float temperature
        float repetition_penalty
        int64_t top_k
        double top_p
        bint probabilities
        bint log_probability
    fg_status fg_sampler_new(const char *isa, int64_t tokens, int64_t rows, const fg_sampling *options, uint64_t seed,
                             uint64_t row, const int32_t *banned, int64_t n_banned, fg_sampler **sampler)
    void fg_sampler_free(fg_sampler *sampler)
    void fg_sampler_see(fg_sampler *sampler, int64_t row, int32_t token)
    fg_status fg_sample(fg_sampler *sampler, int64_t row, const float *logits, int32_t *token, float *log_probability)
