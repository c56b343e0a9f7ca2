/* Tokens of a few texts through a whole model, one of each text at a time, on a processor with AVX512.

   With so few tokens a model of torch operations spends its time on starting them; here a step, or a run of steps, is one call. Weights
   are float16, everything else is float32. A number depends on nothing but its own row, so neither the other texts nor the number of
   threads change a bit.

   Shapes: `rows` texts, `width` = H K, `hidden` of the feed-forward layer; all are multiples of 32 but `rows`. A matrix of `columns`
   outputs lies in tiles of 32 columns, each (inputs, 32), and carries the factors of the norm before it. */

#include "attend.h"
#include "choose.h"

#include <stdlib.h>

static const float EPS = 1e-5f;

typedef struct {
    long rows, room, width, hidden, layers, heads, dims, places, columns; /* room: rows of the cache */
    const half *matrices;
    const float *cos, *sin; /* (places, K) each */
    float *keys, *values;   /* (layers, room, H, places, K) */
    float *x, *y, *a;       /* (rows, width), what a product makes of it, and what it reads */
    float *scores;          /* (rows, H, places + 16) */
} Model;

/* y (rows, 32 tiles) = `rows` rows of a (rows, inputs) times `tiles` tiles of a matrix. Every sum adds its products in the same order. */
INLINE void multiply_halves(int rows, int tiles, const float *a, long inputs, const half *matrix, float *y, long columns) {
    __m512 sums[ROWS][2 * ROWS] = {0};
    for (long i = 0; i < inputs; i++)
#pragma GCC unroll 8
        for (int tile = 0; tile < tiles; tile++) {
            const half *from = matrix + (tile * inputs + i) * TILE;
            __m512 left = load_half(from), right = load_half(from + LANES);
#pragma GCC unroll 8
            for (int row = 0; row < rows; row++) {
                __m512 both = _mm512_set1_ps(a[row * inputs + i]);
                sums[row][2 * tile] = _mm512_fmadd_ps(both, left, sums[row][2 * tile]);
                sums[row][2 * tile + 1] = _mm512_fmadd_ps(both, right, sums[row][2 * tile + 1]);
            }
        }
#pragma GCC unroll 8
    for (int row = 0; row < rows; row++)
#pragma GCC unroll 16
        for (int part = 0; part < 2 * tiles; part++) _mm512_storeu_ps(y + row * columns + part * LANES, sums[row][part]);
}

/* y (rows, columns) = a (rows, inputs) times a matrix; returns where the next matrix begins. */
static const half *product(const Model *m, long inputs, const half *matrix, long columns, float *y) {
    const float *a = m->a;
    long few = m->rows < 4 ? 4 : 1; /* with few rows, more tiles at once keep the processor busy */
#pragma omp for schedule(static)
    for (long group = 0; group < (columns / TILE + few - 1) / few; group++)
        for (long tile = group * few; tile < (group + 1) * few && tile < columns / TILE;) {
            const half *from = matrix + tile * inputs * TILE;
            float *to = y + tile * TILE;
            long row = 0, wide = few == 4 && tile + 4 <= columns / TILE;
            for (; row + 8 <= m->rows; row += 8) multiply_halves(8, 1, a + row * inputs, inputs, from, to + row * columns, columns);
            if (row + 4 <= m->rows) multiply_halves(4, 1, a + row * inputs, inputs, from, to + row * columns, columns), row += 4;
            for (; row < m->rows; row++)
                if (wide) multiply_halves(1, 4, a + row * inputs, inputs, from, to + row * columns, columns);
                else multiply_halves(1, 1, a + row * inputs, inputs, from, to + row * columns, columns);
            tile += wide ? 4 : 1;
        }
    return matrix + inputs * columns;
}

/* a = x / its root mean square, row by row. */
static void normalise(const Model *m) {
#pragma omp for schedule(static)
    for (long row = 0; row < m->rows; row++) {
        const float *from = m->x + row * m->width;
        __m512 sum = _mm512_setzero_ps();
        for (long d = 0; d < m->width; d += LANES) {
            __m512 value = _mm512_loadu_ps(from + d);
            sum = _mm512_fmadd_ps(value, value, sum);
        }
        __m512 part = _mm512_set1_ps(1 / __builtin_sqrtf(_mm512_reduce_add_ps(sum) / (float)m->width + EPS));
        for (long d = 0; d < m->width; d += LANES)
            _mm512_storeu_ps(m->a + row * m->width + d, _mm512_mul_ps(_mm512_loadu_ps(from + d), part));
    }
}

/* x += y */
static void add(const Model *m) {
#pragma omp for schedule(static)
    for (long row = 0; row < m->rows; row++)
        for (long d = row * m->width; d < (row + 1) * m->width; d += LANES)
            _mm512_storeu_ps(m->x + d, _mm512_add_ps(_mm512_loadu_ps(m->x + d), _mm512_loadu_ps(m->y + d)));
}

/* a = silu(gate) up, which lie side by side in y (Shazeer 2020, arXiv 2002.05202). */
static void gate(const Model *m) {
    __m512 one = _mm512_set1_ps(1.0f), minus = _mm512_set1_ps(-LOG2_E);
#pragma omp for schedule(static)
    for (long row = 0; row < m->rows; row++)
        for (long d = 0; d < m->hidden; d += LANES) {
            const float *from = m->y + 2 * row * m->hidden + d;
            __m512 g = _mm512_loadu_ps(from), up = _mm512_loadu_ps(from + m->hidden);
            __m512 silu = _mm512_div_ps(g, _mm512_add_ps(one, power_of_2(_mm512_mul_ps(g, minus))));
            _mm512_storeu_ps(m->a + row * m->hidden + d, _mm512_mul_ps(silu, up));
        }
}

/* Turn a head's numbers by their place (Su et al. 2021, arXiv 2104.09864). */
static void turn(const Model *m, long place, float *x) {
    long half_way = m->dims / 2;
    const float *cos = m->cos + place * m->dims, *sin = m->sin + place * m->dims;
    for (long d = 0; d < half_way; d++) {
        float first = x[d], second = x[d + half_way];
        x[d] = first * cos[d] - second * sin[d];
        x[d + half_way] = second * cos[d + half_way] + first * sin[d + half_way];
    }
}

/* Queries, keys and values in y (rows, 3, H, K) to what the heads read, a; keys and values join the layer's cache (room, H, places, K). */
static void attention(const Model *m, float *keys, float *values, const int64_t *places, long later) {
#pragma omp for schedule(static)
    for (long at = 0; at < m->rows * m->heads; at++) {
        long row = at / m->heads, place = places[row] + later, of_head = at % m->heads * m->dims, start = at * m->places * m->dims;
        float *q = m->y + 3 * row * m->width + of_head, *k = q + m->width, *v = k + m->width;
        turn(m, place, q), turn(m, place, k);
        for (long d = 0; d < m->dims; d++) keys[start + place * m->dims + d] = k[d], values[start + place * m->dims + d] = v[d];
        attend(m->dims, q, keys + start, values + start, place, m->scores + at * (m->places + LANES), m->a + row * m->width + of_head);
    }
}

/* From the embeddings in x to the logits (rows, columns). The tokens stand `later` places behind `places`. */
static void step(const Model *m, const int64_t *places, long later, float *logits) {
    const half *matrix = m->matrices;
    long of_layer = m->room * m->places * m->width;
    for (long layer = 0; layer < m->layers; layer++) {
        normalise(m);
        matrix = product(m, m->width, matrix, 3 * m->width, m->y);
        attention(m, m->keys + layer * of_layer, m->values + layer * of_layer, places, later);
        matrix = product(m, m->width, matrix, m->width, m->y);
        add(m);
        normalise(m);
        matrix = product(m, m->width, matrix, 2 * m->hidden, m->y);
        gate(m);
        matrix = product(m, m->hidden, matrix, m->width, m->y);
        add(m);
    }
    normalise(m);
    product(m, m->width, matrix, m->columns, logits);
}

/* Memory for what stands between x and the logits. Returns whether there is any. */
static int make_room(Model *m) {
    long most = m->hidden > m->width ? m->hidden : m->width;
    m->y = malloc(sizeof(float) * m->rows * 3 * most);
    m->a = malloc(sizeof(float) * m->rows * most);
    m->scores = malloc(sizeof(float) * m->rows * m->heads * (m->places + LANES));
    return m->y && m->a && m->scores;
}

static void free_room(Model *m) { free(m->y), free(m->a), free(m->scores); }

/* x (rows, width) are the embeddings of the new tokens, which stand at `places`; keys and values are extended. Writes `logits`
   (rows, columns). Returns 0, or 1 where memory ran out. */
int decode_step(
    float *x, const int64_t *places, const half *matrices, const float *cos, const float *sin, float *keys, float *values, float *logits,
    long rows, long room, long width, long hidden, long layers, long heads, long window, long columns, int threads
) {
    Model m = {rows, room, width, hidden, layers, heads, width / heads, window, columns, matrices, cos, sin, keys, values, x, 0, 0, 0};
    int failed = !make_room(&m);
    if (!failed) {
#pragma omp parallel num_threads(threads)
        step(&m, places, 0, logits);
    }
    free_room(&m);
    return failed;
}

/* x = the embeddings of the tokens that were written last. */
static void embed(const Model *m, const float *embeddings, const int64_t *tokens, long row_size) {
#pragma omp for schedule(static)
    for (long row = 0; row < m->rows; row++) {
        const float *from = embeddings + tokens[row * row_size] * m->width;
        for (long d = 0; d < m->width; d += LANES) _mm512_storeu_ps(m->x + row * m->width + d, _mm512_loadu_ps(from + d));
    }
}

/* Write up to `steps` tokens of each text. tokens (rows, steps + 1) holds the last token of each, at `places`, and receives the others;
   -1 stands for logits that are no numbers. The run ends early, after a whole step, with an end of text, such logits, or when *stop is
   not zero; *made is the number of steps. settings (rows, 5) and seen (rows, size) are those of choose.h; chances (rows, steps). Returns 0,
   or 1 where memory ran out. */
int decode_run(
    const float *embeddings, int64_t *tokens, const int64_t *places, const half *matrices, const float *cos, const float *sin, float *keys,
    float *values, const double *settings, uint8_t *seen, const double *chances, const volatile int32_t *stop, int64_t *made, long rows,
    long room, long width, long hidden, long layers, long heads, long window, long columns, long size, long steps, long end, int threads
) {
    Model m = {rows, room, width, hidden, layers, heads, width / heads, window, columns, matrices, cos, sin, keys, values, 0, 0, 0, 0};
    float *logits = malloc(sizeof(float) * rows * columns);
    uint64_t *best = malloc(sizeof(uint64_t) * rows * size);
    m.x = malloc(sizeof(float) * rows * width);
    int failed = !make_room(&m) || !logits || !best || !m.x, ended = 0;
    *made = 0;
    if (!failed) {
#pragma omp parallel num_threads(threads)
        for (long at = 0; at < steps && !ended; at++) {
            embed(&m, embeddings, tokens + at, steps + 1);
            step(&m, places, at, logits);
#pragma omp for schedule(static)
            for (long row = 0; row < rows; row++)
                tokens[row * (steps + 1) + at + 1] = choose(
                    logits + row * columns, size, settings + row * SETTINGS, seen + row * size, chances[row * steps + at], best + row * size
                );
#pragma omp single
            {
                for (long row = 0; row < rows; row++) {
                    int64_t token = tokens[row * (steps + 1) + at + 1];
                    ended |= token == end || token < 0;
                }
                ended |= *stop != 0;
                *made = at + 1;
            }
        }
    }
    free_room(&m);
    free(logits), free(best), free(m.x);
    return failed;
}
