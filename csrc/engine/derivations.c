/* derivations.c: the results of derivations, until proxies hold them (derivations.h). */
#include "engine/derivations.h"

#include "engine/references.h"
#include "mem.h"

void pg_hold_results(pg_arena *arena, pg_derivation *job)
{
    job->thread = arena->number_of_thread();
    job->next = arena->derivations;
    arena->derivations = job;
}

void pg_drop_results(pg_arena *arena, pg_derivation *job)
{
    pg_derivation **link = &arena->derivations;
    while (*link && *link != job)
        link = &(*link)->next;
    if (*link)
        *link = job->next;
    for (uint32_t i = 0; i < job->found_count; i++)
        if (job->found[i].id)
            pg_unref(arena, job->found[i].id);
    for (uint32_t i = 0; i < job->made_count; i++)
        pg_unref(arena, job->made[i]);
    pg_free(job->found);
    pg_free(job->made);
    job->found = NULL;
    job->made = NULL;
    job->found_count = job->made_count = 0;
}

void pg_derivations_after_fork(pg_arena *arena)
{
    const uint64_t own = arena->number_of_thread();
    for (pg_derivation *job = arena->derivations, *next; job; job = next) {
        next = job->next;
        if (job->thread != own)
            pg_drop_results(arena, job);
    }
}
