/*
 * See rates_redis.h. It owns hiredis' context, a list of the commands that wait for their answers
 * in the order in which they were sent, and the calls: those asked for hang on their command, the
 * admitted ones stand in `running` until they are settled.
 *
 * hiredis answers all that waits with NULL when a context ends, and frees it itself after it has
 * failed; so a context is forgotten at the first sign of that (forget), and only one that we give
 * up ourselves is freed here (lose). A script that Redis does not know any more (it was restarted
 * or flushed) was not run: it is sent again as a whole.
 */
#include "gate/rates_redis.h"

#include "base/clock.h"
#include "base/mem.h"
#include "gate/limits_bucket.h"
#include "gate/rates_resolve.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <hiredis/async.h>
#include <hiredis/adapters/libevent.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECT_MS = 5000, /* no call waits for it, but a host's name may take long */
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MAX_MS = 5000,
    RENEWALS_A_LEASE = 3,
    SHA_CHARS = 40,
    NOW_BYTES = 24,
    WHY_BYTES = 160
};

enum state { AWAY, CONNECTING, GREETING, REACHED };

enum purpose { GREET, LOAD, PROBE, ADMIT, SETTLE, RENEW };

struct command {
    TAILQ_ENTRY(command) waiting;
    struct rates_redis *redis;
    redisAsyncContext *context;
    enum purpose purpose;
    enum rates_script script; /* of LOAD */
    int64_t deadline_ms;
    struct rates_call *call; /* of ADMIT and SETTLE */
};

TAILQ_HEAD(command_list, command);
TAILQ_HEAD(call_list, rates_call);

struct rates_redis {
    struct rates_redis_options o;
    struct event_base *base;
    redisAsyncContext *context; /* NULL unless it is being opened or stands */
    struct rates_resolve *resolve;
    enum state state;
    bool is_closing, was_told; /* that it is away, after it was not reached */
    int backoff_ms;
    unsigned tries;
    int64_t connect_deadline_ms;
    struct event *retry, *watch, *renew;
    char sha[RATES_SCRIPTS][SHA_CHARS + 1];
    struct command_list commands; /* oldest first */
    struct call_list running;
    size_t n_waiting, n_running;
    char id[17]; /* of this process, for the ids of its calls */
    uint64_t serial, asked, unsettled;
};

/* --- the connection's end --- */

static void set_timer(struct event *timer, int64_t ms)
{
    struct timeval t = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    event_add(timer, &t);
}

/* From half the time to all of it, so that replicas do not come back all at once. */
static int64_t with_jitter(int ms)
{
    uint32_t dice;
    random_bytes(&dice, sizeof dice);
    return ms / 2 + (int64_t)(dice % (uint32_t)(ms / 2 + 1));
}

/* The context is gone or going. The first time that it is away is told, not each try. */
static void forget(struct rates_redis *r, const char *why)
{
    bool was_reached = r->state == REACHED;
    r->context = NULL;
    r->state = AWAY;
    if (r->is_closing)
        return;
    event_del(r->watch);
    event_del(r->renew);
    set_timer(r->retry, with_jitter(r->backoff_ms));
    r->backoff_ms = r->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : r->backoff_ms * 2;
    if ((was_reached || !r->was_told) && r->o.on_note) {
        r->was_told = true;
        r->o.on_note(r->o.arg, false, why);
    }
}

static void lose(struct rates_redis *r, const char *why)
{
    redisAsyncContext *context = r->context;
    rates_resolve_close(r->resolve);
    r->resolve = NULL;
    forget(r, why);
    if (context)
        redisAsyncFree(context); /* answers all that waits with NULL */
}

/* --- calls --- */

static void end_call(struct rates_redis *r, struct rates_call *call)
{
    if (call->is_admitted) {
        TAILQ_REMOVE(&r->running, call, running);
        r->n_running--;
    }
    free(call);
}

/* The first word of an error ("NOAUTH", "OOM"): the rest may repeat what was sent. */
static void name_error(const redisReply *reply, char *why, size_t why_bytes)
{
    size_t n = 0;
    while (n < reply->len && n < 32 && reply->str[n] >= 'A' && reply->str[n] <= 'Z')
        n++;
    snprintf(why, why_bytes, "it answers with the error %.*s", (int)n, reply->str);
}

/* --- sending --- */

static void on_reply(redisAsyncContext *context, void *reply, void *arg);

static struct command *new_command(struct rates_redis *r, enum purpose purpose)
{
    struct command *c = mem_zalloc(sizeof *c);
    c->redis = r;
    c->context = r->context;
    c->purpose = purpose;
    return c;
}

/* True if it is on its way; if not, nothing of it is left. */
static bool send_command(struct command *c, int n, const char **of, const size_t *len)
{
    struct rates_redis *r = c->redis;
    if (!r->context || redisAsyncCommandArgv(r->context, on_reply, c, n, of, len) != REDIS_OK) {
        free(c);
        return false;
    }
    c->deadline_ms = clock_mono_ms() + r->o.timeout_ms;
    if (!event_pending(r->watch, EV_TIMEOUT, NULL))
        set_timer(r->watch, r->o.timeout_ms);
    TAILQ_INSERT_TAIL(&r->commands, c, waiting);
    r->n_waiting++;
    return true;
}

static bool send_words(struct rates_redis *r, enum purpose purpose, enum rates_script script, int n,
                       const char **of)
{
    struct command *c = new_command(r, purpose);
    c->script = script;
    return send_command(c, n, of, NULL);
}

static const char *put_now(const struct rates_redis *r, char out[NOW_BYTES])
{
    out[0] = '\0';
    if (r->o.now_ms)
        snprintf(out, NOW_BYTES, "%" PRId64, r->o.now_ms());
    return out;
}

static bool send_call(struct rates_redis *r, enum purpose purpose, struct rates_call *call,
                      bool whole)
{
    enum rates_script script = purpose == ADMIT ? RATES_SCRIPT_ADMIT : RATES_SCRIPT_SETTLE;
    struct command *c = new_command(r, purpose);
    struct rates_args args;
    char now[NOW_BYTES];
    c->call = call;
    if (purpose == ADMIT)
        rates_args_admit(&args, call, r->o.lease_ms, put_now(r, now));
    else
        rates_args_settle(&args, call, put_now(r, now));
    if (whole)
        rates_args_verb(&args, "EVAL", rates_script_text(script));
    else
        rates_args_verb(&args, "EVALSHA", r->sha[script]);
    return send_command(c, args.n, args.of, args.len);
}

static bool send_load(struct rates_redis *r, enum rates_script script)
{
    return send_words(r, LOAD, script, 3,
                      (const char *[]){"SCRIPT", "LOAD", rates_script_text(script)});
}

static void send_settle(struct rates_redis *r, struct rates_call *call, bool whole)
{
    if (r->state == REACHED && r->n_waiting < 2 * r->o.max_waiting &&
        send_call(r, SETTLE, call, whole))
        return;
    r->unsettled++;
    free(call);
}

static bool send_renewal(struct rates_redis *r, struct rates_renewal *renewal)
{
    struct rates_args args;
    char now[NOW_BYTES];
    rates_args_renew(&args, renewal, r->o.lease_ms, put_now(r, now));
    rates_args_verb(&args, "EVALSHA", r->sha[RATES_SCRIPT_RENEW]);
    renewal->n = 0;
    return send_command(new_command(r, RENEW), args.n, args.of, args.len);
}

/* Something is sent each time, so that a connection that died unseen is found without a call. */
static void send_renewals(struct rates_redis *r)
{
    struct rates_renewal renewal = {0};
    struct rates_call *call;
    bool sent = false;
    TAILQ_FOREACH(call, &r->running, running)
    {
        if (rates_renewal_add(&renewal, call))
            continue;
        sent = send_renewal(r, &renewal);
        rates_renewal_add(&renewal, call);
    }
    if (renewal.n > 0)
        sent = send_renewal(r, &renewal);
    if (!sent)
        send_words(r, RENEW, 0, 1, (const char *[]){"PING"});
    set_timer(r->renew, r->o.lease_ms / RENEWALS_A_LEASE);
}

/* --- answers --- */

static bool is_error(const redisReply *reply, const char *word)
{
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, word, strlen(word)) == 0;
}

static void on_verdict(struct rates_redis *r, struct rates_call *call,
                       const struct limits_said *said)
{
    if (said && said->admitted) {
        call->is_admitted = true;
        TAILQ_INSERT_TAIL(&r->running, call, running);
        r->n_running++;
    }
    if (!call->owner && call->is_admitted)
        rates_redis_settle(r, call, 0);
    else if (!call->owner)
        end_call(r, call);
    else {
        bool is_over = !call->is_admitted; /* the owner may settle it at once */
        if (!r->is_closing)
            r->o.on_answer(r->o.arg, call, said);
        if (is_over)
            free(call);
    }
}

static bool read_verdict(const struct rates_call *call, const redisReply *reply,
                         struct limits_said *said)
{
    int64_t numbers[RATES_NUMBERS_MAX];
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2 ||
        reply->elements > RATES_NUMBERS_MAX)
        return false;
    for (size_t i = 0; i < reply->elements; i++) {
        if (reply->element[i]->type != REDIS_REPLY_INTEGER)
            return false;
        numbers[i] = reply->element[i]->integer;
    }
    return rates_script_read(call, numbers, reply->elements, said);
}

static void become_reached(struct rates_redis *r)
{
    r->state = REACHED;
    r->backoff_ms = BACKOFF_FIRST_MS;
    r->was_told = false;
    send_renewals(r);
    if (r->o.on_note)
        r->o.on_note(r->o.arg, true, "it is reached");
}

/* An answer that is no error; false if it makes no sense. */
static bool take_answer(struct rates_redis *r, struct command *c, const redisReply *reply)
{
    struct limits_said said;
    switch (c->purpose) {
    case LOAD:
        if (reply->type != REDIS_REPLY_STRING || reply->len != SHA_CHARS)
            return false;
        memcpy(r->sha[c->script], reply->str, SHA_CHARS);
        return true;
    case PROBE:
        become_reached(r);
        return true;
    case ADMIT:
        if (!read_verdict(c->call, reply, &said))
            return false;
        on_verdict(r, c->call, &said);
        return true;
    case SETTLE:
        free(c->call);
        return true;
    default:
        return true;
    }
}

/* It was not run: once more with its text. */
static void send_again(struct rates_redis *r, struct command *c)
{
    if (c->purpose == RENEW)
        send_load(r, RATES_SCRIPT_RENEW); /* the next one finds it */
    else if (c->purpose == SETTLE)
        send_settle(r, c->call, true);
    else if (!send_call(r, ADMIT, c->call, true))
        on_verdict(r, c->call, NULL);
}

/* There is no answer to it: away. */
static void give_up(struct rates_redis *r, struct command *c)
{
    if (c->purpose == ADMIT) {
        on_verdict(r, c->call, NULL);
    } else if (c->purpose == SETTLE) {
        r->unsettled++;
        free(c->call);
    }
}

static void on_reply(redisAsyncContext *context, void *answer, void *arg)
{
    struct command *c = arg;
    struct rates_redis *r = c->redis;
    const redisReply *reply = answer;
    char why[WHY_BYTES] = "the connection ended";
    bool is_ours = context == r->context;
    TAILQ_REMOVE(&r->commands, c, waiting);
    r->n_waiting--;
    if (!reply || !is_ours) {
        if (is_ours)
            forget(r, why); /* hiredis frees it behind this */
        give_up(r, c);
    } else if (is_error(reply, "NOSCRIPT")) {
        send_again(r, c);
    } else if (reply->type == REDIS_REPLY_ERROR) {
        name_error(reply, why, sizeof why);
        lose(r, why);
        give_up(r, c);
    } else if (!take_answer(r, c, reply)) {
        lose(r, "its answer makes no sense");
        give_up(r, c);
    }
    free(c);
}

/* --- the connection's beginning --- */

static void greet(struct rates_redis *r)
{
    const struct rates_url *url = &r->o.url;
    char db[16];
    bool sent = true;
    r->state = GREETING;
    event_del(r->watch); /* the time for an answer is another one */
    snprintf(db, sizeof db, "%d", url->db);
    if (url->user[0])
        sent = send_words(r, GREET, 0, 3, (const char *[]){"AUTH", url->user, url->password});
    else if (url->password[0])
        sent = send_words(r, GREET, 0, 2, (const char *[]){"AUTH", url->password});
    if (sent && url->db != 0)
        sent = send_words(r, GREET, 0, 2, (const char *[]){"SELECT", db});
    for (int s = 0; sent && s < RATES_SCRIPTS; s++)
        sent = send_load(r, s);
    if (sent)
        send_words(r, PROBE, 0, 5,
                   (const char *[]){"SET", "moongate:{limits}:probe", "1", "PX", "1000"});
}

static void on_connect(const redisAsyncContext *context, int status)
{
    struct rates_redis *r = context->data;
    if (context != r->context)
        return;
    if (status == REDIS_OK)
        greet(r);
    else
        forget(r, "there is no connection to it");
}

static void on_disconnect(const redisAsyncContext *context, int status)
{
    struct rates_redis *r = context->data;
    (void)status;
    if (context == r->context)
        forget(r, "the connection ended");
}

static void connect_to(struct rates_redis *r, const char *host)
{
    r->context =
        r->o.url.is_path ? redisAsyncConnectUnix(host) : redisAsyncConnect(host, r->o.url.port);
    if (!r->context || r->context->err || redisLibeventAttach(r->context, r->base) != REDIS_OK) {
        lose(r, "there is no connection to it");
        return;
    }
    r->context->data = r;
    redisAsyncSetConnectCallback(r->context, on_connect);
    redisAsyncSetDisconnectCallback(r->context, on_disconnect);
}

/* One address after the other, a try each. */
static void on_resolved(void *arg, const struct rates_addresses *found)
{
    struct rates_redis *r = arg;
    struct rates_addresses addresses = *found;
    rates_resolve_close(r->resolve);
    r->resolve = NULL;
    if (addresses.n == 0)
        lose(r, "its host's name is not known");
    else
        connect_to(r, addresses.of[r->tries % (unsigned)addresses.n]);
}

static bool is_address(const struct rates_url *url)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return url->is_path || inet_pton(AF_INET, url->host, bytes) == 1 ||
           inet_pton(AF_INET6, url->host, bytes) == 1;
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    struct rates_redis *r = arg;
    (void)fd;
    (void)what;
    r->state = CONNECTING;
    r->tries++;
    r->connect_deadline_ms = clock_mono_ms() + CONNECT_MS;
    set_timer(r->watch, CONNECT_MS);
    if (is_address(&r->o.url))
        connect_to(r, r->o.url.host);
    else if (rates_resolve_open(r->base, r->o.url.host, on_resolved, r, &r->resolve, NULL) != 0)
        lose(r, "no thread to look up its host's name");
}

/* Looks at what waits longest. */
static void on_watch(evutil_socket_t fd, short what, void *arg)
{
    struct rates_redis *r = arg;
    const struct command *oldest = TAILQ_FIRST(&r->commands);
    int64_t left_ms, now_ms = clock_mono_ms();
    char why[WHY_BYTES];
    (void)fd;
    (void)what;
    if (r->state != CONNECTING && !oldest)
        return;
    left_ms = (r->state == CONNECTING ? r->connect_deadline_ms : oldest->deadline_ms) - now_ms;
    if (left_ms > 0) {
        set_timer(r->watch, left_ms);
        return;
    }
    snprintf(why, sizeof why, "it does not answer within %d ms",
             r->state == CONNECTING ? (int)CONNECT_MS : r->o.timeout_ms);
    lose(r, why);
}

static void on_renew(evutil_socket_t fd, short what, void *arg)
{
    struct rates_redis *r = arg;
    (void)fd;
    (void)what;
    if (r->state == REACHED)
        send_renewals(r);
}

/* --- the face --- */

int rates_redis_open(struct event_base *base, const struct rates_redis_options *o,
                     struct rates_redis **out, struct error *e)
{
    struct rates_redis *r = mem_zalloc(sizeof *r);
    r->o = *o;
    r->base = base;
    r->backoff_ms = BACKOFF_FIRST_MS;
    TAILQ_INIT(&r->commands);
    TAILQ_INIT(&r->running);
    random_hex(r->id, sizeof r->id - 1);
    r->retry = evtimer_new(base, on_retry, r);
    r->watch = evtimer_new(base, on_watch, r);
    r->renew = evtimer_new(base, on_renew, r);
    if (!r->retry || !r->watch || !r->renew) {
        rates_redis_close(r);
        return error_set(e, ERR_IO, "the loop has no timers for Redis");
    }
    set_timer(r->retry, 0);
    *out = r;
    return 0;
}

void rates_redis_close(struct rates_redis *r)
{
    struct rates_call *call;
    if (!r)
        return;
    r->is_closing = true;
    if (r->state == REACHED)
        redisAsyncHandleWrite(r->context); /* the last settles, as far as they go */
    lose(r, "closed");
    while ((call = TAILQ_FIRST(&r->running)))
        end_call(r, call);
    if (r->retry)
        event_free(r->retry);
    if (r->watch)
        event_free(r->watch);
    if (r->renew)
        event_free(r->renew);
    sodium_memzero(&r->o.url, sizeof r->o.url);
    free(r);
}

struct rates_call *rates_redis_admit(struct rates_redis *r, const struct limits_ask *ask,
                                     void *owner)
{
    if (r->state != REACHED || r->n_waiting >= r->o.max_waiting)
        return NULL;
    struct rates_call *call = mem_zalloc(sizeof *call);
    snprintf(call->id, sizeof call->id, "%s-%" PRIx64, r->id, ++r->serial);
    call->ask = *ask;
    call->owner = owner;
    for (int s = 0; s < LIMITS_SCOPES; s++)
        call->want[s] = limits_reserve(ask->of[s].rates.per_minute[LIMITS_TOKENS], ask);
    if (!send_call(r, ADMIT, call, false)) {
        free(call);
        return NULL;
    }
    r->asked++;
    return call;
}

void rates_redis_settle(struct rates_redis *r, struct rates_call *call, int64_t tokens)
{
    if (!call->is_admitted) {
        call->owner = NULL;
        return;
    }
    TAILQ_REMOVE(&r->running, call, running);
    r->n_running--;
    call->is_admitted = false;
    call->used_tokens = tokens < 0 ? 0 : tokens > LIMITS_TOKENS_MAX ? LIMITS_TOKENS_MAX : tokens;
    send_settle(r, call, false);
}

struct rates_redis_state rates_redis_state(const struct rates_redis *r)
{
    return (struct rates_redis_state){.reached = r->state == REACHED,
                                      .waiting = r->n_waiting,
                                      .running = r->n_running,
                                      .asked = r->asked,
                                      .unsettled = r->unsettled};
}
