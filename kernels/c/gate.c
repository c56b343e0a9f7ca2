/* The gate of a feed-forward layer, silu(gate) up (Shazeer 2020, arXiv 2002.05202), and its gradients, in one pass over the numbers.
   Each function returns 0. */

#include "numbers.h"

INLINE __m512 sigmoid(__m512 x) {
    __m512 power = power_of_2(_mm512_mul_ps(x, _mm512_set1_ps(-LOG2_E)));
    return _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_add_ps(_mm512_set1_ps(1.0f), power));
}

/* y = silu(gate) up; `count` numbers, a multiple of 16. */
int gate_forward(const bf16 *gate, const bf16 *up, bf16 *y, long count, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long i = 0; i < count; i += LANES) {
        __m512 x = load(gate + i);
        store(y + i, _mm512_mul_ps(_mm512_mul_ps(x, sigmoid(x)), load(up + i)));
    }
    return 0;
}

/* The gradients of gate and up from that of y: silu'(x) = s (1 + x (1 - s)) with s = sigmoid(x). */
int gate_backward(const bf16 *gate, const bf16 *up, const bf16 *grad_y, bf16 *grad_gate, bf16 *grad_up, long count, int threads) {
    __m512 one = _mm512_set1_ps(1.0f);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long i = 0; i < count; i += LANES) {
        __m512 x = load(gate + i), grad = load(grad_y + i), s = sigmoid(x);
        __m512 slope = _mm512_mul_ps(s, _mm512_fmadd_ps(x, _mm512_sub_ps(one, s), one));
        store(grad_up + i, _mm512_mul_ps(grad, _mm512_mul_ps(x, s)));
        store(grad_gate + i, _mm512_mul_ps(_mm512_mul_ps(grad, load(up + i)), slope));
    }
    return 0;
}
