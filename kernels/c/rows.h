/* Causal self-attention on a processor with AVX512-BF16: what its two passes share.

   Each head stays in the cache from its loading to its output. It is computed as FlashAttention-2 does (Dao 2023, arXiv 2307.08691),
   but without an online softmax, because the scores of a few queries over all keys fit into the cache. Of the forward pass only the
   output and two numbers of each query are kept; the backward pass makes the probabilities again. Products are of bfloat16, sums and
   softmax of float32. A head's result depends on nothing but its own numbers, so the number of threads changes no bit.

   Shapes: B sequences, T tokens, padded to a multiple of 32, H heads of K dimensions, K a multiple of 32. Powers of 2 stand for those
   of e, since the queries carry log2(e) / sqrt(K). */

#include "numbers.h"

#include <stdlib.h>
#include <string.h>

static const float LN_2 = 0.69314718f;
enum { AHEAD = 12 }; /* tokens: rows of a head lie far apart, so the processor has to be told of the next ones */

typedef struct {
    long tokens, padded, dims, width; /* width: H K, the numbers of a token in the output */
    const float *cos, *sin;           /* (T, K) each, or NULL */
    float scale;                      /* 1 / sqrt(K) */
} Shape;

static Shape shape(long tokens, long heads, long dims, const float *cos, const float *sin) {
    return (Shape){tokens, (tokens + TILE - 1) / TILE * TILE, dims, heads * dims, cos, sin, 1 / __builtin_sqrtf((float)dims)};
}

/* Space that ends at `end` if it begins at NULL; NULL where there is none. */
static char *allocate(const char *end) { return aligned_alloc(64, ((uintptr_t)end + 63) / 64 * 64); }

INLINE void expect(const bf16 *x, long dims) {
    for (long d = 0; d < dims; d += TILE) __builtin_prefetch(x + d);
}

INLINE void expect_qkv(const Shape *s, const bf16 *qkv) {
    for (int part = 0; part < 3; part++) expect(qkv + (3 * AHEAD + part) * s->width, s->dims);
}

INLINE void copy(const bf16 *x, long dims, bf16 *out) {
    for (long d = 0; d < dims; d += TILE) _mm512_storeu_si512(out + d, _mm512_loadu_si512(x + d));
}

/* Numbers of a row's first half and those of its second that belong to them, from dimension `d` on, turned by the token's position
   (Su et al. 2021, arXiv 2104.09864), or back as gradients are: by the transpose. */
INLINE void turn(const Shape *s, long token, long d, int back, __m512 *first, __m512 *second) {
    long here = token * s->dims + d, there = here + s->dims / 2;
    __m512 x = *first, y = *second, minus = _mm512_set1_ps(-0.0f);
    __m512 to_first = _mm512_loadu_ps(s->sin + (back ? there : here)), to_second = _mm512_loadu_ps(s->sin + (back ? here : there));
    to_first = back ? to_first : _mm512_xor_ps(to_first, minus), to_second = back ? _mm512_xor_ps(to_second, minus) : to_second;
    *first = _mm512_fmadd_ps(y, to_first, _mm512_mul_ps(x, _mm512_loadu_ps(s->cos + here)));
    *second = _mm512_fmadd_ps(x, to_second, _mm512_mul_ps(y, _mm512_loadu_ps(s->cos + there)));
}

INLINE void take_turned(const Shape *s, const bf16 *x, long token, float scale, bf16 *out) {
    long half = s->dims / 2;
    for (long d = 0; d < half; d += LANES) {
        __m512 first = _mm512_mul_ps(load(x + d), _mm512_set1_ps(scale)), second = _mm512_mul_ps(load(x + half + d), _mm512_set1_ps(scale));
        if (s->cos) turn(s, token, d, 0, &first, &second);
        store(out + d, first), store(out + half + d, second);
    }
}

INLINE void put_turned_back(const Shape *s, const float *x, long token, float scale, bf16 *out) {
    long half = s->dims / 2;
    for (long d = 0; d < half; d += LANES) {
        __m512 first = _mm512_mul_ps(_mm512_loadu_ps(x + d), _mm512_set1_ps(scale));
        __m512 second = _mm512_mul_ps(_mm512_loadu_ps(x + half + d), _mm512_set1_ps(scale));
        if (s->cos) turn(s, token, d, 1, &first, &second);
        store(out + d, first), store(out + half + d, second);
    }
}

/* A bit for each of 32 keys: whether the query sees it that comes `offset` tokens after the first of them. */
INLINE uint32_t seen_keys(long offset) { return offset >= TILE ? 0xffffffffu : (uint32_t)((2ull << offset) - 1); }
