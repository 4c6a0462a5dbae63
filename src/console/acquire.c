/*
 * "Acquire": the account gets its application for the service, a first key, and the free quota,
 * all in one transaction. A person gets the quota once for ever; that a key was made or the
 * application is there already (an administrator's grant or a platform token makes it, too) does
 * not take it away.
 *
 * Acquired is an application that ever had a key which calls.
 */
#include "console/platform.h"

#include "base/mem.h"
#include "base/net.h"
#include "console/console_private.h"
#include "console/objects.h"
#include "gate/gate.h"

#include <stdio.h>
#include <string.h>

enum { PREFIX_CHARS = 9, ANSWER_BYTES = 1 << 16 };

struct acquire_job {
    struct store_job job;
    bool again; /* acquired before is no failure */
    struct store_free free;
    char person[STORE_HEX_BYTES], network[NET_TEXT_BYTES];
    int64_t account_id;
    struct store_key key; /* id 0: none was made */
    char token[GATE_KEY_CHARS + 1];
    struct store_application application;
    bool grants; /* there is a free quota, and a person to get it */
    enum store_free_verdict verdict;
};

static int make_first_key(struct store *s, struct acquire_job *j, struct error *e)
{
    uint8_t hash[STORE_HASH_BYTES];
    struct store_key row = {.application_id = j->application.id,
                            .name = "first",
                            .cap_micros = -1,
                            .created_ms = j->free.now_ms};
    int64_t id;
    snprintf(row.prefix, sizeof row.prefix, "%.*s", PREFIX_CHARS, j->token);
    gate_key_hash(j->token, GATE_KEY_CHARS, hash);
    int rc = store_key_add(s, hash, &row, &id, e);
    return rc ? rc : store_key_get(s, j->account_id, id, &j->key, e);
}

static int give_free(struct store *s, struct acquire_job *j, struct error *e)
{
    if (!j->grants)
        return 0;
    j->free.person = j->person;
    j->free.network = j->network;
    j->free.application_id = j->application.id;
    return store_free_grant(s, &j->free, &j->verdict, e);
}

static int acquire(struct store *s, struct store_job *job, struct error *e)
{
    struct acquire_job *j = (struct acquire_job *)job;
    bool had = false;
    j->key.id = 0;
    int rc = store_application_of(s, j->account_id, true, j->free.now_ms, &j->application, NULL, e);
    if (rc == 0) /* of two at once, one finds the other's key */
        rc = store_application_lock(s, j->application.id, e);
    if (rc == 0)
        rc = store_key_ever(s, j->application.id, STORE_KEY_CALLS, &had, e);
    if (rc == 0 && had && !j->again)
        rc = error_set(e, ERR_EXISTS, "the application is there");
    if (rc == 0 && !had)
        rc = make_first_key(s, j, e);
    if (rc == 0)
        rc = give_free(s, j, e);
    if (rc == 0) /* with the balance as it is now */
        rc = store_application_get(s, j->account_id, j->application.id, &j->application, e);
    return rc;
}

static const char *free_word(const struct acquire_job *j)
{
    if (!j->grants)
        return "none";
    return j->verdict == STORE_FREE_GRANTED  ? "granted"
           : j->verdict == STORE_FREE_HAD_IT ? "had"
                                             : "network_full";
}

static void on_acquired(struct request *r, struct store_job *job)
{
    struct acquire_job *j = (struct acquire_job *)job;
    bool made = j->key.id != 0;
    struct buf b;
    if (!request_failed(r, job)) {
        buf_init(&b, ANSWER_BYTES);
        object_application(&b, &j->application, &j->key, made, j->token, r->now_ms);
        put_text(&b, "free", free_word(j));
        buf_addc(&b, '}');
        request_json(r, made ? 201 : 200, &b);
        buf_done(&b);
    }
    explicit_bzero(j->token, sizeof j->token);
}

/* The /24 or /64 that the client is in, whose free quotas of a day are bounded; "" is not known. */
static void write_network(const char *peer, char out[NET_TEXT_BYTES])
{
    enum { IPV4_KEPT = 15, IPV6_KEPT = 8 };
    struct net_address a;
    *out = '\0';
    if (!net_address_parse(peer, &a))
        return;
    net_address_text(&a, out);
    size_t kept = strchr(out, ':') ? IPV6_KEPT : IPV4_KEPT;
    memset(a.bytes + kept, 0, sizeof a.bytes - kept);
    net_address_text(&a, out);
}

static bool refuse(struct request *r, const char *param, const char *why)
{
    request_fault(r, FAULT_BAD_REQUEST, param, "%s %s.", param, why);
    return false;
}

/* The service by its number or its name. */
static bool check_service(struct request *r)
{
    bool given;
    int64_t id;
    const struct json *v = json_get(r->body, "service_id", &given);
    size_t len;
    if (json_kind(v) == JSON_NULL || (json_int64(v, &id) && id == OBJECT_SERVICE_ID))
        return true;
    if (json_kind(v) == JSON_STRING && (strcmp(json_string(v, &len), STORE_SERVICE) == 0 ||
                                        strcmp(json_string(v, &len), "1") == 0))
        return true;
    request_fault(r, FAULT_NOT_FOUND, "service_id", "There is no such service.");
    return false;
}

static bool check_body(struct request *r)
{
    char type[32], scope[32];
    bool given;
    if (!check_service(r) || !request_text(r, "type", type, sizeof type, &given))
        return false;
    if (given && strcmp(type, "Usage") != 0)
        return refuse(r, "type", "must be \"Usage\": what is used is paid, not a time");
    if (!request_text(r, "scope", scope, sizeof scope, &given))
        return false;
    if (given && strcmp(scope, "Global") != 0 && strcmp(scope, "Individual") != 0)
        return refuse(r, "scope", "must be \"Global\" or \"Individual\"");
    return true;
}

static void begin(struct request *r, bool again)
{
    const struct console_options *o = &r->console->options;
    if (!check_body(r))
        return;
    struct acquire_job *j = mem_zalloc(sizeof *j);
    j->again = again;
    j->account_id = r->account.id;
    memcpy(j->person, r->account.person, sizeof j->person);
    write_network(r->peer, j->network);
    j->grants = o->free_micros > 0 && *j->person;
    j->free.amount_micros = o->free_micros;
    j->free.now_ms = r->now_ms;
    j->free.expires_ms = o->free_ms ? r->now_ms + o->free_ms : 0;
    j->free.per_network_day = o->free_per_network_day;
    gate_key_make(j->token);
    request_ask(r, &j->job, acquire, on_acquired);
}

void application_acquire(struct request *r)
{
    begin(r, false);
}

void application_acquire_again(struct request *r)
{
    begin(r, true);
}
