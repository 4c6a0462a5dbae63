/*
 * Which of the sources that could take a call gets it. Pure. Private to the router.
 *
 * The lowest priority number that has a healthy source with room is the class; within it, by the
 * conversation's key (weighted rendezvous hashing under a load bound) or by a weighted draw.
 */
#ifndef MOONGATE_BACKEND_CHOICE_H
#define MOONGATE_BACKEND_CHOICE_H

#include "api/request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct candidate {
    uint64_t hash; /* of the source's name: choice_hash */
    int weight, priority;
    bool healthy, room;
    int running; /* on the source, of all models */
};

struct choice_by {
    bool affinity;
    uint64_t key;     /* with affinity the conversation's, else a random number */
    int load_percent; /* of its share that a source may have before a conversation goes elsewhere */
};

/* The index of the one chosen, or -1 if no healthy one has room. */
int choice_pick(const struct candidate *c, size_t n, const struct choice_by *by);

uint64_t choice_hash(const char *name);
/* What all turns of a conversation have in common: the model and the messages up to the first of
 * the user, at most CHOICE_KEY_BYTES of them. */
enum { CHOICE_KEY_BYTES = 16384 };
uint64_t choice_key(const char *model, const struct api_request *r);

#endif
