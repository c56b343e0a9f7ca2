/* A whole model on a few tokens, a row each: from their embeddings to the logits.

   Shapes: `rows` tokens, `width` = H K, `hidden` of the feed-forward layer; all are multiples of 32 but `rows`. A matrix of `columns`
   outputs lies in tiles of 32 columns, each (inputs, 32), and carries the factors of the norm before it.

   Threads share out each piece of work in equal parts and meet behind it (crew.h). */

#include "attend.h"
#include "crew.h"

#include <stdlib.h>

static const float EPS = 1e-5f;

typedef struct {
    long rows, room, width, hidden, layers, heads, dims, places, columns; /* room: rows of the cache */
    const half *matrices;
    const float *cos, *sin; /* (places, K) each */
    float *keys, *values;   /* (layers, room, H, places, K) */
    float *x, *y, *a;       /* (rows, width), what a product makes of it, and what it reads */
    float *scores;          /* (rows, H, places + 16) */
    const int64_t *slots;   /* (rows,), the row of the cache that each token belongs to */
    Member me;
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
    SHARE(group, (columns / TILE + few - 1) / few, &m->me)
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
    meet(&m->me);
    return matrix + inputs * columns;
}

/* a = x / its root mean square, row by row, as x was added to: nobody needs to be met in between. */
static void normalise(const Model *m) {
    SHARE(row, m->rows, &m->me) {
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
    meet(&m->me);
}

/* x += y */
static void add(const Model *m) {
    SHARE(row, m->rows, &m->me)
        for (long d = row * m->width; d < (row + 1) * m->width; d += LANES)
            _mm512_storeu_ps(m->x + d, _mm512_add_ps(_mm512_loadu_ps(m->x + d), _mm512_loadu_ps(m->y + d)));
}

/* a = silu(gate) up, which lie side by side in y (Shazeer 2020, arXiv 2002.05202). */
static void gate(const Model *m) {
    __m512 one = _mm512_set1_ps(1.0f), minus = _mm512_set1_ps(-LOG2_E);
    SHARE(row, m->rows, &m->me)
        for (long d = 0; d < m->hidden; d += LANES) {
            const float *from = m->y + 2 * row * m->hidden + d;
            __m512 g = _mm512_loadu_ps(from), up = _mm512_loadu_ps(from + m->hidden);
            __m512 silu = _mm512_div_ps(g, _mm512_add_ps(one, power_of_2(_mm512_mul_ps(g, minus))));
            _mm512_storeu_ps(m->a + row * m->hidden + d, _mm512_mul_ps(silu, up));
        }
    meet(&m->me);
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

/* Queries, keys and values in y (rows, 3, H, K) to what the heads read, a; keys and values join the layer's cache (room, H, places, K)
   before any token reads them, so tokens of one text may be computed together. */
static void attention(const Model *m, float *keys, float *values, const int64_t *places, long later) {
    long dims = m->dims, stride = m->places * dims;
    SHARE(at, m->rows * m->heads, &m->me) {
        long row = at / m->heads, head = at % m->heads, place = places[row] + later;
        float *q = m->y + 3 * row * m->width + head * dims, *k = q + m->width, *v = k + m->width;
        long start = (m->slots[row] * m->heads + head) * stride + place * dims;
        turn(m, place, q), turn(m, place, k);
        for (long d = 0; d < dims; d++) keys[start + d] = k[d], values[start + d] = v[d];
    }
    meet(&m->me);
    SHARE(at, m->rows * m->heads, &m->me) {
        long row = at / m->heads, head = at % m->heads, start = (m->slots[row] * m->heads + head) * stride;
        const float *q = m->y + 3 * row * m->width + head * dims;
        float *p = m->scores + at * (m->places + LANES), *out = m->a + row * m->width + head * dims;
        attend(dims, q, keys + start, values + start, places[row] + later, p, out);
    }
    meet(&m->me);
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
    if (logits) product(m, m->width, matrix, m->columns, logits);
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
