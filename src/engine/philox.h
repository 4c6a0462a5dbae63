/*
 * Philox4x32-10, a random generator without state: four words out of a counter and a key
 * (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011). Pure.
 */
#ifndef MOONGATE_ENGINE_PHILOX_H
#define MOONGATE_ENGINE_PHILOX_H

#include <stdint.h>

void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
