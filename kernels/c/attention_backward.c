/* The backward pass of causal self-attention; see rows.h. */

#include "rows.h"

typedef struct {
    bf16 *q, *k, *v, *grad_y;                     /* (padded, K) */
    float *most, *own;                            /* (padded,); own: the output's product with its gradient */
    float *grad_k, *grad_v, *grad_q;              /* (padded, K) twice, (32, K) */
    pair *keys, *values;                          /* transposed */
    pair *paired_q, *paired_k, *paired_grad_y;    /* (padded / 2, K) */
    pair *paired_p, *paired_grad_scores;          /* (16, 32): of 32 queries over 32 keys, in pairs of queries */
    bf16 *grad_scores;                            /* (32, padded) */
    char *end;
} BackwardSpace;

static BackwardSpace backward_space(char *space, const Shape *s) {
    BackwardSpace x;
    long size = s->padded * s->dims;
    x.q = (bf16 *)space, x.k = x.q + size, x.v = x.k + size, x.grad_y = x.v + size;
    x.most = (float *)(x.grad_y + size), x.own = x.most + s->padded;
    x.grad_k = x.own + s->padded, x.grad_v = x.grad_k + size, x.grad_q = x.grad_v + size;
    x.keys = (pair *)(x.grad_q + TILE * s->dims), x.values = x.keys + size / 2;
    x.paired_q = x.values + size / 2, x.paired_k = x.paired_q + size / 2, x.paired_grad_y = x.paired_k + size / 2;
    x.paired_p = x.paired_grad_y + size / 2, x.paired_grad_scores = x.paired_p + TILE * TILE / 2;
    x.grad_scores = (bf16 *)(x.paired_grad_scores + TILE * TILE / 2), x.end = (char *)(x.grad_scores + TILE * s->padded);
    return x;
}

/* The output's gradient times `part`, so that powers of 2 count as probabilities. Returns its product with the output. */
INLINE float take_gradient(const bf16 *y, const bf16 *grad_y, long dims, float part, bf16 *out) {
    __m512 sum = _mm512_setzero_ps();
    for (long d = 0; d < dims; d += LANES) {
        __m512 grad = _mm512_mul_ps(load(grad_y + d), _mm512_set1_ps(part));
        sum = _mm512_fmadd_ps(load(y + d), grad, sum);
        store(out + d, grad);
    }
    return _mm512_reduce_add_ps(sum);
}

static void load_backward(const Shape *s, const bf16 *qkv, const bf16 *y, const bf16 *grad_y, const float *kept, const BackwardSpace *x) {
    memset(x->q, 0, (char *)x->grad_q - (char *)x->q);
    for (long t = 0; t < s->tokens; t++) {
        const bf16 *from = qkv + t * 3 * s->width;
        expect_qkv(s, from), expect(y + (t + AHEAD) * s->width, s->dims), expect(grad_y + (t + AHEAD) * s->width, s->dims);
        take_turned(s, from, t, s->scale * LOG2_E, x->q + t * s->dims);
        take_turned(s, from + s->width, t, 1, x->k + t * s->dims);
        copy(from + 2 * s->width, s->dims, x->v + t * s->dims);
        x->most[t] = kept[2 * t];
        x->own[t] = take_gradient(y + t * s->width, grad_y + t * s->width, s->dims, kept[2 * t + 1], x->grad_y + t * s->dims);
    }
    transpose(x->k, s->padded, s->dims, x->keys), transpose(x->v, s->padded, s->dims, x->values);
    pair_rows(x->q, s->padded, s->dims, x->paired_q), pair_rows(x->k, s->padded, s->dims, x->paired_k);
    pair_rows(x->grad_y, s->padded, s->dims, x->paired_grad_y);
}

/* Of 4 queries over 32 keys: the powers of 2 in place of their scores, and the scores' gradients in place of the probabilities'. */
INLINE void differentiate(const BackwardSpace *x, long query, long n, __m512 (*p)[2], __m512 (*grads)[2]) {
#pragma GCC unroll 4
    for (int row = 0; row < 4; row++) {
        __m512 most = _mm512_set1_ps(x->most[query + row]), own = _mm512_set1_ps(x->own[query + row]);
        uint32_t seen = seen_keys(query + row - n);
        p[row][0] = _mm512_maskz_mov_ps((__mmask16)seen, power_of_2(_mm512_sub_ps(p[row][0], most)));
        p[row][1] = _mm512_maskz_mov_ps((__mmask16)(seen >> 16), power_of_2(_mm512_sub_ps(p[row][1], most)));
        grads[row][0] = _mm512_mul_ps(p[row][0], _mm512_sub_ps(grads[row][0], own));
        grads[row][1] = _mm512_mul_ps(p[row][1], _mm512_sub_ps(grads[row][1], own));
    }
}

/* The powers of 2 of the scores of 32 queries over 32 keys, and the gradients of these scores. */
static void gradients_of_scores(const Shape *s, const BackwardSpace *x, long first, long n) {
    long words = s->dims / 2;
    for (long row = 0; row < TILE; row += 4) {
        __m512 p[4][2] = {0}, grads[4][2] = {0};
        multiply(p, 4, (const pair *)(x->q + (first + row) * s->dims), words, 1, x->keys + n * words, TILE, words);
        multiply(grads, 4, (const pair *)(x->grad_y + (first + row) * s->dims), words, 1, x->values + n * words, TILE, words);
        differentiate(x, first + row, n, p, grads);
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) store_two(x->grad_scores + (row + r) * s->padded + n, grads[r][0], grads[r][1]);
#pragma GCC unroll 4
        for (int part = 0; part < 4; part++) { /* two pairs of queries, two halves of the keys */
            int r = part & 2, half = part & 1;
            long at = (row + r) / 2 * TILE + half * LANES;
            store_in_pairs(x->paired_p + at, p[r][half], p[r + 1][half]);
            store_in_pairs(x->paired_grad_scores + at, grads[r][half], grads[r + 1][half]);
        }
    }
}

/* sums (32 keys, K) += the product of (32 queries, 32 keys), transposed, with (32 queries, K); both in pairs of queries. */
static void add_product(const pair *a, const pair *b, long dims, float *sums) {
    for (long row = 0; row < TILE; row += ROWS)
        for (long d = 0; d < dims; d += TILE) {
            __m512 tile[ROWS][2];
            load_tile(tile, sums + row * dims + d, dims);
            multiply(tile, ROWS, a + row, 1, TILE, b + d, dims, TILE / 2);
            store_tile(tile, sums + row * dims + d, dims);
        }
}

/* Of 32 queries, from the gradients of their scores over the keys up to `end`. */
static void gradients_of_queries(const Shape *s, const BackwardSpace *x, long end) {
    for (long row = 0; row < TILE; row += ROWS)
        for (long d = 0; d < s->dims; d += TILE) {
            __m512 tile[ROWS][2] = {0};
            multiply(tile, ROWS, (const pair *)(x->grad_scores + row * s->padded), s->padded / 2, 1, x->paired_k + d, s->dims, end / 2);
            store_tile(tile, x->grad_q + row * s->dims + d, s->dims);
        }
}

static void backward_head(
    const Shape *s, const bf16 *qkv, const bf16 *y, const bf16 *grad_y, const float *kept, bf16 *grad_qkv, char *space
) {
    BackwardSpace x = backward_space(space, s);
    load_backward(s, qkv, y, grad_y, kept, &x);
    for (long first = 0; first < s->padded; first += TILE) {
        for (long n = 0; n <= first; n += TILE) {
            gradients_of_scores(s, &x, first, n);
            add_product(x.paired_grad_scores, x.paired_q + first / 2 * s->dims, s->dims, x.grad_k + n * s->dims);
            add_product(x.paired_p, x.paired_grad_y + first / 2 * s->dims, s->dims, x.grad_v + n * s->dims);
        }
        gradients_of_queries(s, &x, first + TILE);
        for (long t = first; t < first + TILE && t < s->tokens; t++)
            put_turned_back(s, x.grad_q + (t - first) * s->dims, t, s->scale, grad_qkv + t * 3 * s->width);
    }
    for (long t = 0; t < s->tokens; t++) {
        bf16 *to = grad_qkv + (3 * t + 1) * s->width;
        put_turned_back(s, x.grad_k + t * s->dims, t, LN_2, to);
        for (long d = 0; d < s->dims; d += LANES) store(to + s->width + d, _mm512_loadu_ps(x.grad_v + t * s->dims + d));
    }
}

/* The gradient of qkv from the same, y, y's gradient and what `forward` kept. Returns 0, or 1 where memory ran out. */
int attention_backward(
    const bf16 *qkv, const float *cos, const float *sin, const bf16 *y, const bf16 *grad_y, const float *kept, bf16 *grad_qkv, long batch,
    long tokens, long heads, long dims, int threads
) {
    Shape s = shape(tokens, heads, dims, cos, sin);
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        char *space = allocate(backward_space(NULL, &s).end);
        failed |= !space;
#pragma omp for schedule(dynamic)
        for (long head = 0; head < batch * heads; head++) {
            long row = head / heads * tokens * s.width, of_row = head % heads * dims, at = row + of_row;
            if (space)
                backward_head(&s, qkv + 3 * row + of_row, y + at, grad_y + at, kept + 2 * head * tokens, grad_qkv + 3 * row + of_row, space);
        }
        free(space);
    }
    return failed;
}
