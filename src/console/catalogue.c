/*
 * What is served: one service with one API, its models with their prices, and what the platform's
 * clients want to know of the place. All but whether the account has acquired the service comes
 * from the configuration.
 */
#include "console/platform.h"

#include "base/mem.h"
#include "console/console_private.h"
#include "console/objects.h"

#include <stdlib.h>

enum { ANSWER_BYTES = 4 << 20, MODELS_DEPTH = 8, DAY_MS = 86400000 };

static void write_models(const struct request *r, struct buf *b)
{
    const struct console_options *o = &r->console->options;
    buf_addc(b, '[');
    o->write_models(o->arg, b);
    buf_addc(b, ']');
}

/* How many rows there are, from the rows themselves. */
static bool count_models(const struct buf *rows, int64_t *n)
{
    struct json *list;
    if (rows->failed || json_parse(rows->data, rows->len, MODELS_DEPTH, &list, NULL))
        return false;
    *n = (int64_t)json_len(list);
    json_free(list);
    return true;
}

void model_list(struct request *r)
{
    struct buf rows, b;
    int64_t n;
    buf_init(&rows, ANSWER_BYTES);
    buf_init(&b, ANSWER_BYTES);
    write_models(r, &rows);
    if (count_models(&rows, &n)) {
        object_list_open(&b, n);
        buf_add(&b, rows.data + 1, rows.len - 1);
        buf_addc(&b, '}');
        request_json(r, 200, &b);
    } else {
        request_fault(r, FAULT_INTERNAL, NULL, "The list of models cannot be written.");
    }
    buf_done(&b);
    buf_done(&rows);
}

/* --- the API --- */

static void put_api(struct buf *b)
{
    buf_addc(b, '{');
    put_int(b, "id", OBJECT_API_ID);
    put_int(b, "service_id", OBJECT_SERVICE_ID);
    put_text(b, "title", "Chat completions");
    put_text(b, "method", "POST");
    put_text(b, "path", "/kimi/chat/completions");
    buf_adds(b, ",\"aliases\":[\"/v1/chat/completions\",\"/openai/chat/completions\"]");
    put_text(b, "definition", "/openapi.json");
    buf_addc(b, '}');
}

void api_list(struct request *r)
{
    struct buf b;
    buf_init(&b, ANSWER_BYTES);
    object_list_open(&b, 1);
    put_api(&b);
    object_list_close(&b);
    request_json(r, 200, &b);
    buf_done(&b);
}

static bool is_service(struct request *r)
{
    int64_t id;
    if (!request_id(r, 0, &id))
        return false;
    if (id == OBJECT_SERVICE_ID)
        return true;
    request_fault(r, FAULT_NOT_FOUND, NULL, "There is no such object.");
    return false;
}

void service_api_list(struct request *r)
{
    if (is_service(r))
        api_list(r);
}

/* --- the service --- */

struct service_job {
    struct store_job job;
    int64_t account_id;
    bool applied;
};

static int find_applied(struct store *s, struct store_job *job, struct error *e)
{
    struct service_job *j = (struct service_job *)job;
    struct store_application a;
    int rc = store_application_of(s, j->account_id, false, 0, &a, NULL, e);
    j->applied = false;
    if (rc == ERR_NOT_FOUND)
        return 0;
    return rc ? rc : store_key_ever(s, a.id, STORE_KEY_CALLS, &j->applied, e);
}

static void put_service(const struct request *r, struct buf *b, bool applied)
{
    buf_addc(b, '{');
    put_int(b, "id", OBJECT_SERVICE_ID);
    put_text(b, "alias", STORE_SERVICE);
    put_text(b, "title", "Kimi Chat Completion API");
    put_text(b, "type", "Api");
    put_text(b, "unit", "USD");
    put_usd(b, "free_amount", r->console->options.free_micros);
    put_bool(b, "applied", applied);
    buf_adds(b, ",\"cost\":");
    write_models(r, b);
    buf_adds(b, ",\"tags\":[],\"packages\":[],\"apis\":[");
    put_api(b);
    buf_adds(b, "],\"metadata\":{}}");
}

static void on_services(struct request *r, struct store_job *job)
{
    struct buf b;
    if (request_failed(r, job))
        return;
    buf_init(&b, ANSWER_BYTES);
    object_list_open(&b, 1);
    put_service(r, &b, ((const struct service_job *)job)->applied);
    object_list_close(&b);
    request_json(r, 200, &b);
    buf_done(&b);
}

static void on_service(struct request *r, struct store_job *job)
{
    struct buf b;
    if (request_failed(r, job))
        return;
    buf_init(&b, ANSWER_BYTES);
    put_service(r, &b, ((const struct service_job *)job)->applied);
    request_json(r, 200, &b);
    buf_done(&b);
}

static void ask(struct request *r, void (*then)(struct request *r, struct store_job *job))
{
    struct service_job *j = mem_zalloc(sizeof *j);
    j->account_id = r->account.id;
    request_ask_read(r, &j->job, find_applied, then);
}

void service_list(struct request *r)
{
    ask(r, on_services);
}

void service_get(struct request *r)
{
    if (is_service(r))
        ask(r, on_service);
}

/* --- the place --- */

void platform_config(struct request *r)
{
    static const char *const sign_ups[] = {
        [CONSOLE_CLOSED] = "closed", [CONSOLE_INVITE] = "invite", [CONSOLE_OPEN] = "open"};
    const struct console_options *o = &r->console->options;
    struct buf b;
    buf_init(&b, ANSWER_BYTES);
    buf_addc(&b, '{');
    put_text(&b, "name", "moongate");
    put_text(&b, "version", MOONGATE_VERSION);
    put_text(&b, "currency", "USD");
    put_text(&b, "sign_up", sign_ups[o->sign_up]);
    put_usd(&b, "free_amount", o->free_micros);
    put_int(&b, "free_days", o->free_ms / DAY_MS);
    put_int(&b, "credentials_per_application", o->keys_per_application);
    buf_addc(&b, '}');
    request_json(r, 200, &b);
    buf_done(&b);
}
