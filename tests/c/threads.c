/* threads.c: a stress test of the arena from several threads, without Python. `make tsan` runs it under
 * ThreadSanitizer, and under AddressSanitizer for leaks.
 *
 * Each thread builds graphs of its own over a leaf that all threads share, sweeps them, runs orders with closures in
 * pieces, and releases everything. At the end all invariants must hold, no node may be left, and the gradient of the
 * shared leaf must be exact. With the argument "fork", the main thread forks meanwhile, and each child must find an
 * arena that works. (Not under a sanitizer: its allocator does not survive a fork of a process with threads.)
 */
#include <math.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/arena.h"
#include "testing.h"

enum { THREADS = 4, ROUNDS = 300, DEPTH = 200 };

static pg_id shared; /* a leaf: every round of every thread adds DEPTH to its gradient */
static int op_add;

/* 0 + shared + shared + ..., DEPTH additions. All nodes but the last are released: the last one keeps them alive. */
static pg_id build_chain(void)
{
    pg_id root = pg_leaf(0.0, NULL);
    for (int i = 0; i < DEPTH; i++) {
        const pg_id next = pg_binary(op_add, root, shared, NULL);
        pg_release(root);
        root = next;
    }
    return root;
}

static void sweep_round(void)
{
    const pg_id root = build_chain();
    if (pg_backward(root, 1.0) == PG_CLOSURES) { /* another thread has a closure or an order just now */
        pg_order_cell *cell = pg_cell_new(sizeof *cell);
        REQUIRE(cell && pg_order_new(root, 1.0, cell) == PG_OK);
        REQUIRE(pg_order_next(cell->order) == 0);
        pg_order_cell_free(cell);
    }
    pg_release(root);
}

static void order_round(void)
{
    const pg_id root = build_chain();
    const pg_id custom = pg_custom(1.0, 1, &root, NULL, NULL);
    pg_set_closure(custom, 1);
    pg_order_cell *cell = pg_cell_new(sizeof *cell), second;
    REQUIRE(cell && pg_order_new(custom, 1.0, cell) == PG_OK);
    REQUIRE(pg_order_new(custom, 1.0, &second) == PG_BUSY);
    REQUIRE(pg_order_next(cell->order) == custom);
    pg_set_grad(root, pg_grad(root) + 1.0); /* the closure's work */
    REQUIRE(pg_order_next(cell->order) == 0);
    pg_order_cell_free(cell);
    pg_release(root);
    pg_release(custom);
}

static void *work(void *unused)
{
    for (int round = 0; round < ROUNDS; round++)
        round % 3 ? sweep_round() : order_round();
    return unused;
}

static void fork_meanwhile(void)
{
    for (int i = 0; i < 20; i++) {
        const pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            const pg_id a = pg_leaf(3.0, NULL), b = pg_binary(op_named("mul"), a, a, NULL);
            pg_order_cell *cell = pg_cell_new(sizeof *cell);
            REQUIRE(cell && pg_order_new(b, 1.0, cell) == PG_OK && pg_order_next(cell->order) == 0);
            pg_order_cell_free(cell);
            REQUIRE(pg_grad(a) == 6.0);
            _exit(0);
        }
        int status;
        REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

static bool check_says(const char *invariant)
{
    const char *broken = pg_check();
    return broken && strncmp(broken, invariant, strlen(invariant)) == 0;
}

/* A test of pg_check() itself: it must notice frozen leaves, and interior nodes, that break I11 (or I1). */
static void break_what_is_frozen(void)
{
    const pg_id leaf = pg_leaf(1.0, NULL), result = pg_binary(op_add, leaf, leaf, NULL);
    REQUIRE(pg_set_frozen(leaf, 1) == PG_OK && !pg_check());
    pg_arena *arena = pg_lock();
    pg_node *node = pg_node_at(arena, leaf), *sum = pg_node_at(arena, result);
    pg_unlock(arena);
    const pg_id keeper = node->a, wrong[] = {0, leaf, result};
    for (int i = 0; i < 3; i++) {
        node->a = wrong[i];
        REQUIRE(check_says(wrong[i] == result ? "I1:" : "I11:"));
    }
    node->a = keeper;
    node->flags &= (uint8_t)~PG_FLAG_FROZEN; /* now it is an ordinary leaf with an `a` */
    REQUIRE(check_says("I11:"));
    node->flags |= PG_FLAG_FROZEN;
    sum->flags |= PG_FLAG_FROZEN;
    REQUIRE(check_says("I11:"));
    sum->flags &= (uint8_t)~PG_FLAG_FROZEN;
    REQUIRE(!pg_check());
    pg_release(result);
    pg_release(leaf);
}

int main(int argc, char **argv)
{
    REQUIRE(pg_init() == PG_OK);
    op_add = op_named("add");
    break_what_is_frozen();
    shared = pg_leaf(1.0, NULL);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, work, NULL) == 0);
    if (argc > 1 && strcmp(argv[1], "fork") == 0)
        fork_meanwhile();
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    const char *broken = pg_check();
    if (broken)
        fprintf(stderr, "%s\n", broken);
    REQUIRE(!broken);
    REQUIRE(pg_grad(shared) == (double)THREADS * ROUNDS * DEPTH);
    REQUIRE(pg_live_nodes() == 1);
    pg_release(shared);
    puts("threads: all invariants hold, nothing is left");
    return 0;
}
