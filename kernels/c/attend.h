/* Attention of one head for one token, in float32: scores of all places, softmax, and the mean of the values.

   Four places at a time, because one alone would wait for its own sum. */

#include "numbers.h"

/* scores = scale q k' of four places. */
INLINE void score_four(const float *q, const float *keys, long dims, float scale, float *scores) {
    __m512 sums[4] = {0};
    for (long d = 0; d < dims; d += LANES) {
        __m512 part = _mm512_loadu_ps(q + d);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) sums[i] = _mm512_fmadd_ps(part, _mm512_loadu_ps(keys + i * dims + d), sums[i]);
    }
    __m512 first = _mm512_add_ps(_mm512_unpacklo_ps(sums[0], sums[1]), _mm512_unpackhi_ps(sums[0], sums[1]));
    __m512 second = _mm512_add_ps(_mm512_unpacklo_ps(sums[2], sums[3]), _mm512_unpackhi_ps(sums[2], sums[3]));
    __m512 both = _mm512_add_ps(_mm512_shuffle_ps(first, second, 0x44), _mm512_shuffle_ps(first, second, 0xee));
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(both), _mm512_extractf32x8_ps(both, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    _mm_storeu_ps(scores, _mm_mul_ps(four, _mm_set1_ps(scale)));
}

/* What a head reads of the places up to `place`: softmax(q k' / sqrt(K)) v. `p` holds the scores and has room for 16 more. */
static void attend(long dims, const float *q, const float *keys, const float *values, long place, float *p, float *out) {
    float scale = LOG2_E / __builtin_sqrtf((float)dims);
    long count = place + 1, four = count & ~3L;
    for (long s = 0; s < four; s += 4) score_four(q, keys + s * dims, dims, scale, p + s);
    for (long s = four; s < count; s++) {
        __m512 sum = _mm512_setzero_ps();
        for (long d = 0; d < dims; d += LANES) sum = _mm512_fmadd_ps(_mm512_loadu_ps(q + d), _mm512_loadu_ps(keys + s * dims + d), sum);
        p[s] = scale * _mm512_reduce_add_ps(sum);
    }
    for (long s = count; s < count + LANES; s++) p[s] = -3e38f;
    __m512 most = _mm512_set1_ps(-3e38f), sum = _mm512_setzero_ps();
    for (long s = 0; s < count; s += LANES) most = _mm512_max_ps(most, _mm512_loadu_ps(p + s));
    most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    for (long s = 0; s < count; s += LANES) {
        __m512 power = power_of_2(_mm512_max_ps(_mm512_sub_ps(_mm512_loadu_ps(p + s), most), _mm512_set1_ps(-126.0f)));
        power = _mm512_maskz_mov_ps(lanes_of(count - s), power);
        _mm512_storeu_ps(p + s, power), sum = _mm512_add_ps(sum, power);
    }
    __m512 part = _mm512_set1_ps(1 / _mm512_reduce_add_ps(sum));
    for (long d = 0; d < dims; d += TILE) {
        __m512 sums[4][2] = {0};
        const float *from = values + d;
        for (long s = 0; s < four; s += 4)
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                __m512 weight = _mm512_set1_ps(p[s + i]);
                const float *value = from + (s + i) * dims;
                sums[i][0] = _mm512_fmadd_ps(weight, _mm512_loadu_ps(value), sums[i][0]);
                sums[i][1] = _mm512_fmadd_ps(weight, _mm512_loadu_ps(value + LANES), sums[i][1]);
            }
        for (long s = four; s < count; s++) {
            __m512 weight = _mm512_set1_ps(p[s]);
            sums[0][0] = _mm512_fmadd_ps(weight, _mm512_loadu_ps(from + s * dims), sums[0][0]);
            sums[0][1] = _mm512_fmadd_ps(weight, _mm512_loadu_ps(from + s * dims + LANES), sums[0][1]);
        }
        for (int side = 0; side < 2; side++) {
            __m512 all = _mm512_add_ps(_mm512_add_ps(sums[0][side], sums[1][side]), _mm512_add_ps(sums[2][side], sums[3][side]));
            _mm512_storeu_ps(out + d + side * LANES, _mm512_mul_ps(all, part));
        }
    }
}
