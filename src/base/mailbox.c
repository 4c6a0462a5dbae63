/*
 * A queue of values between threads: a ring under a mutex, a condition for a blocking reader
 * and an eventfd for an event loop.
 *
 * The eventfd is touched under the mutex, and only when the ring goes from empty to not empty
 * or back, so it is readable exactly while items wait and a burst costs one system call. The
 * ring starts small and grows to its ceiling, for most mailboxes stay nearly empty.
 */
#include "base/mailbox.h"

#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { RING_FIRST_ITEMS = 16 };

struct mailbox {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    int fd;
    size_t item_bytes, max_items;
    size_t cap, first, count; /* items */
    unsigned char *ring;
};

int mailbox_open(size_t item_bytes, size_t max_items, struct mailbox **out, struct error *e)
{
    *out = NULL;
    if (item_bytes == 0 || max_items == 0)
        return error_set(e, ERR_INVALID, "a mailbox needs room for one item at least");
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0)
        return error_set(e, ERR_IO, "cannot open an eventfd: %s", strerror(errno));
    struct mailbox *m = mem_zalloc(sizeof(*m));
    m->fd = fd;
    m->item_bytes = item_bytes;
    m->max_items = max_items;
    pthread_mutex_init(&m->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&m->filled, &attr);
    pthread_condattr_destroy(&attr);
    *out = m;
    return 0;
}

void mailbox_close(struct mailbox *m)
{
    if (m == NULL)
        return;
    close(m->fd);
    pthread_cond_destroy(&m->filled);
    pthread_mutex_destroy(&m->lock);
    free(m->ring);
    free(m);
}

static void ring_grow(struct mailbox *m)
{
    size_t cap = m->cap != 0 ? m->cap * 2 : RING_FIRST_ITEMS;
    if (cap > m->max_items)
        cap = m->max_items;
    unsigned char *ring = mem_array(cap, m->item_bytes);
    size_t head = m->cap - m->first < m->count ? m->cap - m->first : m->count;
    if (m->count != 0) {
        memcpy(ring, m->ring + m->first * m->item_bytes, head * m->item_bytes);
        memcpy(ring + head * m->item_bytes, m->ring, (m->count - head) * m->item_bytes);
    }
    free(m->ring);
    m->ring = ring;
    m->cap = cap;
    m->first = 0;
}

static void fd_set_readable(struct mailbox *m)
{
    uint64_t one = 1;
    while (write(m->fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static void fd_clear(struct mailbox *m)
{
    uint64_t count;
    while (read(m->fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
}

int mailbox_post(struct mailbox *m, const void *item)
{
    int rc = ERR_BUSY;
    pthread_mutex_lock(&m->lock);
    if (m->count < m->max_items) {
        if (m->count == m->cap)
            ring_grow(m);
        size_t at = (m->first + m->count) % m->cap;
        memcpy(m->ring + at * m->item_bytes, item, m->item_bytes);
        if (m->count++ == 0)
            fd_set_readable(m);
        pthread_cond_signal(&m->filled);
        rc = 0;
    }
    pthread_mutex_unlock(&m->lock);
    return rc;
}

static bool take_locked(struct mailbox *m, void *item)
{
    if (m->count == 0)
        return false;
    memcpy(item, m->ring + m->first * m->item_bytes, m->item_bytes);
    m->first = (m->first + 1) % m->cap;
    if (--m->count == 0)
        fd_clear(m);
    return true;
}

bool mailbox_take(struct mailbox *m, void *item)
{
    pthread_mutex_lock(&m->lock);
    bool taken = take_locked(m, item);
    pthread_mutex_unlock(&m->lock);
    return taken;
}

static struct timespec deadline_in(int timeout_ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += timeout_ms / 1000;
    t.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

bool mailbox_wait(struct mailbox *m, void *item, int timeout_ms)
{
    struct timespec deadline = deadline_in(timeout_ms > 0 ? timeout_ms : 0);
    int rc = 0;
    pthread_mutex_lock(&m->lock);
    while (m->count == 0 && rc == 0) {
        if (timeout_ms < 0)
            rc = pthread_cond_wait(&m->filled, &m->lock);
        else
            rc = pthread_cond_timedwait(&m->filled, &m->lock, &deadline);
    }
    bool taken = take_locked(m, item);
    pthread_mutex_unlock(&m->lock);
    return taken;
}

int mailbox_fd(const struct mailbox *m)
{
    return m->fd;
}
