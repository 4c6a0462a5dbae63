/*
 * The table of requests under way, and the table of endpoints. A request is kept by its exchange
 * (until console_end) and by what it waits for; request_release frees it when neither is left.
 */
#include "console/console_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "console/password.h"
#include "gate/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BODY_DEPTH = 16,
    PASSWORD_QUEUE = 64,
    ASKS = 5, /* sign-ups or mails for one address, until it must wait */
    ASKS_OF_NETWORK = 200,
    ASKS_WAIT_MS = 60 * 1000,
    ASKS_LONGEST_MS = 60 * 60 * 1000
};

static const struct endpoint_table *const tables[] = {
    &platform_endpoints, &account_endpoints, &key_endpoints, &live_endpoints, &admin_endpoints};
enum { N_TABLES = sizeof tables / sizeof tables[0] };

static struct request **bucket(struct console *c, uint64_t number)
{
    return &c->requests[number % CONSOLE_BUCKETS];
}

static struct request *find(const struct console *c, uint64_t number)
{
    struct request *r = c->requests[number % CONSOLE_BUCKETS];
    while (r && r->number != number)
        r = r->next;
    return r;
}

static void on_password(void *arg, const struct password_answer *answer);

/* --- opening --- */

static void gather_endpoints(struct console *c)
{
    for (size_t i = 0; i < N_TABLES; i++)
        c->n_endpoints += tables[i]->n;
    c->endpoints = mem_array(c->n_endpoints, sizeof(*c->endpoints));
    c->routes = mem_array(c->n_endpoints, sizeof *c->routes);
    size_t n = 0;
    for (size_t i = 0; i < N_TABLES; i++) {
        for (size_t j = 0; j < tables[i]->n; j++, n++) {
            const struct endpoint *e = &tables[i]->rows[j];
            c->endpoints[n] = e;
            c->routes[n] =
                (struct http_route){.method = e->method, .path = e->path, .id = (int)n + 1};
        }
    }
}

static void on_mail_failed(void *arg, const struct error *e)
{
    struct console *c = arg;
    if (c->events.on_trouble)
        c->events.on_trouble(c->arg, e);
}

static void set_provider(struct console *c)
{
    const struct console_options *o = &c->options;
    const struct oidc_client client = {o->oidc_issuer, o->oidc_client_id, o->oidc_secret};
    oidc_set(c->oidc, &client, &o->email);
}

static struct lockout *new_asking(const struct console_options *o)
{
    const struct lockout_settings settings = {.account_tries = ASKS,
                                              .network_tries = ASKS_OF_NETWORK,
                                              .first_ms = ASKS_WAIT_MS,
                                              .longest_ms = ASKS_LONGEST_MS,
                                              .forget_ms = ASKS_LONGEST_MS,
                                              .max_rows = o->lockout.max_rows};
    return lockout_new(&settings);
}

int console_open(struct event_base *base, struct store_threads *store,
                 const struct console_options *o, const struct console_events *events, void *arg,
                 struct console **out, struct error *e)
{
    struct console *c = mem_zalloc(sizeof *c);
    c->base = base;
    c->store = store;
    c->options = *o;
    c->events = *events;
    c->arg = arg;
    c->lockout = lockout_new(&o->lockout);
    c->asking = new_asking(o);
    gather_endpoints(c);
    int rc = passwords_open(base, PASSWORD_QUEUE, (struct password_cost){0}, on_password, c,
                            &c->passwords, e);
    if (!rc)
        rc = mailer_open(base, on_mail_failed, c, &c->mailer, e);
    if (!rc)
        rc = oidc_open(base, account_oidc_answer, c, &c->oidc, e);
    if (rc) {
        console_close(c);
        return rc;
    }
    set_provider(c);
    *out = c;
    return 0;
}

void console_set(struct console *c, const struct console_options *o)
{
    c->options = *o;
    set_provider(c);
}

static void free_request(struct request *r)
{
    json_free(r->body);
    for (size_t i = 0; i < r->n_headers; i++)
        free(r->header_values[i]);
    free(r->state);
    explicit_bzero(r, sizeof *r);
    free(r);
}

void console_close(struct console *c)
{
    if (!c)
        return;
    passwords_close(c->passwords);
    mailer_close(c->mailer);
    oidc_close(c->oidc);
    for (size_t i = 0; i < CONSOLE_BUCKETS; i++) {
        while (c->requests[i]) {
            struct request *r = c->requests[i];
            c->requests[i] = r->next;
            free_request(r);
        }
    }
    lockout_free(c->lockout);
    lockout_free(c->asking);
    free(c->endpoints);
    free(c->routes);
    free(c);
}

/* --- requests --- */

bool console_has(const struct console *c, const char *path)
{
    (void)c;
    return strncmp(path, "/console/api/", 13) == 0 || strncmp(path, "/api/v1/", 8) == 0;
}

static const struct endpoint *endpoint_of(const struct console *c, const char *method,
                                          const char *path, int *id, char *allow,
                                          size_t allow_bytes)
{
    *id = route_find(c->routes, c->n_endpoints, method, path, allow, allow_bytes);
    return *id > 0 ? c->endpoints[*id - 1] : NULL;
}

const char *console_name(const struct console *c, const char *method, const char *path)
{
    char allow[64];
    int id;
    const struct endpoint *e = endpoint_of(c, method, path, &id, allow, sizeof allow);
    return e ? (strncmp(e->path, "/api/", 5) == 0 ? "platform" : "console") : "none";
}

static struct request *request_new(struct console *c, uint64_t number, struct http_exchange *x,
                                   const char *trace_id, const struct console_client *client)
{
    struct request *r = mem_zalloc(sizeof *r);
    r->console = c;
    r->number = number;
    r->x = x;
    r->trace_id = trace_id;
    r->now_ms = clock_unix_ms();
    r->secure = c->options.secure == CONSOLE_SECURE_ALWAYS ||
                (c->options.secure == CONSOLE_SECURE_AUTO && client->secure);
    snprintf(r->peer, sizeof r->peer, "%s", client->peer);
    r->network = limits_network(client->peer);
    r->next = *bucket(c, number);
    *bucket(c, number) = r;
    c->n_requests++;
    return r;
}

static void refuse_path(struct request *r, int id, const char *allow)
{
    if (id == ROUTE_NO_METHOD) {
        request_header(r, "allow", allow);
        request_fault(r, FAULT_METHOD, NULL, "%s is not allowed here; use %s.", http_method(r->x),
                      allow);
    } else {
        request_fault(r, FAULT_NO_API, NULL,
                      "There is no API at this path. See /openapi.json for those there are.");
    }
}

void console_begin(struct console *c, uint64_t number, struct http_exchange *x,
                   const char *trace_id, const struct console_client *client)
{
    struct request *r = request_new(c, number, x, trace_id, client);
    char allow[64];
    int id;
    r->endpoint = endpoint_of(c, http_method(x), http_path(x), &id, allow, sizeof allow);
    if (!r->endpoint)
        refuse_path(r, id, allow);
    else if (c->n_requests > c->options.requests)
        request_fault_after(r, FAULT_UNAVAILABLE, 1000, "Too many requests wait; try again.");
    else
        authenticate(r);
}

void console_body(struct console *c, uint64_t number, const char *body, size_t len)
{
    struct request *r = find(c, number);
    struct error e;
    if (!r || r->answered)
        return;
    if (len == 0)
        body = "{}", len = 2;
    if (json_parse(body, len, BODY_DEPTH, &r->body, &e))
        request_fault(r, FAULT_BAD_REQUEST, NULL, "The body is not valid JSON: %s", e.text);
    else if (json_kind(r->body) != JSON_OBJECT)
        request_fault(r, FAULT_BAD_REQUEST, NULL, "The body must be a JSON object.");
    else
        r->endpoint->run(r);
}

void request_admitted(struct request *r)
{
    if (r->endpoint->reads)
        r->console->events.on_read(r->console->arg, r->number);
    else
        r->endpoint->run(r);
}

void request_release(struct request *r)
{
    struct request **at = bucket(r->console, r->number);
    if (r->x || r->awaited)
        return;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    r->console->n_requests--;
    free_request(r);
}

void console_end(struct console *c, uint64_t number)
{
    struct request *r = find(c, number);
    if (!r)
        return;
    r->x = NULL;
    r->trace_id = "";
    request_release(r);
}

int64_t console_account(const struct console *c, uint64_t number)
{
    const struct request *r = find(c, number);
    return r ? r->account.id : 0;
}

size_t console_requests(const struct console *c)
{
    return c->n_requests;
}

/* --- waiting --- */

static void on_job(void *owner, struct store_job *job)
{
    struct request *r = request_resume(owner, job->number);
    if (r)
        r->then(r, job);
    free(job);
}

static void ask(struct request *r, struct store_job *job, store_work_fn *work,
                void (*then)(struct request *r, struct store_job *job), bool read)
{
    job->work = work;
    job->done = on_job;
    job->owner = r->console;
    job->number = r->number;
    r->then = then;
    if (store_is_up(r->console->store) &&
        (read ? store_ask_read(r->console->store, job) : store_ask(r->console->store, job)) == 0) {
        request_wait(r);
        return;
    }
    free(job);
    request_fault_after(r, FAULT_UNAVAILABLE, 1000,
                        "The store cannot be asked at the moment, please try again later.");
}

void request_ask(struct request *r, struct store_job *job, store_work_fn *work,
                 void (*then)(struct request *r, struct store_job *job))
{
    ask(r, job, work, then, false);
}

void request_ask_read(struct request *r, struct store_job *job, store_work_fn *work,
                      void (*then)(struct request *r, struct store_job *job))
{
    ask(r, job, work, then, true);
}

static void on_password(void *arg, const struct password_answer *answer)
{
    struct request *r = request_resume(arg, answer->number);
    if (r)
        r->then_password(r, answer);
}

static void await_password(struct request *r, int code,
                           void (*then)(struct request *r, const struct password_answer *answer))
{
    r->then_password = then;
    if (code == 0)
        request_wait(r);
    else if (code == ERR_LIMIT)
        request_fault(r, FAULT_BAD_REQUEST, "password", "The password is too long.");
    else
        request_fault_after(r, FAULT_UNAVAILABLE, 1000, "Too many log-ins wait; try again.");
}

void request_hash(struct request *r, const char *password,
                  void (*then)(struct request *r, const struct password_answer *answer))
{
    await_password(r, passwords_hash(r->console->passwords, r->number, password), then);
}

void request_verify(struct request *r, const char *password, const char *hash,
                    void (*then)(struct request *r, const struct password_answer *answer))
{
    await_password(r, passwords_verify(r->console->passwords, r->number, password, hash), then);
}

void request_wait(struct request *r)
{
    r->awaited++;
}

struct request *request_resume(struct console *c, uint64_t number)
{
    struct request *r = find(c, number);
    if (!r)
        return NULL;
    r->awaited--;
    if (r->x)
        return r;
    request_release(r);
    return NULL;
}
