/* Numbers in registers of AVX512: sixteen float32, or sixteen pairs of bfloat16.

   One instruction multiplies a pair with another and adds both products to a float32. Rows "in pairs" hold the elements of rows
   2i and 2i + 1 side by side, which is how the right-hand matrix of a product has to lie. */

#pragma once

#include <immintrin.h>
#include <stdint.h>

typedef uint16_t bf16;
typedef uint16_t half;
typedef uint32_t pair;

enum { LANES = 16, TILE = 32, ROWS = 8 };
static const float LOG2_E = 1.44269504f;
#define INLINE static inline __attribute__((always_inline))

/* The first `count` lanes of a register, or all. */
INLINE __mmask16 lanes_of(long count) { return count >= LANES ? 0xffff : (__mmask16)((1u << count) - 1); }

INLINE __m512 load(const bf16 *x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)x)), 16));
}

INLINE __m512 load_half(const half *x) { return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)x)); }

INLINE void store(bf16 *x, __m512 value) { _mm256_storeu_si256((void *)x, (__m256i)_mm512_cvtneps_pbh(value)); }

INLINE void store_two(bf16 *x, __m512 first, __m512 second) {
    _mm512_storeu_si512(x, (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

INLINE __m512i in_pairs(__m256i even, __m256i odd) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
}

INLINE void store_in_pairs(pair *x, __m512 even, __m512 odd) {
    _mm512_storeu_si512(x, in_pairs((__m256i)_mm512_cvtneps_pbh(even), (__m256i)_mm512_cvtneps_pbh(odd)));
}

/* 2 to the power of x, to 3e-6 of itself: the whole part into the exponent, Taylor's series for the rest. */
INLINE __m512 power_of_2(__m512 x) {
    __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), rest = _mm512_sub_ps(x, whole);
    __m512 sum = _mm512_set1_ps(0.001333356f);
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(0.009618129f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(0.055504109f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(0.240226507f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(0.693147181f));
    return _mm512_scalef_ps(_mm512_fmadd_ps(sum, rest, _mm512_set1_ps(1.0f)), whole);
}

/* sums[r][] += the products of row r of `a` with 32 columns of `b`, `steps` pairs each. */
INLINE void multiply(__m512 (*sums)[2], int rows, const pair *a, long a_row, long a_step, const pair *b, long b_step, long steps) {
    for (long step = 0; step < steps; step++, a += a_step, b += b_step) {
        __m512bh left = (__m512bh)_mm512_loadu_si512(b), right = (__m512bh)_mm512_loadu_si512(b + LANES);
#pragma GCC unroll 8
        for (int row = 0; row < rows; row++) {
            __m512bh both = (__m512bh)_mm512_set1_epi32((int)a[row * a_row]);
            sums[row][0] = _mm512_dpbf16_ps(sums[row][0], both, left);
            sums[row][1] = _mm512_dpbf16_ps(sums[row][1], both, right);
        }
    }
}

INLINE void load_tile(__m512 (*tile)[2], const float *x, long row_size) {
#pragma GCC unroll 8
    for (int row = 0; row < ROWS; row++)
        tile[row][0] = _mm512_loadu_ps(x + row * row_size), tile[row][1] = _mm512_loadu_ps(x + row * row_size + LANES);
}

INLINE void store_tile(__m512 (*tile)[2], float *x, long row_size) {
#pragma GCC unroll 8
    for (int row = 0; row < ROWS; row++)
        _mm512_storeu_ps(x + row * row_size, tile[row][0]), _mm512_storeu_ps(x + row * row_size + LANES, tile[row][1]);
}

/* (rows, dims) as (rows / 2, dims) pairs of rows. */
static void pair_rows(const bf16 *x, long rows, long dims, pair *out) {
    for (long row = 0; row < rows; row += 2, x += 2 * dims, out += dims)
        for (long d = 0; d < dims; d += LANES) {
            __m256i even = _mm256_loadu_si256((const void *)(x + d)), odd = _mm256_loadu_si256((const void *)(x + dims + d));
            _mm512_storeu_si512(out + d, in_pairs(even, odd));
        }
}

/* 16 rows of 16 words, as columns. */
INLINE void transpose_words(const pair *x, long x_row, pair *out, long out_row) {
    __m512i a[LANES], b[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) a[i] = _mm512_loadu_si512(x + i * x_row);
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i += 2)
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]), b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
#pragma GCC unroll 4
    for (int i = 0; i < LANES; i += 4)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            a[i + 2 * j] = _mm512_unpacklo_epi64(b[i + j], b[i + j + 2]);
            a[i + 2 * j + 1] = _mm512_unpackhi_epi64(b[i + j], b[i + j + 2]);
        }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* column 4 q + i is the q-th quarters of a[i], a[i + 4], a[i + 8] and a[i + 12] */
        __m512i low = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x44), low_too = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x44);
        __m512i high = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xee), high_too = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xee);
        _mm512_storeu_si512(out + i * out_row, _mm512_shuffle_i32x4(low, low_too, 0x88));
        _mm512_storeu_si512(out + (i + 4) * out_row, _mm512_shuffle_i32x4(low, low_too, 0xdd));
        _mm512_storeu_si512(out + (i + 8) * out_row, _mm512_shuffle_i32x4(high, high_too, 0x88));
        _mm512_storeu_si512(out + (i + 12) * out_row, _mm512_shuffle_i32x4(high, high_too, 0xdd));
    }
}

/* (rows, dims) with rows as columns, in tiles of 32 of them: (rows / 32, dims / 2, 32) pairs. */
static void transpose(const bf16 *x, long rows, long dims, pair *out) {
    long words = dims / 2;
    for (long row = 0; row < rows; row += LANES)
        for (long word = 0; word < words; word += LANES) {
            pair *to = out + row / TILE * TILE * words + word * TILE + row % TILE;
            transpose_words((const pair *)x + row * words + word, words, to, TILE);
        }
}
