/*
 * bench_streams: a load client for replies of bench_upstream, directly or through a proxy.
 *
 *   bench_streams calls port=P file=F connections=C count=N seconds=S
 *       Closed loop: each connection sends its next request when a reply is whole, until N are
 *       begun or S seconds are over.
 *   bench_streams rate port=P file=F connections=C rate=R seconds=S
 *       Open loop: R requests a second at planned times, whatever became of those before. Time
 *       counts from the plan, also for a request that no connection was free for. The first
 *       tenth warms up and is not counted.
 *   bench_streams hold port=P file=F connections=C ramp_ms=M seconds=S
 *       Opens C streams within M ms, prints {"up":C} when each has had an event, measures the
 *       gaps between events for S seconds, and closes.
 *   bench_streams leave port=P file=F connections=C count=N close_at=K
 *       Closes each of N streams as soon as it has had so many events (1 to K, by turns), and
 *       prints which and when. The number of a request is its place in the file.
 *
 * With events=E a stream counts as good only if E numbered events came, in order, and [DONE];
 * with pid=I the processor time of that process is told too. The last line is the run's, as
 * JSON. One thread, one epoll; events of one read count as of one moment.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 16, EVENTS_MAX = 256, LATEST_US = 10000000, SETTLE_US = 500000 };

struct load;

/* A connection and its call. */
struct conn {
    int fd;
    bool busy, done, error, wrong, leave; /* wrong: an event out of order; leave: enough */
    struct reply reply;
    struct load *load;
    size_t request;
    int64_t planned_us, now_us, first_us, last_us;
    long events, close_at;
};

struct mode {
    const char *name;
    int64_t (*next_us)(const struct load *l); /* when the next call begins; INT64_MAX: at none */
    bool (*is_over)(struct load *l, int64_t now_us);
};

struct load {
    const struct mode *mode;
    long port, connections, count, seconds, rate, ramp_ms, events, close_at, pid; /* arguments */
    const char *file;
    int epoll;
    struct plan plan;
    struct conn *conns, **idle;
    size_t n_idle, n_busy, n_up;
    long started, good, failed;
    bool measuring; /* the window of `hold` is open */
    int64_t began_us, now_us, window_us, cpu_us;
    long window_events;
    struct samples total, first, gap, late;
};

/* Time on a processor of all threads of the process so far, or 0. */
static int64_t cpu_us(const struct load *l)
{
    char path[64], text[1024];
    unsigned long user, kernel;
    snprintf(path, sizeof path, "/proc/%ld/stat", l->pid);
    FILE *f = l->pid ? fopen(path, "r") : NULL;
    if (!f)
        return 0;
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    fclose(f);
    const char *p = strrchr(text, ')');
    if (!p ||
        sscanf(p, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) != 2)
        return 0;
    return (int64_t)(user + kernel) * (1000000 / sysconf(_SC_CLK_TCK));
}

/* --- a call --- */

static void on_event(struct conn *c, long number_of_event)
{
    struct load *l = c->load;
    c->wrong |= number_of_event != ++c->events;
    if (c->events == 1) {
        c->first_us = c->now_us;
        l->n_up++;
    } else if (l->measuring) {
        samples_add(&l->gap, c->now_us - c->last_us);
    }
    l->window_events += l->measuring;
    c->last_us = c->now_us;
    c->leave |= c->close_at && c->events >= c->close_at;
}

static void on_line(void *arg, const char *line)
{
    static const char content[] = "\"content\":\"";
    struct conn *c = arg;
    if (!c->reply.stream || strncmp(line, "data: ", 6) != 0)
        return;
    if (!strcmp(line + 6, "[DONE]")) {
        c->done = true;
        return;
    }
    const char *text = strstr(line, content);
    if (!strstr(line, "\"choices\"") && strstr(line, "\"error\""))
        c->error = true;
    else if (text && text[sizeof content - 1] != '"')
        on_event(c, strtol(text + sizeof content - 1, NULL, 10));
}

static void watch(const struct load *l, struct conn *c)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &e))
        die("epoll_ctl: %s", strerror(errno));
}

static void conn_open(struct load *l, struct conn *c)
{
    c->fd = loopback_open((uint16_t)l->port);
    watch(l, c);
}

static void begin(struct load *l, struct conn *c, int64_t planned_us)
{
    struct reply reply = c->reply;
    *c = (struct conn){.fd = c->fd, .reply = reply, .load = l, .busy = true};
    if (c->fd < 0)
        conn_open(l, c);
    reply_begin(&c->reply);
    c->reply.on_line = on_line;
    c->reply.arg = c;
    c->request = l->plan.next;
    c->planned_us = planned_us;
    if (l->close_at)
        c->close_at = 1 + l->started % l->close_at;
    l->plan.next = (l->plan.next + 1) % l->plan.n;
    l->started++;
    l->n_busy++;
    send_whole(c->fd, l->plan.list[c->request].bytes, l->plan.list[c->request].len);
}

static void set_idle(struct load *l, struct conn *c)
{
    l->n_busy -= c->busy;
    c->busy = false;
    l->idle[l->n_idle++] = c;
}

static void reopen(struct load *l, struct conn *c)
{
    close(c->fd);
    conn_open(l, c);
}

static void tell_failure(const struct load *l, const struct conn *c, bool framed)
{
    if (l->failed < 5)
        fprintf(stderr, "a reply failed: status %d, %s, %ld events%s%s%s\n", c->reply.status,
                framed ? "whole" : "broken off", c->events, c->wrong ? ", out of order" : "",
                c->error ? ", an error event" : "", c->done ? ", [DONE]" : "");
}

static void finish(struct load *l, struct conn *c, bool framed)
{
    bool good = framed && c->reply.status == 200 && !c->error && !c->wrong;
    if (c->reply.stream || l->events)
        good = good && c->done && (!l->events || c->events == l->events);
    if (!good) {
        tell_failure(l, c, framed);
        l->failed++;
    } else {
        l->good++;
        if (!l->rate || c->planned_us - l->began_us >= l->seconds * 100000) {
            samples_add(&l->total, c->now_us - c->planned_us);
            samples_add(&l->first, (c->first_us ? c->first_us : c->now_us) - c->planned_us);
        }
    }
    if (!framed)
        reopen(l, c);
    set_idle(l, c);
}

/* The client has enough: the time is taken before the socket is closed. */
static void leave(struct load *l, struct conn *c)
{
    int64_t now_us = clock_mono_us();
    close(c->fd);
    printf("{\"call\":%zu,\"closed_us\":%lld,\"events\":%ld}\n", c->request, (long long)now_us,
           c->events);
    l->good++;
    conn_open(l, c);
    set_idle(l, c);
}

static void on_readable(struct load *l, struct conn *c)
{
    static char piece[READ_BYTES];
    ssize_t n = recv(c->fd, piece, sizeof piece, 0);
    if (n < 0 && errno == EINTR)
        return;
    if (!c->busy) {
        if (n > 0)
            die("the server spoke between requests");
        reopen(l, c);
        return;
    }
    c->now_us = clock_mono_us();
    enum step step = n > 0 ? reply_take(&c->reply, piece, (size_t)n) : STEP_BROKEN;
    if (c->leave)
        leave(l, c);
    else if (step != STEP_MORE)
        finish(l, c, step == STEP_WHOLE);
}

/* --- modes --- */

static int64_t calls_next(const struct load *l)
{
    int64_t stop_us = l->began_us + l->seconds * 1000000;
    return l->started < l->count && (!l->seconds || l->now_us < stop_us) ? l->now_us : INT64_MAX;
}

static bool calls_over(struct load *l, int64_t now_us)
{
    (void)now_us;
    return !l->n_busy && calls_next(l) == INT64_MAX;
}

static int64_t rate_next(const struct load *l)
{
    return l->started < l->rate * l->seconds ? l->began_us + l->started * 1000000 / l->rate
                                             : INT64_MAX;
}

static bool rate_over(struct load *l, int64_t now_us)
{
    bool all = l->started == l->rate * l->seconds;
    if (now_us > l->began_us + l->seconds * 1000000 + LATEST_US)
        die("%zu calls are not answered after the end, and %ld of %ld began", l->n_busy, l->started,
            l->rate * l->seconds);
    return all && !l->n_busy;
}

static int64_t hold_next(const struct load *l)
{
    return l->started < l->connections
               ? l->began_us + l->started * l->ramp_ms * 1000 / l->connections
               : INT64_MAX;
}

/* The window opens a moment after all streams are up. */
static bool hold_over(struct load *l, int64_t now_us)
{
    if (!l->window_us && l->n_up == (size_t)l->connections) {
        printf("{\"up\":%zu}\n", l->n_up);
        fflush(stdout);
        l->window_us = now_us + SETTLE_US;
    }
    if (l->window_us && !l->measuring && now_us >= l->window_us) {
        l->measuring = true;
        l->window_us = now_us;
        l->cpu_us = cpu_us(l);
    }
    if (!l->window_us && now_us > l->began_us + l->ramp_ms * 1000 + LATEST_US)
        die("only %zu of %ld streams had an event", l->n_up, l->connections);
    return l->measuring && now_us >= l->window_us + l->seconds * 1000000;
}

static const struct mode modes[] = {{"calls", calls_next, calls_over},
                                    {"leave", calls_next, calls_over},
                                    {"rate", rate_next, rate_over},
                                    {"hold", hold_next, hold_over}};

/* --- the loop --- */

static void begin_due(struct load *l)
{
    for (int64_t due_us; l->n_idle && (due_us = l->mode->next_us(l)) <= l->now_us;) {
        samples_add(&l->late, l->now_us - due_us);
        begin(l, l->idle[--l->n_idle], due_us);
        l->now_us = clock_mono_us();
    }
}

static int64_t wait_us(const struct load *l)
{
    int64_t most_us = 100000; /* the modes look at the clock */
    int64_t due_us = l->n_idle ? l->mode->next_us(l) : INT64_MAX;
    if (due_us == INT64_MAX || due_us - l->now_us > most_us)
        return most_us;
    return due_us > l->now_us ? due_us - l->now_us : 0;
}

static void run(struct load *l)
{
    struct epoll_event events[EVENTS_MAX];
    l->began_us = l->now_us = clock_mono_us();
    l->cpu_us = cpu_us(l);
    begin_due(l);
    while (!l->mode->is_over(l, l->now_us)) {
        int64_t us = wait_us(l);
        struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
        int n = epoll_pwait2(l->epoll, events, EVENTS_MAX, &t, NULL);
        if (n < 0 && errno != EINTR)
            die("epoll_pwait2: %s", strerror(errno));
        for (int i = 0; i < n; i++)
            on_readable(l, events[i].data.ptr);
        l->now_us = clock_mono_us();
        begin_due(l);
    }
}

static void tell_run(struct load *l)
{
    int64_t from_us = l->measuring ? l->window_us : l->began_us;
    printf("{\"wall_us\":%lld,\"started\":%ld,\"good\":%ld,\"failed\":%ld,\"events\":%ld,"
           "\"cpu_us\":%lld,",
           (long long)(l->now_us - from_us), l->started, l->good, l->failed, l->window_events,
           (long long)(cpu_us(l) - l->cpu_us));
    samples_print(&l->total, "total");
    putchar(',');
    samples_print(&l->first, "first");
    putchar(',');
    samples_print(&l->gap, "gap");
    putchar(',');
    samples_print(&l->late, "late");
    puts("}");
}

/* --- arguments --- */

static void argument(struct load *l, char *text)
{
    struct {
        const char *name;
        long *at, least, most;
    } names[] = {{"port", &l->port, 1, 65535},         {"connections", &l->connections, 1, 100000},
                 {"count", &l->count, 1, 100000000},   {"seconds", &l->seconds, 1, 3600},
                 {"rate", &l->rate, 1, 1000000},       {"ramp_ms", &l->ramp_ms, 0, 600000},
                 {"events", &l->events, 0, 100000000}, {"close_at", &l->close_at, 1, 1000000},
                 {"pid", &l->pid, 0, 1 << 30}};
    size_t n = strcspn(text, "=");
    if (!text[n])
        die("%s: not name=value", text);
    text[n] = '\0';
    if (!strcmp(text, "file"))
        l->file = text + n + 1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(text, names[i].name)) {
            *names[i].at = number(text + n + 1, text, names[i].least, names[i].most);
            return;
        }
    if (strcmp(text, "file") != 0)
        die("no such argument: %s", text);
}

static void read_arguments(struct load *l, int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(argv[1], modes[i].name))
            l->mode = &modes[i];
    if (!l->mode)
        die("usage: calls|rate|hold|leave name=value...");
    for (int i = 2; i < argc; i++)
        argument(l, argv[i]);
    if (!l->port || !l->file || !l->connections)
        die("port, file and connections must be given");
    if (l->mode->next_us == calls_next && !l->count)
        l->count = INT32_MAX;
    if ((l->mode->next_us == rate_next && !l->rate) || (l->count == INT32_MAX && !l->seconds) ||
        (l->mode->next_us != calls_next && !l->seconds))
        die("%s: an argument is missing", l->mode->name);
}

static void load_done(struct load *l)
{
    struct samples *all[] = {&l->total, &l->first, &l->gap, &l->late};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        samples_done(all[i]);
    for (long i = 0; i < l->connections; i++)
        reply_done(&l->conns[i].reply);
    free(l->conns);
    free(l->idle);
    plan_done(&l->plan);
}

int main(int argc, char **argv)
{
    struct load l = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
    read_arguments(&l, argc, argv);
    if (l.epoll < 0)
        die("epoll_create1: %s", strerror(errno));
    plan_read(&l.plan, l.file);
    raise_descriptor_limit((size_t)l.connections);
    l.conns = mem_array((size_t)l.connections, sizeof *l.conns);
    l.idle = mem_array((size_t)l.connections, sizeof(struct conn *));
    for (long i = l.connections; i-- > 0;) {
        l.conns[i].fd = -1;
        reply_init(&l.conns[i].reply);
        set_idle(&l, &l.conns[i]);
    }
    run(&l);
    tell_run(&l);
    load_done(&l);
    return 0;
}
