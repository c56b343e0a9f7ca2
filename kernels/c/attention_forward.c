/* The forward pass of causal self-attention; see rows.h. */

#include "rows.h"

static const float NEVER = -1e30f; /* a score whose power of 2 is 0, although it is a number */

typedef struct {
    bf16 *q, *row_major; /* (padded, K) */
    pair *keys, *values; /* transposed; in pairs */
    float *scores;       /* (8, padded) */
    bf16 *powers;        /* the same, as powers of 2 */
    char *end;
} ForwardSpace;

static ForwardSpace forward_space(char *space, const Shape *s) {
    ForwardSpace x;
    long size = s->padded * s->dims;
    x.q = (bf16 *)space, x.row_major = x.q + size;
    x.keys = (pair *)(x.row_major + size), x.values = x.keys + size / 2;
    x.scores = (float *)(x.values + size / 2);
    x.powers = (bf16 *)(x.scores + ROWS * s->padded), x.end = (char *)(x.powers + ROWS * s->padded);
    return x;
}

static void load_forward(const Shape *s, const bf16 *qkv, const ForwardSpace *x) {
    memset(x->q, 0, (char *)x->keys - (char *)x->q);
    for (long t = 0; t < s->tokens; t++) {
        const bf16 *from = qkv + t * 3 * s->width;
        expect_qkv(s, from);
        take_turned(s, from, t, s->scale * LOG2_E, x->q + t * s->dims);
        take_turned(s, from + s->width, t, 1, x->row_major + t * s->dims);
    }
    transpose(x->row_major, s->padded, s->dims, x->keys);
    for (long t = 0; t < s->tokens; t++) copy(qkv + (3 * t + 2) * s->width, s->dims, x->row_major + t * s->dims);
    pair_rows(x->row_major, s->padded, s->dims, x->values);
}

/* The scores of 8 queries from `first` on over the keys up to `end`, with NEVER for later ones; `most` are the queries' largest. */
INLINE void score(const Shape *s, const ForwardSpace *x, long first, long end, float *most) {
    __m512 largest[ROWS];
#pragma GCC unroll 8
    for (int row = 0; row < ROWS; row++) largest[row] = _mm512_set1_ps(NEVER);
    for (long n = 0; n < end; n += TILE) {
        __m512 tile[ROWS][2] = {0};
        multiply(tile, ROWS, (const pair *)(x->q + first * s->dims), s->dims / 2, 1, x->keys + n * s->dims / 2, TILE, s->dims / 2);
        if (n + TILE == end)
#pragma GCC unroll 8
            for (int row = 0; row < ROWS; row++) {
                uint32_t seen = seen_keys(first + row - n);
                tile[row][0] = _mm512_mask_mov_ps(_mm512_set1_ps(NEVER), (__mmask16)seen, tile[row][0]);
                tile[row][1] = _mm512_mask_mov_ps(_mm512_set1_ps(NEVER), (__mmask16)(seen >> 16), tile[row][1]);
            }
#pragma GCC unroll 8
        for (int row = 0; row < ROWS; row++) largest[row] = _mm512_max_ps(largest[row], _mm512_max_ps(tile[row][0], tile[row][1]));
        store_tile(tile, x->scores + n, s->padded);
    }
#pragma GCC unroll 8
    for (int row = 0; row < ROWS; row++) most[row] = _mm512_reduce_max_ps(largest[row]);
}

/* The powers of 2 of a query's scores less `most`. Returns 1 / their sum, which makes probabilities of them. */
INLINE float softmax(const float *scores, long end, float most, bf16 *powers) {
    __m512 sum = _mm512_setzero_ps(), sum_too = _mm512_setzero_ps(), less = _mm512_set1_ps(most);
    for (long n = 0; n < end; n += TILE) {
        __m512 first = power_of_2(_mm512_sub_ps(_mm512_loadu_ps(scores + n), less));
        __m512 second = power_of_2(_mm512_sub_ps(_mm512_loadu_ps(scores + n + LANES), less));
        sum = _mm512_add_ps(sum, first), sum_too = _mm512_add_ps(sum_too, second);
        store_two(powers + n, first, second);
    }
    return 1 / _mm512_reduce_add_ps(_mm512_add_ps(sum, sum_too));
}

INLINE void put_output(const Shape *s, const ForwardSpace *x, long first, long end, const float *parts, bf16 *y) {
    for (long d = 0; d < s->dims; d += TILE) {
        __m512 tile[ROWS][2] = {0};
        multiply(tile, ROWS, (const pair *)x->powers, s->padded / 2, 1, x->values + d, s->dims, end / 2);
#pragma GCC unroll 8
        for (int row = 0; row < ROWS; row++) {
            __m512 part = _mm512_set1_ps(parts[row]);
            if (first + row < s->tokens)
                store_two(y + (first + row) * s->width + d, _mm512_mul_ps(tile[row][0], part), _mm512_mul_ps(tile[row][1], part));
        }
    }
}

static void forward_head(const Shape *s, const bf16 *qkv, bf16 *y, float *kept, char *space) {
    ForwardSpace x = forward_space(space, s);
    load_forward(s, qkv, &x);
    for (long first = 0; first < s->tokens; first += ROWS) {
        long end = (first / TILE + 1) * TILE;
        float most[ROWS], parts[ROWS];
        score(s, &x, first, end, most);
        for (int row = 0; row < ROWS; row++) {
            parts[row] = softmax(x.scores + row * s->padded, end, most[row], x.powers + row * s->padded);
            if (first + row < s->tokens) kept[2 * (first + row)] = most[row], kept[2 * (first + row) + 1] = parts[row];
        }
        put_output(s, &x, first, end, parts, y);
    }
}

/* qkv (B, T, 3, H, K) to y (B, T, H, K) and kept (B, H, T, 2). Returns 0, or 1 where memory ran out. */
int attention_forward(
    const bf16 *qkv, const float *cos, const float *sin, bf16 *y, float *kept, long batch, long tokens, long heads, long dims, int threads
) {
    Shape s = shape(tokens, heads, dims, cos, sin);
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        char *space = allocate(forward_space(NULL, &s).end);
        failed |= !space;
#pragma omp for schedule(dynamic)
        for (long head = 0; head < batch * heads; head++) {
            long at = head / heads * tokens * s.width, of_row = head % heads * dims;
            if (space) forward_head(&s, qkv + 3 * at + of_row, y + at + of_row, kept + 2 * head * tokens, space);
        }
        free(space);
    }
    return failed;
}
