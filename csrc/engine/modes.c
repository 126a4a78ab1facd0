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
    pg_arena *arena = pg_lock();
    const bool begun = mode && begin(arena, mode, kind);
    pg_unlock(arena);
    if (begun)
        return mode;
    pg_free(mode);
    return NULL;
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

static bool is_scope(const pg_mode *mode)
{
    return mode->kind == PG_MODE_NO_GRAD || mode->kind == PG_MODE_GRAD || mode->kind == PG_MODE_ANOMALY;
}

void pg_modes_after_fork(pg_arena *arena)
{
    const uint64_t own = arena->number_of_thread();
    for (pg_mode *mode = arena->modes, *older; mode; mode = older) {
        older = mode->older;
        if (mode->thread != own && !is_scope(mode))
            end(arena, mode);
    }
}

/* --- scopes --- */

/* The first of this scope and those around it that is open; NULL: there is none. */
static pg_mode *open_scope(pg_mode *scope)
{
    while (scope && scope->kind == 0)
        scope = scope->outer;
    return scope;
}

static pg_mode *scope_of(const pg_scope_cell *cell)
{
    return cell ? cell->mode : NULL;
}

static pg_mode *hold(pg_mode *scope)
{
    if (scope)
        scope->refs++;
    return scope;
}

/* Give a reference back. The last one ends the scope. */
static void drop(pg_arena *arena, pg_mode *scope)
{
    while (scope && --scope->refs == 0) {
        pg_mode *outer = scope->outer;
        end(arena, scope);
        pg_free(scope);
        scope = outer;
    }
}

/* Have the scope lead to an open one: blocks that are left in any sequence leave no chain of ended scopes behind. */
static void skip_ended(pg_arena *arena, pg_mode *scope)
{
    pg_mode *before = scope->outer;
    scope->outer = hold(open_scope(before));
    drop(arena, before);
}

pg_status pg_scope_begin(pg_scope_cell *block, pg_scope_cell *state, int kind, const pg_scope_cell *around)
{
    pg_mode *scope = pg_zeroed(sizeof *scope);
    if (!scope)
        return PG_NO_MEMORY;
    pg_arena *arena = pg_lock();
    begin(arena, scope, kind); /* it fails for a trace alone */
    scope->outer = hold(open_scope(scope_of(around)));
    if (scope->outer)
        skip_ended(arena, scope->outer);
    block->is_block = 1;
    block->mode = hold(scope);
    state->mode = hold(scope);
    pg_unlock(arena);
    return PG_OK;
}

void pg_scope_free(void *memory)
{
    pg_scope_cell *cell = memory;
    pg_arena *arena = pg_lock();
    if (cell->is_block)
        end(arena, cell->mode);
    drop(arena, cell->mode);
    pg_unlock(arena);
    pg_free(cell);
}

int pg_scope_is_newest(const pg_scope_cell *block, const pg_scope_cell *state)
{
    pg_arena *arena = pg_lock();
    const bool newest = block->mode && block->mode == open_scope(scope_of(state));
    pg_unlock(arena);
    return newest;
}

/* Is this open scope in the state? */
static bool is_within(const pg_mode *scope, const pg_scope_cell *state)
{
    const pg_mode *mode = scope_of(state);
    while (mode && mode != scope)
        mode = mode->outer;
    return mode && mode->kind != 0;
}

int pg_scope_is_within(const pg_scope_cell *block, const pg_scope_cell *state)
{
    pg_arena *arena = pg_lock();
    const bool within = is_within(block->mode, state);
    pg_unlock(arena);
    return within;
}

int pg_scope_outer(const pg_scope_cell *state, pg_scope_cell *outer)
{
    pg_arena *arena = pg_lock();
    const pg_mode *newest = open_scope(state->mode);
    outer->mode = hold(newest ? open_scope(newest->outer) : NULL);
    pg_unlock(arena);
    return outer->mode != NULL;
}

void pg_scope_leave(pg_scope_cell *block, int stays)
{
    pg_arena *arena = pg_lock();
    if (block->is_block && (!stays || block->mode->kind == PG_MODE_ANOMALY))
        end(arena, block->mode);
    block->is_block = 0;
    pg_unlock(arena);
}

void pg_scopes_after_fork(const pg_scope_cell *state)
{
    pg_arena *arena = pg_lock();
    const uint64_t own = arena->number_of_thread();
    for (pg_mode *mode = arena->modes, *older; mode; mode = older) {
        older = mode->older;
        if (is_scope(mode) && mode->thread != own && !is_within(mode, state))
            end(arena, mode);
    }
    pg_unlock(arena);
}

/* --- questions --- */

bool pg_scope_has_no_grad(const pg_mode *scope)
{
    while (scope && scope->kind != PG_MODE_NO_GRAD && scope->kind != PG_MODE_GRAD)
        scope = scope->outer;
    return scope && scope->kind == PG_MODE_NO_GRAD;
}

int pg_is_grad_enabled(const pg_scope_cell *state)
{
    pg_arena *arena = pg_lock();
    const bool enabled = !pg_scope_has_no_grad(scope_of(state));
    pg_unlock(arena);
    return enabled;
}

/* The newest mode of this thread of this kind; NULL: there is none. */
static const pg_mode *newest(const pg_arena *arena, int kind)
{
    if (arena->open.of[kind] == 0)
        return NULL;
    const uint64_t own = arena->number_of_thread();
    const pg_mode *mode = arena->modes;
    while (mode && (mode->thread != own || mode->kind != kind))
        mode = mode->older;
    return mode;
}

bool pg_thread_is_quiet(const pg_arena *arena)
{
    return newest(arena, PG_MODE_QUIET) != NULL;
}

bool pg_thread_records(const pg_arena *arena)
{
    return newest(arena, PG_MODE_RECORDING) != NULL;
}

pg_moment pg_mode_of(int kind)
{
    pg_arena *arena = pg_lock();
    const pg_mode *mode = newest(arena, kind);
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
