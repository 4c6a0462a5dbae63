/*
 * Who asks the console: a session by its cookie, or an account by a platform token. A token goes
 * first: whoever sends one does not mean the cookie that a browser adds by itself.
 *
 * Both are looked up in the store for each request: a session that was ended is over at once.
 */
#include "console/console_private.h"

#include "base/mem.h"
#include "gate/gate.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct who_job {
    struct store_job job;
    char session_hash[STORE_HEX_BYTES];
    uint8_t token_hash[STORE_HASH_BYTES];
    struct store_session session;
    struct store_account account;
    struct store_key key;
};

/* --- what a browser sends by itself is not enough --- */

static bool changes(const struct request *r)
{
    return strcmp(r->endpoint->method, "GET") != 0;
}

/* Of an Origin (scheme://host[:port]) the part that the Host header has. */
static bool is_own_origin(const struct request *r)
{
    const char *origin = http_header_get(r->x, "origin"), *host = http_header_get(r->x, "host");
    const char *ours = r->console->options.public_url;
    if (!origin)
        return true; /* no browser, or a page of ours */
    size_t n = *ours ? strcspn(ours + strcspn(ours, ":") + 3, "/") + strcspn(ours, ":") + 3 : 0;
    if (n && strlen(origin) == n && strncasecmp(origin, ours, n) == 0)
        return true;
    const char *name = strstr(origin, "://");
    return name && host && strcasecmp(name + 3, host) == 0;
}

/* A form always has a type; without a body and a type it is no form of another site. */
static bool is_json(const struct request *r)
{
    static const char json[] = "application/json";
    const char *type = http_header_get(r->x, "content-type");
    const char *length = http_header_get(r->x, "content-length");
    if (!type && !http_header_get(r->x, "transfer-encoding"))
        return !length || strcmp(length, "0") == 0;
    return type && strncasecmp(type, json, sizeof json - 1) == 0 &&
           strchr("; \t", type[sizeof json - 1]);
}

/* True: it may go on. */
static bool check_sender(struct request *r)
{
    if (!changes(r))
        return true;
    if (!is_own_origin(r)) {
        request_fault(r, FAULT_DENIED, NULL, "This request came from another site's page.");
        return false;
    }
    if (r->endpoint->reads && !is_json(r)) {
        request_fault(r, FAULT_BAD_REQUEST, NULL, "Content-Type must be application/json.");
        return false;
    }
    return true;
}

/* --- it is known who asks --- */

static void refuse_nobody(struct request *r)
{
    request_fault(r, FAULT_NO_SESSION, NULL,
                  "Log in first, or send a platform token as \"Authorization: Bearer TOKEN\".");
}

static void judge(struct request *r)
{
    enum endpoint_auth auth = r->endpoint->auth;
    bool by_session = r->session.hash[0] != '\0';
    if (auth == ENDPOINT_OPEN)
        request_admitted(r);
    else if (r->account.id == 0 || (auth == ENDPOINT_SESSION && !by_session))
        refuse_nobody(r);
    else if (r->account.disabled)
        request_fault(r, FAULT_DISABLED, NULL, "This account is disabled.");
    else if (by_session && changes(r) &&
             !session_csrf_is(r->token, http_header_get(r->x, "x-csrf-token")))
        request_fault(r, FAULT_DENIED, NULL,
                      "The X-CSRF-Token header is missing or not this session's.");
    else if (auth == ENDPOINT_ADMIN && r->account.role != STORE_ADMIN)
        request_fault(r, FAULT_DENIED, NULL, "This is for administrators.");
    else if (r->account.must_change && by_session && !r->endpoint->before_change)
        request_fault(r, FAULT_DENIED, NULL, "Choose a password of your own first.");
    else
        request_admitted(r);
}

static bool is_over(const struct request *r, const struct store_session *s)
{
    return s->expires_ms <= r->now_ms ||
           session_until(&r->console->options.session, s->created_ms, s->used_ms) <= r->now_ms;
}

/* A use is noted now and then; nobody waits for it. */
static int note_use(struct store *s, struct store_job *job, struct error *e)
{
    const struct who_job *j = (const struct who_job *)job;
    return store_session_used(s, j->session.hash, j->session.used_ms, j->session.expires_ms, e);
}

static void drop(void *owner, struct store_job *job)
{
    (void)owner;
    free(job);
}

static void send_note(struct request *r)
{
    const struct session_life *life = &r->console->options.session;
    if (!session_is_noted(life, r->session.used_ms, r->now_ms))
        return;
    struct who_job *note = mem_zalloc(sizeof *note);
    note->job = (struct store_job){.work = note_use, .done = drop, .relaxed = true};
    note->session = r->session;
    note->session.used_ms = r->now_ms;
    note->session.expires_ms = session_until(life, r->session.created_ms, r->now_ms);
    if (store_ask(r->console->store, &note->job))
        free(note);
}

static void on_session(struct request *r, struct store_job *job)
{
    const struct who_job *j = (const struct who_job *)job;
    if (job->code && job->code != ERR_NOT_FOUND) {
        request_failed(r, job);
        return;
    }
    if (job->code == 0 && !is_over(r, &j->session)) {
        r->session = j->session;
        r->account = j->account;
        send_note(r);
    }
    judge(r);
}

static void on_token(struct request *r, struct store_job *job)
{
    const struct who_job *j = (const struct who_job *)job;
    const struct store_key *k = &j->key;
    if (job->code && job->code != ERR_NOT_FOUND)
        request_failed(r, job);
    else if (job->code || k->revoked_ms)
        request_fault(r, FAULT_INVALID_TOKEN, NULL, "The specified token is invalid or wrong.");
    else if (k->kind != STORE_KEY_PLATFORM)
        request_fault(r, FAULT_TOKEN_MISMATCHED, NULL,
                      "This key calls the API; here a platform token is needed.");
    else if (k->expires_ms && k->expires_ms <= r->now_ms)
        request_fault(r, FAULT_TOKEN_EXPIRED, NULL, "The specified token has expired.");
    else if (k->disabled || k->owner_disabled)
        request_fault(r, FAULT_DISABLED, NULL, "The specified token is disabled.");
    else {
        r->account = j->account;
        judge(r);
    }
}

static int find_session(struct store *s, struct store_job *job, struct error *e)
{
    struct who_job *j = (struct who_job *)job;
    return store_session_get(s, j->session_hash, &j->session, &j->account, e);
}

static int find_token(struct store *s, struct store_job *job, struct error *e)
{
    struct who_job *j = (struct who_job *)job;
    int rc = store_key_find(s, j->token_hash, &j->key, e);
    if (rc == 0)
        rc = store_account_get(s, j->key.account_id, &j->account, e);
    return rc;
}

void authenticate(struct request *r)
{
    const char *authorization = http_header_get(r->x, "authorization");
    struct who_job *j = mem_zalloc(sizeof *j);
    uint8_t hash[STORE_HASH_BYTES];
    size_t len;
    if (!check_sender(r)) {
        free(j);
        return;
    }
    const char *token = gate_bearer(authorization, &len);
    if (token && r->endpoint->auth != ENDPOINT_OPEN) {
        gate_key_hash(token, len, j->token_hash);
        request_ask_read(r, &j->job, find_token, on_token);
    } else if (session_cookie_read(http_header_get(r->x, "cookie"), r->secure, r->token) &&
               session_token_hash(r->token, hash)) {
        store_hex(hash, j->session_hash);
        request_ask_read(r, &j->job, find_session, on_session);
    } else {
        free(j);
        judge(r);
    }
}
