/* modes.c: modes: how they begin and end; questions about them (modes.h). */
#include "engine/modes.h"

#include "engine/moment.h"
#include "mem.h"

#include <string.h>

/* Whose mode is it? Addresses and numbers of the system are given again to later threads; these numbers are not. */
static _Thread_local uint64_t own_number;
static _Atomic uint64_t numbers;

uint64_t pg_number_of_thread(void)
{
    if (own_number == 0)
        own_number = ++numbers;
    return own_number;
}

uint64_t pg_own_number(void)
{
    return pg_the_arena->number_of_thread();
}

/* --- beginning and ending --- */

static void count(pg_open_modes *open, int kind, uint32_t change)
{
    __atomic_store_n(&open->of[kind], open->of[kind] + change, __ATOMIC_RELAXED); /* see pg_is_anomaly_detected() */
    open->unusual = open->of[PG_MODE_NO_GRAD] + open->of[PG_MODE_ANOMALY];
}

static bool begin(pg_arena *arena, pg_mode *mode, int kind)
{
    if (kind == PG_MODE_TRACE && !pg_begin_trace(arena))
        return false;
    *mode = (pg_mode){.kind = kind,
                      .moment = arena->next_start++,
                      .thread = arena->number_of_thread(),
                      .block = arena->current->start};
    mode->older = arena->modes;
    if (mode->older)
        mode->older->newer = mode;
    arena->modes = mode;
    count(&arena->open, kind, 1);
    return true;
}

static void end(pg_arena *arena, pg_mode *mode)
{
    if (mode->kind == 0)
        return;
    *(mode->newer ? &mode->newer->older : &arena->modes) = mode->older;
    if (mode->older)
        mode->older->newer = mode->newer;
    count(&arena->open, mode->kind, (uint32_t)-1);
    arena->open.calls -= mode->xs != NULL;
    pg_free(mode->xs);
    if (mode->kind == PG_MODE_TRACE)
        pg_end_trace(arena);
    mode->kind = 0;
}

pg_status pg_mode_begin(pg_mode *mode, int kind)
{
    pg_arena *arena = pg_lock();
    const bool begun = begin(arena, mode, kind);
    pg_unlock(arena);
    return begun ? PG_OK : PG_NO_MEMORY;
}

void pg_mode_free(void *memory)
{
    pg_arena *arena = pg_lock();
    end(arena, memory);
    pg_unlock(arena);
    pg_free(memory);
}

pg_status pg_mode_arguments(pg_mode *mode, uint32_t count, const pg_id *xs)
{
    pg_id *copy = pg_zeroed((count + 1) * sizeof *copy);
    if (!copy)
        return PG_NO_MEMORY;
    memcpy(copy, xs, count * sizeof *copy);
    pg_arena *arena = pg_lock();
    mode->xs = copy;
    mode->count = count;
    arena->open.calls++;
    pg_unlock(arena);
    return PG_OK;
}

static void *new_begun(size_t bytes, int kind)
{
    pg_mode *mode = pg_cell_new(bytes);
    if (mode && pg_mode_begin(mode, kind) != PG_OK) {
        pg_free(mode);
        mode = NULL;
    }
    return mode;
}

void *pg_mode_no_grad(size_t bytes)
{
    return new_begun(bytes, PG_MODE_NO_GRAD);
}

void *pg_mode_grad(size_t bytes)
{
    return new_begun(bytes, PG_MODE_GRAD);
}

void *pg_mode_recording(size_t bytes)
{
    return new_begun(bytes, PG_MODE_RECORDING);
}

void *pg_mode_nested(size_t bytes)
{
    return new_begun(bytes, PG_MODE_NESTED);
}

void *pg_mode_quiet(size_t bytes)
{
    return new_begun(bytes, PG_MODE_QUIET);
}

void *pg_mode_trace(size_t bytes)
{
    return new_begun(bytes, PG_MODE_TRACE);
}

void *pg_mode_call(size_t bytes)
{
    return new_begun(bytes, PG_MODE_CALL);
}

void pg_modes_after_fork(pg_arena *arena)
{
    const uint64_t own = arena->number_of_thread();
    for (pg_mode *mode = arena->modes, *older; mode; mode = older) {
        older = mode->older;
        if (mode->thread != own)
            end(arena, mode);
    }
}

/* --- questions --- */

/* The newest mode of this thread that is of kind a or b; NULL: there is none. */
static const pg_mode *newest(const pg_arena *arena, int a, int b)
{
    if (arena->open.of[a] + arena->open.of[b] == 0)
        return NULL;
    const uint64_t own = arena->number_of_thread();
    const pg_mode *mode = arena->modes;
    while (mode && (mode->thread != own || (mode->kind != a && mode->kind != b)))
        mode = mode->older;
    return mode;
}

bool pg_thread_has_no_grad(const pg_arena *arena)
{
    const pg_mode *mode = newest(arena, PG_MODE_NO_GRAD, PG_MODE_GRAD);
    return mode && mode->kind == PG_MODE_NO_GRAD;
}

bool pg_thread_is_quiet(const pg_arena *arena)
{
    return newest(arena, PG_MODE_QUIET, PG_MODE_QUIET) != NULL;
}

bool pg_thread_records(const pg_arena *arena)
{
    return newest(arena, PG_MODE_RECORDING, PG_MODE_RECORDING) != NULL;
}

int pg_is_grad_enabled(void)
{
    pg_arena *arena = pg_lock();
    const bool enabled = !pg_thread_has_no_grad(arena);
    pg_unlock(arena);
    return enabled;
}

pg_moment pg_mode_of(int kind)
{
    pg_arena *arena = pg_lock();
    const pg_mode *mode = newest(arena, kind, kind);
    const pg_moment moment = mode ? mode->moment : 0;
    pg_unlock(arena);
    return moment;
}

const pg_open_modes *pg_modes_open(void)
{
    return &pg_the_arena->open;
}

const char *pg_check_modes(const pg_arena *arena)
{
    pg_open_modes found = {0};
    for (const pg_mode *mode = arena->modes; mode; mode = mode->older) {
        if (mode->kind <= 0 || mode->kind >= PG_MODE_KINDS || (mode->older && mode->older->newer != mode))
            return "a mode is broken";
        count(&found, mode->kind, 1);
        found.calls += mode->xs != NULL;
    }
    for (int kind = 0; kind < PG_MODE_KINDS; kind++)
        if (found.of[kind] != arena->open.of[kind])
            return "the count of modes is wrong";
    if (found.calls != arena->open.calls)
        return "the count of calls is wrong";
    return found.unusual == arena->open.unusual ? NULL : "the count of unusual modes is wrong";
}
