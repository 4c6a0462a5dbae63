/*
 * A queue of values between threads.
 *
 * Any thread may post; one thread takes. Items are copied; they carry values and a call's
 * number, never a pointer into the event loop. A blocking reader waits on a condition, the
 * event loop watches the descriptor (an eventfd, readable while items may be waiting).
 */
#ifndef MOONGATE_BASE_MAILBOX_H
#define MOONGATE_BASE_MAILBOX_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct mailbox;

int mailbox_open(size_t item_bytes, size_t max_items, struct mailbox **out, struct error *e);
void mailbox_close(struct mailbox *m); /* items left inside are forgotten: drain first */
int mailbox_post(struct mailbox *m, const void *item); /* 0, or ERR_BUSY when it is full */
bool mailbox_take(struct mailbox *m, void *item);      /* false when empty; clears the eventfd */
bool mailbox_wait(struct mailbox *m, void *item, int timeout_ms); /* blocks; -1 is for ever */
int mailbox_fd(const struct mailbox *m);

#endif
