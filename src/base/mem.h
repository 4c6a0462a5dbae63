/*
 * Allocation that cannot fail, and an arena.
 *
 * Running out of memory on a small allocation ends the process: what a client can ask for is
 * bounded before it gets here. Any thread; an arena belongs to one thread at a time.
 */
#ifndef MOONGATE_BASE_MEM_H
#define MOONGATE_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t bytes);
void *mem_zalloc(size_t bytes);
void *mem_array(size_t count, size_t item_bytes); /* zeroed; a product that overflows ends us */
void *mem_realloc(void *old, size_t bytes);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n); /* copies n bytes and adds a NUL */
/* For a process with a loop, before its threads: what a turn frees and the next one needs again is
 * not given back to the system, up to some megabytes. */
void mem_keep_freed(void);

/* Memory that lives as long as one piece of work, freed in one call. */
struct arena;
struct arena *arena_new(void);
void arena_free(struct arena *a);                 /* accepts NULL */
void *arena_alloc(struct arena *a, size_t bytes); /* zeroed, 16-byte aligned */
char *arena_strndup(struct arena *a, const char *s, size_t n);
size_t arena_bytes(const struct arena *a); /* taken from the system so far */

#endif
