/* Tokens of a few texts through a whole model, one of each text at a time, on a processor with AVX512.

   With so few tokens a model of torch operations spends its time on starting them; here a step, or a run of steps, is one call. Weights
   are float16, everything else is float32. A number depends on nothing but its own row, so neither the other texts nor the number of
   threads change a bit. */

#include "choose.h"
#include "layers.h"

/* x (rows, width) are the embeddings of the new tokens, which stand at `places` of the texts in `slots`; keys and values are extended.
   Writes `logits` (rows, columns), unless they are NULL. Returns 0, or 1 where memory ran out. */
int decode_step(
    float *x, const int64_t *places, const int64_t *slots, const half *matrices, const float *cos, const float *sin, float *keys,
    float *values, float *logits, long rows, long room, long width, long hidden, long layers, long heads, long window, long columns,
    int threads
) {
    Model m = {rows, room, width, hidden, layers, heads, width / heads, window, columns, matrices, cos, sin, keys, values, x, 0, 0, 0, slots, {0}};
    Crew crew = {0};
    int failed = !make_room(&m);
    if (!failed) {
#pragma omp parallel num_threads(threads) firstprivate(m)
        {
            m.me = member(&crew);
            step(&m, places, 0, logits);
        }
    }
    free_room(&m);
    return failed;
}

/* x = the embeddings of the tokens that were written last. */
static void embed(const Model *m, const float *embeddings, const int64_t *tokens, long row_size) {
    SHARE(row, m->rows, &m->me) {
        const float *from = embeddings + tokens[row * row_size] * m->width;
        for (long d = 0; d < m->width; d += LANES) _mm512_storeu_ps(m->x + row * m->width + d, _mm512_loadu_ps(from + d));
    }
}

/* How the tokens of a run are chosen, and where they go: see decode_run. */
typedef struct {
    int64_t *tokens;
    const double *settings, *chances;
    uint8_t *seen;
    float *logits;
    uint64_t *best;
    long size, steps, end;
} Run;

/* Choose the tokens of step `at`. */
static void choose_all(const Model *m, const Run *run, long at) {
    SHARE(row, m->rows, &m->me)
        run->tokens[row * (run->steps + 1) + at + 1] = choose(
            run->logits + row * m->columns, run->size, run->settings + row * SETTINGS, run->seen + row * run->size,
            run->chances[row * run->steps + at], run->best + row * run->size
        );
    meet(&m->me);
}

static int has_ended(const Model *m, const Run *run, long at) {
    for (long row = 0; row < m->rows; row++) {
        int64_t token = run->tokens[row * (run->steps + 1) + at + 1];
        if (token == run->end || token < 0) return 1;
    }
    return 0;
}

/* Write up to `steps` tokens of each text. tokens (rows, steps + 1) holds the last token of each, at `places`, and receives the others;
   -1 stands for logits that are no numbers. The run ends early, after a whole step, with an end of text, such logits, or when *stop is
   not zero; *made is the number of steps. settings (rows, 5) and seen (rows, size) are those of choose.h; chances (rows, steps). Returns 0,
   or 1 where memory ran out. */
int decode_run(
    const float *embeddings, int64_t *tokens, const int64_t *places, const int64_t *slots, const half *matrices, const float *cos,
    const float *sin, float *keys, float *values, const double *settings, uint8_t *seen, const double *chances,
    const volatile int32_t *stop, int64_t *made, long rows, long room, long width, long hidden, long layers, long heads, long window,
    long columns, long size, long steps, long end, int threads
) {
    float *x = malloc(sizeof(float) * rows * width), *logits = malloc(sizeof(float) * rows * columns);
    uint64_t *best = malloc(sizeof(uint64_t) * rows * size);
    Model m = {rows, room, width, hidden, layers, heads, width / heads, window, columns, matrices, cos, sin, keys, values, x, 0, 0, 0, slots, {0}};
    Run run = {tokens, settings, chances, seen, logits, best, size, steps, end};
    Crew crew = {0};
    int failed = !make_room(&m) || !x || !logits || !best, stopped = 0;
    *made = 0;
    if (!failed) {
#pragma omp parallel num_threads(threads) firstprivate(m)
        {
            m.me = member(&crew);
            for (long at = 0; at < steps && !stopped; at++) {
                embed(&m, embeddings, tokens + at, steps + 1);
                step(&m, places, at, logits);
                choose_all(&m, &run, at);
                if (m.me.number == 0) *made = at + 1, stopped = *stop || has_ended(&m, &run, at);
                meet(&m.me);
            }
        }
    }
    free_room(&m);
    free(x), free(logits), free(best);
    return failed;
}
