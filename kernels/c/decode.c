/* One token of each of a few texts through a whole model, on a processor with AVX512-BF16.

   With so few tokens a model of torch operations spends its time on starting them; here a step is one call. Products are of bfloat16,
   everything else is float32. A number depends on nothing but its own row, so neither the other texts nor the number of threads change
   a bit.

   Shapes: `rows` texts, `width` = H K, `hidden` of the feed-forward layer; all are multiples of 32 but `rows`. A matrix of `columns`
   outputs lies in tiles of 32 columns, each (inputs / 2, 32) pairs of inputs, and carries the factors of the norm before it. */

#include "numbers.h"

#include <stdlib.h>

static const float EPS = 1e-5f;

typedef struct {
    long rows, padded, width, hidden, heads, dims, places; /* padded: rows, to a multiple of ROWS */
    const float *cos, *sin;                                /* (places, K) each, or NULL */
} Model;

typedef struct {
    float *x, *y; /* (rows, width), and what a product makes of it */
    bf16 *a;      /* what a product reads */
} Space;

/* y (padded, columns) = a (padded, inputs) times a matrix; returns where the next matrix begins. */
static const pair *product(const Model *m, const bf16 *a, long inputs, const pair *matrix, long columns, float *y) {
    long steps = inputs / 2;
#pragma omp for schedule(static)
    for (long tile = 0; tile < columns / TILE; tile++)
        for (long row = 0; row < m->padded; row += ROWS) {
            __m512 sums[ROWS][2] = {0};
            multiply(sums, ROWS, (const pair *)a + row * steps, steps, 1, matrix + tile * steps * TILE, TILE, steps);
            store_tile(sums, y + row * columns + tile * TILE, columns);
        }
    return matrix + steps * columns;
}

/* a = x / its root mean square, row by row. */
static void normalise(const Model *m, const float *x, bf16 *a) {
#pragma omp for schedule(static)
    for (long row = 0; row < m->rows; row++) {
        const float *from = x + row * m->width;
        __m512 sum = _mm512_setzero_ps();
        for (long d = 0; d < m->width; d += LANES) {
            __m512 value = _mm512_loadu_ps(from + d);
            sum = _mm512_fmadd_ps(value, value, sum);
        }
        __m512 part = _mm512_set1_ps(1 / __builtin_sqrtf(_mm512_reduce_add_ps(sum) / (float)m->width + EPS));
        for (long d = 0; d < m->width; d += LANES) store(a + row * m->width + d, _mm512_mul_ps(_mm512_loadu_ps(from + d), part));
    }
}

static void add(const Model *m, const float *y, float *x) {
#pragma omp for schedule(static)
    for (long row = 0; row < m->rows; row++)
        for (long d = row * m->width; d < (row + 1) * m->width; d += LANES)
            _mm512_storeu_ps(x + d, _mm512_add_ps(_mm512_loadu_ps(x + d), _mm512_loadu_ps(y + d)));
}

/* a = silu(gate) up, which lie side by side in y (Shazeer 2020, arXiv 2002.05202). */
static void gate(const Model *m, const float *y, bf16 *a) {
    __m512 one = _mm512_set1_ps(1.0f), minus = _mm512_set1_ps(-LOG2_E);
#pragma omp for schedule(static)
    for (long row = 0; row < m->rows; row++)
        for (long d = 0; d < m->hidden; d += LANES) {
            __m512 g = _mm512_loadu_ps(y + 2 * row * m->hidden + d), up = _mm512_loadu_ps(y + (2 * row + 1) * m->hidden + d);
            __m512 silu = _mm512_div_ps(g, _mm512_add_ps(one, power_of_2(_mm512_mul_ps(g, minus))));
            store(a + row * m->hidden + d, _mm512_mul_ps(silu, up));
        }
}

/* Turn a head's numbers by their place (Su et al. 2021, arXiv 2104.09864). */
static void turn(const Model *m, long place, float *x) {
    long half = m->dims / 2;
    const float *cos = m->cos + place * m->dims, *sin = m->sin + place * m->dims;
    for (long d = 0; d < half; d++) {
        float first = x[d], second = x[d + half];
        x[d] = first * cos[d] - second * sin[d];
        x[d + half] = second * cos[d + half] + first * sin[d + half];
    }
}

INLINE float scored(const float *q, const float *k, long dims) {
    __m512 sum = _mm512_setzero_ps();
    for (long d = 0; d < dims; d += LANES) sum = _mm512_fmadd_ps(_mm512_loadu_ps(q + d), _mm512_loadu_ps(k + d), sum);
    return _mm512_reduce_add_ps(sum);
}

/* What a head reads of the places up to `place`: softmax(q k' / sqrt(K)) v. `p` holds the scores and has room for 16 more. */
static void attend(const Model *m, const float *q, const float *keys, const float *values, long place, float *p, bf16 *out) {
    float scale = LOG2_E / __builtin_sqrtf((float)m->dims), most = -3e38f;
    for (long s = 0; s <= place; s++) {
        p[s] = scale * scored(q, keys + s * m->dims, m->dims);
        most = p[s] > most ? p[s] : most;
    }
    for (long s = place + 1; s <= place + LANES; s++) p[s] = -3e38f;
    __m512 sum = _mm512_setzero_ps(), less = _mm512_set1_ps(most);
    for (long s = 0; s <= place; s += LANES) {
        __m512 power = power_of_2(_mm512_max_ps(_mm512_sub_ps(_mm512_loadu_ps(p + s), less), _mm512_set1_ps(-126.0f)));
        power = _mm512_maskz_mov_ps(place - s >= LANES - 1 ? 0xffff : (__mmask16)((2u << (place - s)) - 1), power);
        _mm512_storeu_ps(p + s, power), sum = _mm512_add_ps(sum, power);
    }
    __m512 part = _mm512_set1_ps(1 / _mm512_reduce_add_ps(sum));
    for (long d = 0; d < m->dims; d += LANES) {
        __m512 read = _mm512_setzero_ps();
        for (long s = 0; s <= place; s++) read = _mm512_fmadd_ps(_mm512_set1_ps(p[s]), _mm512_loadu_ps(values + s * m->dims + d), read);
        store(out + d, _mm512_mul_ps(read, part));
    }
}

/* Queries, keys and values in y (rows, 3, H, K) to what the heads read, a; keys and values join the layer's cache (rows, H, places, K). */
static void attention(const Model *m, float *y, float *keys, float *values, const int64_t *places, float *p, bf16 *a) {
#pragma omp for schedule(static)
    for (long at = 0; at < m->rows * m->heads; at++) {
        long row = at / m->heads, place = places[row], of_head = at % m->heads * m->dims, start = at * m->places * m->dims;
        float *q = y + 3 * row * m->width + of_head, *k = q + m->width, *v = k + m->width;
        if (m->cos) turn(m, place, q), turn(m, place, k);
        for (long d = 0; d < m->dims; d++) keys[start + place * m->dims + d] = k[d], values[start + place * m->dims + d] = v[d];
        attend(m, q, keys + start, values + start, place, p + at * (m->places + LANES), a + row * m->width + of_head);
    }
}

static void step(
    const Model *m, const Space *space, const pair *matrix, float *keys, float *values, float *logits, const int64_t *places, float *p,
    long layers, long columns
) {
    long of_layer = m->rows * m->places * m->width;
    for (long layer = 0; layer < layers; layer++, keys += of_layer, values += of_layer) {
        normalise(m, space->x, space->a);
        matrix = product(m, space->a, m->width, matrix, 3 * m->width, space->y);
        attention(m, space->y, keys, values, places, p, space->a);
        matrix = product(m, space->a, m->width, matrix, m->width, space->y);
        add(m, space->y, space->x);
        normalise(m, space->x, space->a);
        matrix = product(m, space->a, m->width, matrix, 2 * m->hidden, space->y);
        gate(m, space->y, space->a);
        matrix = product(m, space->a, m->hidden, matrix, m->width, space->y);
        add(m, space->y, space->x);
    }
    normalise(m, space->x, space->a);
    product(m, space->a, m->width, matrix, columns, logits);
}

/* x (rows, width) are the embeddings of the new tokens, `keys` and `values` the caches (layers, rows, H, places, K). Writes `logits`
   (padded, columns). Returns 0, or 1 where memory ran out. */
int decode_step(
    float *x, const int64_t *places, const pair *matrices, const float *cos, const float *sin, float *keys, float *values, float *logits,
    long rows, long width, long hidden, long layers, long heads, long window, long columns, int threads
) {
    long padded = (rows + ROWS - 1) / ROWS * ROWS, most = hidden > width ? hidden : width;
    Model m = {rows, padded, width, hidden, heads, width / heads, window, cos, sin};
    Space space = {x, malloc(sizeof(float) * padded * 3 * most), calloc(padded * most, sizeof(bf16))};
    float *p = malloc(sizeof(float) * rows * heads * (window + LANES));
    int failed = !space.y || !space.a || !p;
    if (!failed) {
#pragma omp parallel num_threads(threads)
        step(&m, &space, matrices, keys, values, logits, places, p, layers, columns);
    }
    free(space.y), free(space.a), free(p);
    return failed;
}
