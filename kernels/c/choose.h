/* Choose one token: the person's sampling parameters on the logits of one row, and a draw by inversion, as in engine/sampling.py.

   The settings of a row: temperature, top-k (0: all), top-p, min-p, repetition penalty. `seen` is 1 for the ids of its context; a token
   that is chosen joins them. */

#include "numbers.h"

enum { SETTINGS = 5, HEAP = 4, FEW = 256 };
static const float LEAST = 1e-30f;

/* A logit and its id as one number: larger logits are larger, and of equal ones the first id is. */
INLINE uint64_t key_of(float value, long id) {
    union {
        float number;
        uint32_t bits;
    } both = {value};
    uint32_t ordered = both.bits & 0x80000000u ? ~both.bits : both.bits | 0x80000000u;
    return (uint64_t)ordered << 32 | (0xffffffffu - (uint32_t)id);
}

INLINE long id_of(uint64_t key) { return 0xffffffffu - (uint32_t)key; }

INLINE float value_of(uint64_t key) {
    uint32_t ordered = (uint32_t)(key >> 32);
    union {
        uint32_t bits;
        float number;
    } both = {ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered};
    return both.number;
}

/* Let keys[at] sink in a heap whose smallest key is the first. */
static void sink(uint64_t *keys, long count, long at) {
    uint64_t key = keys[at];
    for (long child; (child = HEAP * at + 1) < count; at = child) {
        for (long other = child + 1; other < child + HEAP && other < count; other++) child = keys[other] < keys[child] ? other : child;
        if (keys[child] >= key) break;
        keys[at] = keys[child];
    }
    keys[at] = key;
}

/* The `count` best of `size` logits, the best one first. */
static void find_best(const float *logits, long size, long count, uint64_t *keys) {
    for (long id = 0; id < count; id++) keys[id] = key_of(logits[id], id);
    for (long at = count / HEAP; at >= 0; at--) sink(keys, count, at);
    __m512 least = _mm512_set1_ps(value_of(keys[0]));
    for (long id = count; id < size; id += LANES) {
        __mmask16 there = lanes_of(size - id);
        __mmask16 better = _mm512_mask_cmp_ps_mask(there, _mm512_maskz_loadu_ps(there, logits + id), least, _CMP_GT_OQ);
        for (; better; better &= better - 1) {
            long found = id + __builtin_ctz(better);
            uint64_t key = key_of(logits[found], found);
            if (key <= keys[0]) continue;
            keys[0] = key;
            sink(keys, count, 0);
        }
        least = _mm512_set1_ps(value_of(keys[0]));
    }
    for (long last = count - 1; last > 0; last--) {
        uint64_t smallest = keys[0];
        keys[0] = keys[last];
        sink(keys, last, 0);
        keys[last] = smallest;
    }
}

/* Values to probabilities without their sum, which is returned. */
static double weigh(float *p, long size, float most, float temperature) {
    double sum = 0;
    __m512 factor = _mm512_set1_ps(LOG2_E / temperature), less = _mm512_set1_ps(most);
    for (long at = 0; at < size; at += LANES) {
        __mmask16 there = lanes_of(size - at);
        __m512 x = _mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(there, p + at), less), factor);
        x = _mm512_maskz_mov_ps(there, power_of_2(_mm512_max_ps(x, _mm512_set1_ps(-1000.0f))));
        _mm512_mask_storeu_ps(p + at, there, x), sum += _mm512_reduce_add_ps(x);
    }
    return sum;
}

/* How many of the best top-p and min-p leave, of a distribution with this sum; *sum becomes theirs. At least one stays. */
static long filtered(const float *p, const uint64_t *best, long count, double top_p, double min_p, double *sum) {
    double before = 0, limit = (top_p > LEAST ? top_p : LEAST) * *sum, least = min_p * p[id_of(best[0])];
    long kept = 0;
    for (; kept < count; before += p[id_of(best[kept++])])
        if ((top_p < 1 && before >= limit) || p[id_of(best[kept])] < least) break;
    *sum = before;
    return kept;
}

/* The first place at which the sum of probabilities is beyond `wanted`; they are those of `best`, or all in order where it is NULL. */
static long drawn(const float *p, const uint64_t *best, long count, double wanted) {
    double reached = 0;
    for (long at = 0; at < count; at++)
        if ((reached += p[best ? id_of(best[at]) : at]) > wanted) return at;
    return count - 1;
}

INLINE int is_finite(const float *logits, long size) {
    __m512 zero = _mm512_setzero_ps(), sum = zero;
    for (long id = 0; id < size; id += LANES)
        sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(lanes_of(size - id), logits + id), zero, sum); /* 0 x infinity and 0 x NaN are NaN */
    return !_mm512_cmp_ps_mask(sum, sum, _CMP_UNORD_Q);
}

static void penalise(float *logits, long size, const uint8_t *seen, float penalty) {
    for (long id = 0; id < size; id++)
        if (seen[id]) logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
}

/* Draw from probabilities (size) whose `count` best ones are known: from these where top-k chose them, else from as many as top-p and min-p
   leave of all. */
static long draw(const float *p, long size, uint64_t *best, long count, int chosen_by_k, const double *settings, double sum, double chance) {
    double top_p = settings[2], min_p = settings[3];
    if (!chosen_by_k && top_p >= 1 && min_p <= 0) return drawn(p, 0, size, chance * sum);
    double all = chosen_by_k ? 0 : sum;
    for (long at = 0; chosen_by_k && at < count; at++) all += p[id_of(best[at])];
    sum = all;
    long kept = filtered(p, best, count, top_p, min_p, &sum);
    if (!chosen_by_k && kept == count && count < size) {
        find_best(p, size, size, best), sum = all;
        kept = filtered(p, best, size, top_p, min_p, &sum);
    }
    return id_of(best[drawn(p, best, kept, chance * sum)]);
}

/* Return an id, or -1 where the logits (size) are no numbers. `chance` is uniform on [0, 1). Changes the logits; `best` (size) is space. */
static int64_t choose(float *logits, long size, const double *settings, uint8_t *seen, double chance, uint64_t *best) {
    if (!is_finite(logits, size)) return -1;
    if (settings[4] != 1) penalise(logits, size, seen, (float)settings[4]);
    long wished = settings[0] == 0 ? 1 : (long)settings[1], count = wished ? wished : FEW, chosen;
    find_best(logits, size, count = count < size ? count : size, best);
    chosen = id_of(best[0]);
    if (settings[0] != 0) {
        double sum = weigh(logits, size, value_of(best[0]), settings[0] > LEAST ? (float)settings[0] : LEAST);
        chosen = draw(logits, size, best, count, wished != 0, settings, sum, chance);
    }
    seen[chosen] = 1;
    return chosen;
}
