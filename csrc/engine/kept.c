/* kept.c: gradients that are lent to a computation, and then come back. */
#include <string.h>

#include "engine/node.h"
#include "engine/references.h"
#include "mem.h"

pg_status pg_gradients_keep(pg_kept *kept, uint32_t count, const pg_id *ids)
{
    pg_id *own_ids = pg_realloc(NULL, count * sizeof *own_ids + 1);
    double *grads = pg_realloc(NULL, count * sizeof *grads + 1);
    if (!own_ids || !grads) {
        pg_free(own_ids);
        pg_free(grads);
        return PG_NO_MEMORY;
    }
    memcpy(own_ids, ids, count * sizeof *own_ids);
    pg_arena *arena = pg_lock();
    for (uint32_t i = 0; i < count; i++) { /* a node may be listed twice, so all are read before any is set */
        pg_node *node = pg_node_at(arena, ids[i]);
        pg_ref(node);
        grads[i] = *pg_grad_of(arena, node);
    }
    for (uint32_t i = 0; i < count; i++)
        *pg_grad_of(arena, pg_node_at(arena, ids[i])) = 0.0;
    *kept = (pg_kept){.count = count, .ids = own_ids, .grads = grads};
    pg_unlock(arena);
    return PG_OK;
}

void pg_kept_free(void *cell)
{
    pg_kept *kept = cell;
    pg_arena *arena = pg_lock();
    for (uint32_t i = 0; i < kept->count; i++) {
        *pg_grad_of(arena, pg_node_at(arena, kept->ids[i])) = kept->grads[i];
        pg_unref(arena, kept->ids[i]);
    }
    pg_unlock(arena);
    pg_free(kept->ids);
    pg_free(kept->grads);
    pg_free(kept);
}
