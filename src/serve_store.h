/*
 * The half of `serve` that stands on the store: the store's threads, the gate, the limits, the
 * console, and the chores that keep the books in order. The event loop's thread.
 */
#ifndef MOONGATE_SERVE_STORE_H
#define MOONGATE_SERVE_STORE_H

#include "call.h"

/* Opens them for app->snapshot's configuration; a database that is new is made, an older one is
 * migrated. After a failure serve_store_close cleans up. */
int serve_store_open(struct app *app, void (*progress)(void *arg, const char *what, int percent),
                     void *progress_arg, struct error *e);
void serve_store_set(struct app *app); /* app->snapshot is a new one */
/* After the last call has ended. Waits for what the store still has to write. */
void serve_store_close(struct app *app);

/* The chores (chores.c): holds and grants whose time is over, sessions, days of calls. */
struct chores;
struct chores *chores_new(struct app *app);
void chores_free(struct chores *c); /* accepts NULL; before the store's threads are closed */

#endif
