/* replays.c: a stress test of replays and their thread pool, without Python. `make tsan` runs it under
 * ThreadSanitizer, and under AddressSanitizer for leaks.
 *
 * The function is (w * x + b)**2. All threads share its parameters w and b. Each thread runs batches of changing
 * sizes, each on several threads of the pool, in turn with a replay of its own and with one that all threads use. All
 * numbers are whole, so sums must be exact. With the argument "fork", the main thread forks during the runs, and each
 * child must be able to run a batch.
 */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "testing.h"

enum { THREADS = 4, ROUNDS = 60, MOST = 1500 };
static const int ALL_PASSES = PG_PASS_FOLD | PG_PASS_SHARE | PG_PASS_FUSE | PG_PASS_HOIST;

static pg_id w, b;
static pg_tape_cell *tape;
static pg_replay_cell *common;
static double xs[MOST];

static pg_tape_cell *record(void)
{
    pg_mode *trace = pg_mode_trace(sizeof *trace);
    REQUIRE(trace);
    const pg_id x = pg_leaf(1.0, NULL), wx = pg_binary(op_named("mul"), w, x, NULL),
                sum = pg_binary(op_named("add"), wx, b, NULL);
    const pg_id y = pg_unary(op_named("square"), sum, NULL);
    pg_tape_cell *made = pg_cell_new(sizeof *made);
    pg_id culprit;
    REQUIRE(made && pg_tape_new(1, &x, 1, &y, trace->moment, made, &culprit) == PG_OK);
    REQUIRE(pg_tape_optimize(made->tape, ALL_PASSES) == PG_OK);
    pg_mode_free(trace);
    pg_release(x), pg_release(wx), pg_release(sum), pg_release(y);
    return made;
}

/* Run the first n samples forward and backward, and check all results but the gradients of w and b. */
static void run(pg_replay *replay, size_t n)
{
    static const double one = 1.0;
    double *outputs = malloc(n * sizeof *outputs), *slopes = malloc(n * sizeof *slopes), sum = 0.0, expected = 0.0;
    const pg_column column = {xs, 1}, seed = {&one, 0};
    const pg_target target = {slopes, 1};
    pg_batch batch = {.samples = n,
                      .columns = &column,
                      .seeds = &seed,
                      .outputs = outputs,
                      .sums = &sum,
                      .input_grads = &target,
                      .divisor = 1.0,
                      .threads = 3};
    REQUIRE(pg_replay_run(replay, &batch) == PG_OK);
    for (size_t i = 0; i < n; i++) {
        const double error = 2.0 * xs[i] + 3.0; /* w and b */
        REQUIRE(outputs[i] == error * error && slopes[i] == 2.0 * error * 2.0);
        expected += error * error;
    }
    REQUIRE(sum == expected);
    free(outputs);
    free(slopes);
}

static size_t size_of(int round)
{
    return 1 + (size_t)(round * 397) % MOST;
}

static void *work(void *unused)
{
    pg_replay_cell *own = pg_cell_new(sizeof *own);
    REQUIRE(own && pg_replay_new(tape->tape, ALL_PASSES, own) == PG_OK);
    for (int round = 0; round < ROUNDS; round++)
        run((round % 2 ? own : common)->replay, size_of(round));
    pg_replay_cell_free(own);
    return unused;
}

static void fork_meanwhile(void)
{
    for (int i = 0; i < 20; i++) {
        const pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            run(common->replay, 1000);
            _exit(0);
        }
        int status;
        REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

static void check_gradients(void)
{
    double of_w = 0.0, of_b = 0.0;
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < size_of(round); i++) {
            of_w += 2.0 * (2.0 * xs[i] + 3.0) * xs[i];
            of_b += 2.0 * (2.0 * xs[i] + 3.0);
        }
    REQUIRE(pg_grad(w) == THREADS * of_w);
    REQUIRE(pg_grad(b) == THREADS * of_b);
}

int main(int argc, char **argv)
{
    REQUIRE(pg_init() == PG_OK);
    w = pg_leaf(2.0, NULL), b = pg_leaf(3.0, NULL);
    for (int i = 0; i < MOST; i++)
        xs[i] = i % 17 - 8;
    tape = record();
    common = pg_cell_new(sizeof *common);
    REQUIRE(common && pg_replay_new(tape->tape, ALL_PASSES, common) == PG_OK);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, work, NULL) == 0);
    if (argc > 1 && strcmp(argv[1], "fork") == 0)
        fork_meanwhile();
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    check_gradients();
    pg_tape_cell_free(tape);
    pg_replay_cell_free(common); /* the replay owns the tape too */
    REQUIRE(!pg_check());
    pg_release(w), pg_release(b);
    REQUIRE(pg_live_nodes() == 0);
    puts("replays: every sum is exact, nothing is left");
    return 0;
}
