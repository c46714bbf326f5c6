/* Q-learning on the cliff, the bare loop: what is left when nothing but the arithmetic remains.
 *
 *   cc -O3 -march=native -o qlearning qlearning.c && ./qlearning 400000000 0
 *
 * 4 x 12 cells, start 36, goal 47; -1 a step, -100 and back to the start on the cliff; alpha 0.5, epsilon 0.1,
 * gamma 0.99. One SplitMix64 draw a step: the upper 32 bits are the coin, the top of the lower 32 the action.
 *
 * Measured before settling on this form: the argmax as a tree of real branches runs twice as fast as the usual
 * loop, which gcc turns into conditional moves. The policy is the same most of the time, so a predicted branch
 * lets the next step begin before the row is compared; a conditional move makes every step wait for it. The
 * maximum for the target is not on that path and stays branchless.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROWS = 4, COLUMNS = 12, STATES = ROWS * COLUMNS, ACTIONS = 4, START = 36, GOAL = 47 };

static int32_t successor[STATES * ACTIONS];
static double reward[STATES * ACTIONS];
static uint8_t terminated[STATES * ACTIONS];
static double q[STATES * ACTIONS];

static void build_cliff(void) {
    static const int down[ACTIONS] = {-1, 0, 1, 0}, right[ACTIONS] = {0, 1, 0, -1};
    for (int state = 0; state < STATES; state++) {
        for (int action = 0; action < ACTIONS; action++) {
            int row = state / COLUMNS + down[action], column = state % COLUMNS + right[action];
            row = row < 0 ? 0 : row >= ROWS ? ROWS - 1 : row;
            column = column < 0 ? 0 : column >= COLUMNS ? COLUMNS - 1 : column;
            int next = row * COLUMNS + column, i = state * ACTIONS + action;
            int fell = START < next && next < GOAL;
            successor[i] = fell ? START : next;
            reward[i] = fell ? -100.0 : -1.0;
            terminated[i] = next == GOAL;
        }
    }
}

static inline uint64_t draw(uint64_t *generator) {
    uint64_t z = (*generator += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

/* The lowest index of the largest of four. */
static inline int32_t argmax(const double *row) {
    if (row[1] > row[0]) {
        if (row[2] > row[1]) return row[3] > row[2] ? 3 : 2;
        return row[3] > row[1] ? 3 : 1;
    }
    if (row[2] > row[0]) return row[3] > row[2] ? 3 : 2;
    return row[3] > row[0] ? 3 : 0;
}

static inline double maximum(const double *row) {
    double a = row[1] > row[0] ? row[1] : row[0], b = row[3] > row[2] ? row[3] : row[2];
    return a > b ? a : b;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv) {
    const long steps = argc > 1 ? atol(argv[1]) : 1000000000L;
    uint64_t generator = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    const double alpha = 0.5, gamma = 0.99;
    const uint32_t epsilon = (uint32_t)(0.1 * 4294967296.0);
    int32_t state = START;
    long episodes = 0;

    build_cliff();
    const double start = now();
    for (long t = 0; t < steps; t++) {
        const uint64_t bits = draw(&generator);
        const int32_t action =
            (uint32_t)(bits >> 32) < epsilon ? (int32_t)((uint32_t)bits >> 30) : argmax(q + state * ACTIONS);
        const int32_t i = state * ACTIONS + action, next = successor[i];
        q[i] += alpha * (reward[i] + (terminated[i] ? 0.0 : gamma) * maximum(q + next * ACTIONS) - q[i]);
        if (terminated[i]) {
            state = START;
            episodes++;
        } else {
            state = next;
        }
    }
    const double seconds = now() - start;

    const double *row = q + START * ACTIONS;
    printf("{\"name\": \"c-qlearning\", \"steps\": %ld, \"seconds\": %.6f, \"steps_per_second\": %.1f, "
           "\"episodes\": %ld, \"q_start\": [%.17g, %.17g, %.17g, %.17g]}\n",
           steps, seconds, (double)steps / seconds, episodes, row[0], row[1], row[2], row[3]);
    return 0;
}
