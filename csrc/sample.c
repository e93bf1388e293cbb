/* Choosing the next token: sample.h says in which order. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "sample.h"

/* Weights that are summed together, and the chains of such a sum. */
enum { BLOCK = 64, CHAINS = 4 };
/* Numbers that are compared side by side: a vector's worth for any compiler. */
enum { LANES = 16 };

/* NumPy's Philox4x64: block after block of four numbers, each a function of the key and a counter alone. */
typedef struct uniform {
    uint64_t key[2], drawn, block[4];
} uniform;

struct fg_sampler {
    const fg_kernels *kernels;
    fg_sampling options;
    int64_t tokens, n_banned;
    int32_t *banned;
    uniform *uniforms; /* of each row */
    uint8_t *seen;     /* (rows, tokens); NULL without a penalty */
    float *scores, *weights;
    uint64_t *order; /* NULL where all tokens are kept */
    double *sums;    /* of blocks of weights */
};

/* ---- uniform numbers --------------------------------------------------------------------------------------------- */

static uint64_t multiply(uint64_t a, uint64_t b, uint64_t *high)
{
    const unsigned __int128 product = (unsigned __int128)a * b;
    *high = (uint64_t)(product >> 64);
    return (uint64_t)product;
}

/* Philox4x64-10 (Salmon, Moraes, Dror & Shaw 2011). */
static void philox(const uint64_t key[2], uint64_t counter, uint64_t out[4])
{
    uint64_t k0 = key[0], k1 = key[1], x[4] = {counter, 0, 0, 0};
    for (int round = 0; round < 10; round++) {
        uint64_t high0, high1;
        const uint64_t low0 = multiply(0xD2E7470EE14C6C93u, x[0], &high0);
        const uint64_t low1 = multiply(0xCA5A826395121157u, x[2], &high1);
        x[0] = high1 ^ x[1] ^ k0;
        x[1] = low1;
        x[2] = high0 ^ x[3] ^ k1;
        x[3] = low0;
        k0 += 0x9E3779B97F4A7C15u;
        k1 += 0xBB67AE8584CAA73Bu;
    }
    memcpy(out, x, sizeof x);
}

/* NumPy counts before it makes a block, so the first one has the number 1. */
static double draw_uniform(uniform *u)
{
    if (u->drawn % 4 == 0)
        philox(u->key, u->drawn / 4 + 1, u->block);
    return (double)(u->block[u->drawn++ % 4] >> 11) * 0x1p-53;
}

/* ---- scores ------------------------------------------------------------------------------------------------------ */

/* The largest of n numbers; NaN where one of them is NaN or infinity. */
static float largest(const float *x, int64_t n)
{
    float most[LANES];
    uint32_t finite[LANES];
    int64_t i = 0;
    for (int l = 0; l < LANES; l++) {
        most[l] = -INFINITY;
        finite[l] = 1;
    }
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            most[l] = x[i + l] > most[l] ? x[i + l] : most[l];
            finite[l] &= x[i + l] < INFINITY;
        }
    for (int l = 0; i < n; i++, l++) {
        most[l] = x[i] > most[l] ? x[i] : most[l];
        finite[l] &= x[i] < INFINITY;
    }
    for (int l = 1; l < LANES; l++) {
        most[0] = most[l] > most[0] ? most[l] : most[0];
        finite[0] &= finite[l];
    }
    return finite[0] ? most[0] : NAN;
}

static void penalise(const fg_sampler *s, int64_t row)
{
    const uint8_t *seen = s->seen + row * s->tokens;
    const float penalty = s->options.repetition_penalty;
    for (int64_t i = 0; i < s->tokens; i++) {
        const float x = s->scores[i], less = x > 0 ? x / penalty : x * penalty;
        s->scores[i] = seen[i] ? less : x;
    }
}

/* The first of n numbers that is equal to one of them. */
static int32_t first_equal(const float *x, int64_t n, float value)
{
    int32_t i = 0;
    for (int32_t equal = 0; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++)
            equal |= x[i + l] == value;
        if (equal)
            break;
    }
    while (x[i] != value)
        i++;
    return i;
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

/* exp((score − most) / temperature): 1 for the likeliest token. */
static void weigh(const fg_sampler *s, float most, float temperature)
{
    const fg_activation exponential = {.function = FG_EXPONENTIAL};
    for (int64_t i = 0; i < s->tokens; i++)
        s->weights[i] = (s->scores[i] - most) / temperature;
    s->kernels->common->activate(&exponential, s->tokens, s->weights, s->weights);
}

static double sum_of(const float *x, int64_t n)
{
    double sums[CHAINS] = {0};
    int64_t i = 0;
    for (; i + CHAINS <= n; i += CHAINS)
        for (int c = 0; c < CHAINS; c++)
            sums[c] += x[i + c];
    for (int c = 0; i < n; i++, c++)
        sums[c] += x[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

static int64_t count_blocks(int64_t tokens)
{
    return (tokens + BLOCK - 1) / BLOCK;
}

static int64_t block_size(const fg_sampler *s, int64_t block)
{
    const int64_t rest = s->tokens - block * BLOCK;
    return rest < BLOCK ? rest : BLOCK;
}

static double sum_blocks(const fg_sampler *s)
{
    double total = 0;
    for (int64_t b = 0; b < count_blocks(s->tokens); b++) {
        s->sums[b] = sum_of(s->weights + b * BLOCK, block_size(s, b));
        total += s->sums[b];
    }
    return total;
}

static float log_of(const fg_sampler *s, float x)
{
    const fg_activation logarithm = {.function = FG_LOG};
    s->kernels->common->activate(&logarithm, 1, &x, &x);
    return x;
}

/* ---- top_k and top_p --------------------------------------------------------------------------------------------- */

/* A token as a number that is larger where it comes earlier: by its score, of equals by its lower id. No score is -0
 * or, the mode being what fg_float_enter makes it, denormal. */
static uint64_t key_of(float score, int64_t id)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    bits ^= bits >> 31 ? 0xFFFFFFFFu : 0x80000000u;
    return (uint64_t)bits << 32 | (0xFFFFFFFFu - (uint32_t)id);
}

static int64_t id_of(uint64_t key)
{
    return 0xFFFFFFFFu - (uint32_t)key;
}

/* Puts the keys that are larger than one of them before it and the others behind it; returns its place. Which one is a
 * matter of luck, so that no order of the keys is a bad one. */
static int64_t part(uint64_t *keys, int64_t first, int64_t last, uint64_t *luck)
{
    *luck = *luck * 6364136223846793005u + 1442695040888963407u;
    const int64_t chosen = first + (int64_t)((*luck >> 32) * (uint64_t)(last - first) >> 32);
    const uint64_t pivot = keys[chosen];
    int64_t place = first;
    keys[chosen] = keys[last - 1];
    for (int64_t i = first; i < last - 1; i++) { /* no branch: which way it goes cannot be foreseen */
        const uint64_t key = keys[i];
        keys[i] = keys[place];
        keys[place] = key;
        place += key > pivot;
    }
    keys[last - 1] = keys[place];
    keys[place] = pivot;
    return place;
}

/* What keys [first, last) weigh; without weights each is 1. */
static double weight_of(const uint64_t *keys, int64_t first, int64_t last, const float *weights)
{
    double sum = 0;
    if (!weights)
        return (double)(last - first);
    for (int64_t i = first; i < last; i++)
        sum += weights[id_of(keys[i])];
    return sum;
}

/* Brings the fewest of the largest keys that together weigh `least` to the front; returns how many they are, at least
 * one. */
static int64_t cut(uint64_t *keys, int64_t count, double least, const float *weights)
{
    int64_t first = 0, last = count; /* the place of the last one lies between them */
    double before = 0;
    uint64_t luck = 1;
    while (last - first > 1) {
        const int64_t place = part(keys, first, last, &luck);
        const double larger = before + weight_of(keys, first, place, weights);
        const double with_it = larger + weight_of(keys, place, place + 1, weights);
        if (larger >= least && place > 0) {
            last = place;
        } else if (with_it >= least) {
            return place + 1;
        } else {
            before = with_it;
            first = place + 1;
        }
    }
    return last;
}

/* Sets the weights of all tokens but those that top_k and top_p keep to 0. */
static void keep_top(const fg_sampler *s)
{
    const fg_sampling *o = &s->options;
    int64_t count = 0;
    for (int64_t i = 0; i < s->tokens; i++) {
        s->order[count] = key_of(s->scores[i], i);
        count += s->weights[i] > 0;
    }
    if (o->top_k && o->top_k < count)
        count = cut(s->order, count, (double)o->top_k, NULL);
    if (o->top_p < 1)
        count = cut(s->order, count, o->top_p * weight_of(s->order, 0, count, s->weights), s->weights);
    uint64_t least = s->order[0];
    for (int64_t i = 1; i < count; i++)
        least = s->order[i] < least ? s->order[i] : least;
    const int64_t id = id_of(least);
    const float score = s->scores[id];
    for (int64_t i = 0; i <= id; i++)
        s->weights[i] = s->scores[i] >= score ? s->weights[i] : 0;
    for (int64_t i = id + 1; i < s->tokens; i++)
        s->weights[i] = s->scores[i] > score ? s->weights[i] : 0;
}

/* ---- the draw ---------------------------------------------------------------------------------------------------- */

/* The first token up to which the weights, in the order of ids, sum up to more than `target`. Where rounding leaves
 * none, the last one with a weight. */
static int32_t token_at(const fg_sampler *s, double target)
{
    double sum = 0, before = 0; /* before: up to `block` */
    int64_t block = 0, token = 0;
    for (int64_t b = 0; b < count_blocks(s->tokens) && (b == 0 || target >= sum); b++) {
        if (s->sums[b] > 0) {
            block = b;
            before = sum;
        }
        sum += s->sums[b];
    }
    for (int64_t i = block * BLOCK; i < block * BLOCK + block_size(s, block); i++) {
        if (s->weights[i] > 0) {
            before += s->weights[i];
            token = i;
            if (target < before)
                break;
        }
    }
    return (int32_t)token;
}

static fg_status choose(fg_sampler *s, int64_t row, const float *logits, int32_t *token, float *log_probability)
{
    const fg_sampling *o = &s->options;
    const fg_activation logarithm = {.function = FG_LOG};
    float log_total = 0, came = 0; /* of the logits as they came: the largest, and the logarithm of what all weigh */
    const float *given = o->probabilities ? s->weights : logits;
    if (o->probabilities)
        s->kernels->common->activate(&logarithm, s->tokens, logits, s->weights);
    for (int64_t i = 0; i < s->tokens; i++)
        s->scores[i] = given[i] + 0.0f; /* no -0 */
    if (o->log_probability) {
        came = largest(s->scores, s->tokens);
        if (!(came > -INFINITY))
            return FG_BAD_LOGITS;
        weigh(s, came, 1);
        log_total = log_of(s, (float)sum_blocks(s));
    }
    if (s->seen)
        penalise(s, row);
    for (int64_t i = 0; i < s->n_banned; i++)
        s->scores[s->banned[i]] = -INFINITY;
    const float most = largest(s->scores, s->tokens);
    if (!(most > -INFINITY))
        return FG_BAD_LOGITS;
    if (o->temperature > 0) {
        weigh(s, most, o->temperature);
        if (s->order)
            keep_top(s);
        const double total = sum_blocks(s);
        *token = token_at(s, draw_uniform(&s->uniforms[row]) * total);
    } else {
        *token = first_equal(s->scores, s->tokens, most);
    }
    if (o->log_probability) {
        const float score = o->probabilities ? log_of(s, logits[*token]) : logits[*token];
        *log_probability = score - came - log_total;
    }
    if (s->seen)
        fg_sampler_see(s, row, *token);
    return FG_OK;
}

fg_status fg_sample(fg_sampler *sampler, int64_t row, const float *logits, int32_t *token, float *log_probability)
{
    const unsigned mode = fg_float_enter();
    const fg_status status = choose(sampler, row, logits, token, log_probability);
    fg_float_restore(mode);
    return status;
}

void fg_sampler_see(fg_sampler *sampler, int64_t row, int32_t token)
{
    if (sampler->seen)
        sampler->seen[row * sampler->tokens + token] = 1;
}

/* ---- making one -------------------------------------------------------------------------------------------------- */

static fg_status allocate(fg_sampler *s, int64_t rows)
{
    const fg_sampling *o = &s->options;
    const size_t tokens = (size_t)s->tokens;
    s->uniforms = calloc((size_t)rows, sizeof *s->uniforms);
    s->scores = calloc(tokens, sizeof *s->scores);
    s->weights = calloc(tokens, sizeof *s->weights);
    s->sums = calloc((size_t)count_blocks(s->tokens), sizeof *s->sums);
    s->banned = calloc((size_t)s->n_banned + 1, sizeof *s->banned);
    const bool penalises = o->repetition_penalty != 1, cuts = o->top_k || o->top_p < 1;
    if (penalises)
        s->seen = calloc((size_t)rows, tokens);
    if (cuts)
        s->order = calloc(tokens, sizeof *s->order);
    const bool lacks = !s->uniforms || !s->scores || !s->weights || !s->sums || !s->banned;
    return lacks || (penalises && !s->seen) || (cuts && !s->order) ? FG_NO_MEMORY : FG_OK;
}

static bool is_sound(int64_t tokens, int64_t rows, const fg_sampling *o, const int32_t *banned, int64_t n_banned)
{
    for (int64_t i = 0; i < n_banned; i++)
        if (banned[i] < 0 || banned[i] >= tokens)
            return false;
    return tokens > 0 && tokens <= INT32_MAX && rows > 0 && rows <= INT32_MAX && n_banned >= 0 && o->top_k >= 0 &&
           o->temperature >= 0 && o->temperature < INFINITY && o->top_p > 0 && o->top_p <= 1 &&
           o->repetition_penalty > 0 && o->repetition_penalty < INFINITY;
}

fg_status fg_sampler_new(const char *isa, int64_t tokens, int64_t rows, const fg_sampling *options, uint64_t seed,
                         uint64_t row, const int32_t *banned, int64_t n_banned, fg_sampler **sampler)
{
    const fg_kernels *kernels = fg_kernels_find(isa);
    if (!kernels)
        return FG_NO_ISA;
    if (!is_sound(tokens, rows, options, banned, n_banned))
        return FG_BAD_CALL;
    fg_sampler *s = calloc(1, sizeof *s);
    if (!s)
        return FG_NO_MEMORY;
    s->kernels = kernels;
    s->options = *options;
    s->tokens = tokens;
    s->n_banned = n_banned;
    if (allocate(s, rows) != FG_OK) {
        fg_sampler_free(s);
        return FG_NO_MEMORY;
    }
    for (int64_t i = 0; i < n_banned; i++)
        s->banned[i] = banned[i];
    for (int64_t r = 0; r < rows; r++) {
        s->uniforms[r].key[0] = seed;
        s->uniforms[r].key[1] = row + (uint64_t)r;
    }
    *sampler = s;
    return FG_OK;
}

void fg_sampler_free(fg_sampler *sampler)
{
    if (!sampler)
        return;
    free(sampler->banned);
    free(sampler->uniforms);
    free(sampler->seen);
    free(sampler->scores);
    free(sampler->weights);
    free(sampler->order);
    free(sampler->sums);
    free(sampler);
}
