/*
 * What can be configured. A new option is a row here and a field in config.h, nothing else.
 */
#include "config_table.h"

#include <string.h>

#define KIB    1024.0
#define MIB    (1024 * KIB)
#define GIB    (1024 * MIB)
#define SECOND 1000.0
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)

#define FIELD(type, member) offsetof(struct type, member), sizeof(((struct type *)0)->member)
#define CONFIG(member)      FIELD(config, member)
#define MODEL(member)       FIELD(config_model, member)
#define ROUTE(member)       FIELD(route, member)
#define BACKEND(member)     FIELD(config_backend, member)
#define UPSTREAM(member)    BACKEND(upstream.member)
#define NO_FIELD            0, 0

static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const log_formats[] = {"text", "json", NULL};
static const char *const kv_types[] = {"f16", "f32", NULL};
static const char *const kernel_sets[] = {"auto", "scalar", "avx2", "avx512", "avx512vnni", NULL};
static const char *const yarn_betas[] = {"llama", "file", NULL};
static const char *const thinkings[] = {"never", "off", "on", "always", NULL};
static const char *const backend_kinds[] = {"local", "openai", NULL};
static const char *const http2_uses[] = {"auto", "off", "prior", NULL}; /* enum upstream_http2 */
static const char *const durabilities[] = {"relaxed", "strict", NULL};
static const char *const sign_ups[] = {"closed", "invite", "open", NULL};   /* console_sign_up */
static const char *const secure_uses[] = {"auto", "always", "never", NULL}; /* console_secure */
static const char *const away_rules[] = {"local", "refuse", NULL};
static const char *const a_store_url[] = {
    "empty for a SQLite database in the data folder, sqlite:FILE, or "
    "postgres://USER:PASSWORD@HOST/DATABASE",
    NULL};
static const char *const a_redis_url[] = {"empty, or redis://:PASSWORD@HOST:PORT/DB", NULL};
static const char *const a_smtp_url[] = {"empty, or smtp:// or smtps://USER:PASSWORD@HOST:PORT",
                                         NULL};
static const char *const a_default_model[] = {"the id of a default model", NULL};
static const char *const a_route_list[] = {"a list of mappings", NULL};
static const char *const a_header_map[] = {"a mapping of names and values", NULL};
static const char *const a_header_list[] = {"a list of names", NULL};

static const struct config_option options[] = {
    {"listen", OPTION_ADDRESS, CONFIG(listen), 0, 0, "127.0.0.1:8080", NULL, false,
     "The address to serve on; port 0 takes a free one."},
    {"data", OPTION_TEXT, CONFIG(data), 0, 0, "./data", NULL, false,
     "The folder of the database; made if it is missing."},

    {"log.level", OPTION_ENUM, CONFIG(log_level), 0, 0, "info", log_levels, true,
     "The least grave lines that are logged."},
    {"log.format", OPTION_ENUM, CONFIG(log_json), 0, 0, "text", log_formats, true,
     "How a line of the log is written."},

    {"limits.connections", OPTION_INT, CONFIG(http.connections), 1, 1000000, "20000", NULL, true,
     "Connections open at once; accepting pauses beyond that."},
    {"limits.head_bytes", OPTION_BYTES, CONFIG(http.head_bytes), 1 * KIB, 1 * MIB, "16KiB", NULL,
     true, "The largest request line with header fields."},
    {"limits.head_fields", OPTION_INT, CONFIG(http.head_fields), 8, 10000, "100", NULL, true,
     "Header fields of one request."},
    {"limits.body_bytes", OPTION_BYTES, CONFIG(http.body_bytes), 1 * KIB, 1 * GIB, "4MiB", NULL,
     true, "The largest request body."},
    {"limits.json_depth", OPTION_INT, CONFIG(json_depth), 8, 1000, "64", NULL, true,
     "How deep a request's JSON may nest."},
    {"limits.head_timeout", OPTION_MS, CONFIG(http.head_timeout_ms), 100, 1 * HOUR, "10s", NULL,
     true, "From the first byte of a request's head to its end."},
    {"limits.body_timeout", OPTION_MS, CONFIG(http.body_timeout_ms), 100, 1 * HOUR, "60s", NULL,
     true, "From the end of the head to the end of the body."},
    {"limits.idle_timeout", OPTION_MS, CONFIG(http.idle_timeout_ms), 100, 1 * HOUR, "75s", NULL,
     true, "How long a connection may wait for its next request."},
    {"limits.stall_timeout", OPTION_MS, CONFIG(http.stall_timeout_ms), 100, 1 * HOUR, "60s", NULL,
     true, "How long a client may take none of the bytes that wait for it."},
    {"limits.stream_bytes", OPTION_BYTES, CONFIG(http.stream_bytes), 1 * KIB, 64 * MIB, "64KiB",
     NULL, true, "A stream waits for its client beyond this many unsent bytes."},
    {"limits.messages", OPTION_INT, CONFIG(api.messages), 1, 1000000, "4096", NULL, true,
     "Messages of one request."},
    {"limits.choices", OPTION_INT, CONFIG(api.choices), 1, 128, "5", NULL, true,
     "The greatest `n` of a request."},
    {"limits.stops", OPTION_INT, CONFIG(api.stops), 0, 64, "5", NULL, true,
     "Stop strings of one request."},
    {"limits.stop_bytes", OPTION_INT, CONFIG(api.stop_bytes), 1, 4096, "256", NULL, true,
     "The longest stop string, in bytes."},
    {"limits.logit_biases", OPTION_INT, CONFIG(api.logit_biases), 0, 100000, "1024", NULL, true,
     "Entries of one request's logit_bias."},
    {"limits.tools", OPTION_INT, CONFIG(api.tools), 0, 1024, "128", NULL, true,
     "Tools of one request."},
    {"limits.keep_alive", OPTION_MS, CONFIG(keep_alive_ms), 100, 10 * MINUTE, "10s", NULL, true,
     "A stream that is silent for so long gets a comment line."},
    {"limits.drain", OPTION_MS, CONFIG(drain_ms), 0, 1 * HOUR, "30s", NULL, true,
     "How long running calls may go on after SIGTERM."},
    {"limits.call_timeout", OPTION_MS, CONFIG(call_timeout_ms), 0, 24 * HOUR, "15m", NULL, true,
     "From a call's acceptance to the end of its reply; 0 for no limit."},
    {"limits.key_cache", OPTION_MS, CONFIG(key_cache_ms), 0, 1 * HOUR, "1s", NULL, true,
     "How long a good key is not looked up again; a revoked one is refused after that at the "
     "latest."},

    {"routing.tries", OPTION_INT, CONFIG(routing.tries), 1, 10, "3", NULL, true,
     "Backends that one call may be given to before its reply begins, the first included."},
    {"routing.queue", OPTION_INT, CONFIG(routing.queue_calls), 0, 100000, "256", NULL, true,
     "Calls that may wait for a backend with room, all keys together."},
    {"routing.queue_bytes", OPTION_BYTES, CONFIG(routing.queue_bytes), 64 * KIB, 16 * GIB, "64MiB",
     NULL, true, "The sum of the requests that wait."},
    {"routing.queue_timeout", OPTION_MS, CONFIG(routing.queue_ms), 0, 1 * HOUR, "30s", NULL, true,
     "How long a call waits for a backend with room."},
    {"routing.failures", OPTION_INT, CONFIG(routing.failures), 1, 1000, "5", NULL, true,
     "Failures in a row after which a backend gets no calls for a while."},
    {"routing.open", OPTION_MS, CONFIG(routing.open_ms), 100, 1 * HOUR, "1s", NULL, true,
     "How long that is the first time; it doubles with every trial that fails."},
    {"routing.open_max", OPTION_MS, CONFIG(routing.open_max_ms), 100, 24 * HOUR, "1m", NULL, true,
     "How long that is at most."},
    {"routing.rest_max", OPTION_MS, CONFIG(routing.rest_max_ms), 0, 1 * HOUR, "1m", NULL, true,
     "The longest Retry-After of a backend that is respected."},
    {"routing.affinity", OPTION_BOOL, CONFIG(routing.affinity), 0, 0, "true", NULL, true,
     "The same conversation goes to the same backend, whose cache knows it."},
    {"routing.load", OPTION_INT, CONFIG(routing.load_percent), 100, 1000, "125", NULL, true,
     "Percent of its share that a backend may have before a conversation goes elsewhere."},
    {"routing.probe", OPTION_MS_OR_NEVER, CONFIG(routing.probe_ms), 1 * SECOND, 1 * HOUR, "0", NULL,
     true, "How often a backend that fails is asked for GET /models; 0 for never."},

    {"tls.cert", OPTION_FILE, CONFIG(tls.cert), 0, 0, "", NULL, true,
     "The server's certificate with its chain (PEM); with tls.key it speaks HTTPS by itself."},
    {"tls.key", OPTION_FILE, CONFIG(tls.key), 0, 0, "", NULL, true, "The certificate's key (PEM)."},
    {"http.trusted_proxies", OPTION_TEXT, CONFIG(trusted_proxies), 0, 1000, "", NULL, true,
     "Networks (CIDR, with commas) whose X-Forwarded-For and X-Forwarded-Proto are believed."},

    {"store.url", OPTION_SECRET, CONFIG(store.url), 0, 1000, "", a_store_url, false,
     "Where accounts, keys and the ledger are kept."},
    {"store.durability", OPTION_ENUM, CONFIG(store.durable), 0, 0, "strict", durabilities, false,
     "strict: a reply that a client got whole is on disk; relaxed: a power cut may lose some."},
    {"store.patience", OPTION_MS, CONFIG(store.patience_ms), 100, 10 * MINUTE, "5s", NULL, false,
     "How long a reply waits for a store that is away before it is told as failed."},
    {"store.queue", OPTION_INT, CONFIG(store.queue), 64, 1000000, "65536", NULL, false,
     "Operations that may wait for the store; beyond it calls are refused with 503."},
    {"store.retention_days", OPTION_INT, CONFIG(store.retention_days), 0, 36500, "90", NULL, true,
     "How many days the rows of calls are kept; 0 for ever. Totals by the hour stay."},

    {"quota.list_prices", OPTION_BOOL, CONFIG(quota.list_prices), 0, 0, "false", NULL, true,
     "Default models cost what Moonshot's list says, where they have no prices here."},
    {"quota.free", OPTION_USD, CONFIG(quota.free_micros), 0, 1e12, "1", NULL, true,
     "The free quota that a person gets at the first Acquire, in USD."},
    {"quota.free_days", OPTION_INT, CONFIG(quota.free_days), 0, 36500, "0", NULL, true,
     "How many days it may be spent; 0 for ever."},
    {"quota.free_per_network_day", OPTION_INT, CONFIG(quota.free_per_network_day), 0, 1000000, "10",
     NULL, true, "How often one network gets it in a day; 0 for no limit."},
    {"quota.email_plus", OPTION_BOOL, CONFIG(quota.email_plus), 0, 0, "true", NULL, true,
     "name+x@host is the same person as name@host."},
    {"quota.email_dots", OPTION_BOOL, CONFIG(quota.email_dots), 0, 0, "true", NULL, true,
     "So is n.ame, at providers that do not look at dots."},
    {"quota.hold_margin", OPTION_MS, CONFIG(quota.hold_margin_ms), 1 * SECOND, 24 * HOUR, "1m",
     NULL, true, "How long a hold may outlive the longest call before it is freed."},
    {"quota.keys", OPTION_INT, CONFIG(quota.keys), 1, 100000, "100", NULL, true,
     "Keys that one application may have."},

    {"rates.key_requests", OPTION_INT, CONFIG(rates.key.per_minute[LIMITS_REQUESTS]), 0, 1e10, "0",
     NULL, true, "Requests a minute of one key; 0 for no limit."},
    {"rates.key_tokens", OPTION_INT, CONFIG(rates.key.per_minute[LIMITS_TOKENS]), 0, 1e10, "0",
     NULL, true, "Tokens a minute, prompt and reply together."},
    {"rates.key_concurrent", OPTION_INT, CONFIG(rates.key.concurrent), 0, 1e10, "0", NULL, true,
     "Calls at once."},
    {"rates.account_requests", OPTION_INT, CONFIG(rates.account.per_minute[LIMITS_REQUESTS]), 0,
     1e10, "0", NULL, true, "Requests a minute of one account; 0 for no limit."},
    {"rates.account_tokens", OPTION_INT, CONFIG(rates.account.per_minute[LIMITS_TOKENS]), 0, 1e10,
     "0", NULL, true, "Tokens a minute, prompt and reply together."},
    {"rates.account_concurrent", OPTION_INT, CONFIG(rates.account.concurrent), 0, 1e10, "0", NULL,
     true, "Calls at once."},
    {"rates.model_requests", OPTION_INT, CONFIG(rates.model.per_minute[LIMITS_REQUESTS]), 0, 1e10,
     "0", NULL, true, "Requests a minute of one model, all callers together; 0 for no limit."},
    {"rates.model_tokens", OPTION_INT, CONFIG(rates.model.per_minute[LIMITS_TOKENS]), 0, 1e10, "0",
     NULL, true, "Tokens a minute, prompt and reply together."},
    {"rates.model_concurrent", OPTION_INT, CONFIG(rates.model.concurrent), 0, 1e10, "0", NULL, true,
     "Calls at once."},
    {"rates.network_requests", OPTION_INT, CONFIG(rates.network.per_minute[LIMITS_REQUESTS]), 0,
     1e10, "0", NULL, true,
     "Requests a minute of one network (an IPv4 /24, an IPv6 /64); 0 for no limit."},
    {"rates.network_tokens", OPTION_INT, CONFIG(rates.network.per_minute[LIMITS_TOKENS]), 0, 1e10,
     "0", NULL, true, "Tokens a minute, prompt and reply together."},
    {"rates.network_concurrent", OPTION_INT, CONFIG(rates.network.concurrent), 0, 1e10, "0", NULL,
     true, "Calls at once."},
    {"rates.rows", OPTION_INT, CONFIG(rates.rows), 64, 10000000, "65536", NULL, false,
     "Keys, accounts, networks that are known at once; more share one row."},
    {"rates.redis", OPTION_SECRET, CONFIG(rates.redis), 0, 1000, "", a_redis_url, false,
     "A Redis or Valkey that replicas share their limits in."},
    {"rates.redis_timeout", OPTION_MS, CONFIG(rates.timeout_ms), 10, 1 * MINUTE, "500ms", NULL,
     false, "How long it may take to answer."},
    {"rates.redis_away", OPTION_ENUM, CONFIG(rates.away_refuse), 0, 0, "local", away_rules, false,
     "While it is away: local, each replica applies the limits by itself; refuse, calls get 503."},

    {"accounts.sign_up", OPTION_ENUM, CONFIG(accounts.sign_up), 0, 0, "open", sign_ups, true,
     "Who may make an account: nobody (an administrator does), who is invited, everybody."},
    {"accounts.admin", OPTION_TEXT, CONFIG(accounts.admin), 0, 254, "admin@localhost", NULL, false,
     "The address of the administrator that is made at the first start."},
    {"accounts.public_url", OPTION_URL, CONFIG(accounts.public_url), 0, 0, "", NULL, true,
     "Where people reach this server: for links in mails and for OpenID Connect."},
    {"accounts.secure_cookies", OPTION_ENUM, CONFIG(accounts.secure), 0, 0, "auto", secure_uses,
     true, "Whether cookies are for HTTPS alone; auto: where the request came by it."},
    {"accounts.session_idle", OPTION_MS, CONFIG(accounts.session_idle_ms), 1 * MINUTE, 8760 * HOUR,
     "168h", NULL, true, "A session that is not used for so long is over."},
    {"accounts.session_max", OPTION_MS, CONFIG(accounts.session_max_ms), 1 * MINUTE, 8760 * HOUR,
     "720h", NULL, true, "And so long after its log-in in any case."},
    {"accounts.link_time", OPTION_MS, CONFIG(accounts.link_ms), 1 * MINUTE, 720 * HOUR, "24h", NULL,
     true, "How long a link of an invitation or a reset is good."},
    {"accounts.login_tries", OPTION_INT, CONFIG(accounts.login_tries), 1, 1000, "10", NULL, false,
     "Wrong passwords of one account before it must wait."},
    {"accounts.network_tries", OPTION_INT, CONFIG(accounts.network_tries), 1, 100000, "50", NULL,
     false, "Wrong passwords from one network before it must wait."},
    {"accounts.first_wait", OPTION_MS, CONFIG(accounts.first_wait_ms), 100, 24 * HOUR, "30s", NULL,
     false, "How long that is the first time; it doubles with each further one."},
    {"accounts.longest_wait", OPTION_MS, CONFIG(accounts.longest_wait_ms), 100, 24 * HOUR, "1h",
     NULL, false, "How long that is at most."},

    {"mail.smtp", OPTION_SECRET, CONFIG(mail.smtp), 0, 1000, "", a_smtp_url, true,
     "The server that mails go to; empty: none are sent, an administrator hands links out."},
    {"mail.from", OPTION_TEXT, CONFIG(mail.from), 0, 254, "", NULL, true,
     "The address that they come from."},

    {"oidc.issuer", OPTION_URL, CONFIG(oidc.issuer), 0, 0, "", NULL, true,
     "An OpenID Connect provider that people may log in with."},
    {"oidc.client_id", OPTION_TEXT, CONFIG(oidc.client_id), 0, 500, "", NULL, true,
     "What the provider knows this server by."},
    {"oidc.client_secret", OPTION_SECRET, CONFIG(oidc.client_secret), 0, 1000, "", NULL, true,
     "Its secret, if it has one."},
    {"oidc.name", OPTION_TEXT, CONFIG(oidc.name), 0, 60, "", NULL, true,
     "What people call the provider."},

    {"engine.gguf", OPTION_TEXT, CONFIG(engine.gguf), 0, 0, "", NULL, false,
     "The file of the weights; empty for the built-in model."},
    {"engine.threads", OPTION_INT, CONFIG(engine.threads), 0, 1024, "0", NULL, false,
     "Compute threads; 0 takes one a core."},
    {"engine.sequences", OPTION_INT, CONFIG(engine.sequences), 1, 1024, "16", NULL, false,
     "Replies that are computed together."},
    {"engine.queue", OPTION_INT, CONFIG(engine.queue), 1, 100000, "256", NULL, false,
     "Calls that may wait for their turn."},
    {"engine.chunk_tokens", OPTION_INT, CONFIG(engine.chunk_tokens), 1, 4096, "64", NULL, false,
     "Tokens of a prompt that are computed in one step."},
    {"engine.kv_tokens", OPTION_INT, CONFIG(engine.kv_tokens), 256, 16777216, "16384", NULL, false,
     "Size of the KV cache in tokens, shared by all replies."},
    {"engine.kv_type", OPTION_ENUM, CONFIG(engine.kv_f32), 0, 0, "f16", kv_types, false,
     "Numbers of the KV cache."},
    {"engine.kernels", OPTION_WORD, CONFIG(engine.kernels), 0, 0, "auto", kernel_sets, false,
     "The instruction set; auto takes the best that the processor has."},
    {"engine.yarn_beta", OPTION_ENUM, CONFIG(engine.yarn_beta_file), 0, 0, "llama", yarn_betas,
     false, "YaRN's beta_fast and beta_slow: 32 and 1 as llama.cpp takes them, or the file's."},
};

static const struct config_option model_options[] = {
    {"like", OPTION_OTHER, NO_FIELD, 0, 0, NULL, a_default_model, true,
     "Starts from the values of a model of the default list."},
    {"id", OPTION_NAME, MODEL(api.id), 0, 0, NULL, NULL, true, "The name that requests give."},
    {"context", OPTION_INT, MODEL(api.context_tokens), 16, 16777216, "262144", NULL, true,
     "Tokens that prompt and reply may have together."},
    {"created", OPTION_DATE, MODEL(api.created), 0, 32503680000.0, "0", NULL, true,
     "The date that GET /v1/models tells."},
    {"thinking", OPTION_ENUM, MODEL(api.thinking), 0, 0, "never", thinkings, true,
     "on and off are defaults that a request may change."},
    {"strict", OPTION_BOOL, MODEL(api.strict), 0, 0, "false", NULL, true,
     "Refuses values out of range as Moonshot's API does; false brings them into range."},
    {"temperature", OPTION_NUMBER, MODEL(api.temperature), 0, 2, "1", NULL, true,
     "The default of a reply that thinks."},
    {"temperature_instant", OPTION_NUMBER, MODEL(api.temperature_instant), 0, 2, "0.6", NULL, true,
     "The default of a reply that does not think."},
    {"top_p", OPTION_NUMBER, MODEL(api.top_p), 0, 1, "1", NULL, true, "The default of top_p."},
    {"fixed_sampling", OPTION_BOOL, MODEL(api.fixed_sampling), 0, 0, "false", NULL, true,
     "With strict: temperature, top_p, n and the penalties cannot be changed."},
    {"price_input", OPTION_USD, MODEL(price.input), 0, 1e9, "0", NULL, true,
     "USD for a million tokens of prompt."},
    {"price_cached", OPTION_USD, MODEL(price.cached), 0, 1e9, "0", NULL, true,
     "The same for those of them that a cache had; without it they cost as much as the others."},
    {"price_output", OPTION_USD, MODEL(price.output), 0, 1e9, "0", NULL, true,
     "USD for a million tokens of reply, reasoning included."},
    {"max_tokens", OPTION_INT, MODEL(api.max_tokens), 0, 16777216, "0", NULL, true,
     "The default length of a reply; 0 takes what the context leaves."},
    {"images", OPTION_BOOL, MODEL(api.images), 0, 0, "false", NULL, true,
     "Passes image, video and sound parts on to an upstream; false refuses them."},
    {"tokenizer", OPTION_TEXT, MODEL(tokenizer), 0, 0, "", NULL, true,
     "Counts what an upstream does not: engine, or a file, GGUF or tiktoken.model; empty "
     "estimates."},
    {"backend", OPTION_NAME, MODEL(backend), 0, CONFIG_BACKEND_BYTES, "", NULL, true,
     "The backend that answers; empty for the one named local, or else the first of the list."},
    {"backends", OPTION_OTHER, NO_FIELD, 0, 0, NULL, a_route_list, true,
     "In place of `backend`, several of them, each with:"},
};

static const struct config_option route_options[] = {
    {"name", OPTION_NAME, ROUTE(backend), 0, CONFIG_BACKEND_BYTES, NULL, NULL, true,
     "A name of the list of backends."},
    {"weight", OPTION_INT, ROUTE(weight), 1, 1000, "1", NULL, true,
     "Its share of the calls among those of the same priority."},
    {"priority", OPTION_INT, ROUTE(priority), 1, 100, "1", NULL, true,
     "The lowest goes first; a higher one answers when all before it are full or failing."},
    {"model", OPTION_TEXT, ROUTE(model), 0, 256, "", NULL, true,
     "The name that this upstream knows the model by; empty for the id."},
};

/* The first CONFIG_SHARED_OPTIONS are of every kind, the others of openai alone. */
static const struct config_option backend_options[] = {
    {"name", OPTION_NAME, BACKEND(name), 0, CONFIG_BACKEND_BYTES, NULL, NULL, true,
     "The name that models give; local is for kind: local."},
    {"kind", OPTION_ENUM, BACKEND(kind), 0, 0, "local", backend_kinds, true,
     "local: the engine in this process, one at most; openai: a server, which alone has url and "
     "below."},
    {"concurrency", OPTION_INT, UPSTREAM(concurrency), 0, 100000, "0", NULL, true,
     "Calls that it works on at once; 0 for no limit but the engine's own queue."},
    {"url", OPTION_URL, UPSTREAM(url), 0, 0, "", NULL, true,
     "Where the server is; a path in it is the prefix. Must be given."},
    {"prefix", OPTION_PREFIX, UPSTREAM(prefix), 0, 0, "/v1", NULL, true,
     "The path before /chat/completions."},
    {"key_env", OPTION_VARIABLE, BACKEND(key_env), 0, 0, "", NULL, true,
     "The environment variable that holds the key, sent as Authorization: Bearer."},
    {"key_file", OPTION_FILE, BACKEND(key_file), 0, 0, "", NULL, true,
     "A file of one line that holds the key, in place of key_env."},
    {"headers", OPTION_OTHER, NO_FIELD, 0, 0, NULL, a_header_map, true,
     "Header fields of every request; `config show` leaves them out, for values may be secrets."},
    {"forward", OPTION_OTHER, NO_FIELD, 0, 0, NULL, a_header_list, true,
     "Header fields of the client that are passed on; no others are."},
    {"tls_verify", OPTION_BOOL, UPSTREAM(verify), 0, 0, "true", NULL, true,
     "Checks the server's certificate."},
    {"ca_file", OPTION_FILE, UPSTREAM(ca_file), 0, 0, "", NULL, true,
     "Certificates (PEM) to check it against in place of the system's."},
    {"http2", OPTION_ENUM, UPSTREAM(http2), 0, 0, "auto", http2_uses, true,
     "auto: where TLS agrees on it; prior: also without TLS, for a server known to speak it."},
    {"proxy", OPTION_PROXY, UPSTREAM(proxy), 0, 0, "", NULL, true,
     "The way to the server; `config show` leaves user and password out."},
    {"connect_timeout", OPTION_MS, UPSTREAM(connect_ms), 100, 1 * HOUR, "5s", NULL, true,
     "For name, connection and TLS together."},
    {"first_byte_timeout", OPTION_MS, UPSTREAM(first_byte_ms), 100, 1 * HOUR, "2m", NULL, true,
     "Of a stream: from the request's end to its first byte."},
    {"idle_timeout", OPTION_MS, UPSTREAM(idle_ms), 100, 1 * HOUR, "1m", NULL, true,
     "Of a stream: between two bytes."},
    {"total_timeout", OPTION_MS, UPSTREAM(total_ms), 0, 24 * HOUR, "0", NULL, true,
     "Of one try; 0 for none but limits.call_timeout."},
    {"event_bytes", OPTION_BYTES, UPSTREAM(event_bytes), 1 * KIB, 1 * GIB, "16MiB", NULL, true,
     "The largest event of a stream."},
    {"reply_bytes", OPTION_BYTES, UPSTREAM(reply_bytes), 1 * KIB, 1 * GIB, "64MiB", NULL, true,
     "The largest whole reply."},
    {"head_bytes", OPTION_BYTES, UPSTREAM(head_bytes), 1 * KIB, 256 * KIB, "64KiB", NULL, true,
     "The header fields of a response."},
    {"template_kwargs", OPTION_BOOL, UPSTREAM(template_kwargs), 0, 0, "false", NULL, true,
     "Tells thinking or not also by chat_template_kwargs, as vLLM and SGLang read it."},
};

#define TABLE(rows)                                                                                \
    {                                                                                              \
        rows, sizeof rows / sizeof rows[0]                                                         \
    }
const struct option_table config_options = TABLE(options);
const struct option_table config_model_options = TABLE(model_options);
const struct option_table config_route_options = TABLE(route_options);
const struct option_table config_backend_options = TABLE(backend_options);

/* Dates are those of the releases. */
const struct config_default_model config_default_models[] = {
    {"kimi-k3", "1048576", "2026-07-01", "on", "1", "1", "0.95", "true", "3", "0.3", "15"},
    {"kimi-k2.6", "262144", "2026-04-20", "on", "1", "0.6", "0.95", "true", "0.95", "0.16", "4"},
    {"kimi-k2.5", "262144", "2026-01-27", "on", "1", "0.6", "0.95", "true", "0.6", "0.1", "3"},
    {"kimi-k2-thinking", "262144", "2025-11-06", "always", "1", "0.6", "1", "false", "0.6", "0.15",
     "2.5"},
    {"kimi-k2-thinking-turbo", "262144", "2025-11-06", "always", "1", "0.6", "1", "false", "1.15",
     "0.15", "8"},
    {"kimi-k2-instruct-0905", "262144", "2025-09-05", "never", "1", "0.6", "1", "false", "0.6",
     "0.15", "2.5"},
    {"kimi-k2-0905-preview", "262144", "2025-09-05", "never", "1", "0.6", "1", "false", "0.6",
     "0.15", "2.5"},
    {"kimi-k2-turbo-preview", "262144", "2025-08-01", "never", "1", "0.6", "1", "false", "1.15",
     "0.15", "8"},
    {"kimi-k2-0711-preview", "131072", "2025-07-11", "never", "1", "0.6", "1", "false", "0.6",
     "0.15", "2.5"},
};
const size_t config_n_default_models =
    sizeof config_default_models / sizeof config_default_models[0];

void config_route_to(struct config_model *m, const char *backend, struct arena *arena)
{
    m->backend = arena_strndup(arena, backend, strlen(backend));
    m->routes = arena_alloc(arena, sizeof *m->routes);
    m->n_routes = 1;
    option_set_defaults(&config_route_options, m->routes, arena);
    m->routes->backend = m->backend;
}

bool config_default_model(const char *id, struct config_model *out, struct arena *arena)
{
    const struct config_default_model *m = config_default_models;
    const struct config_default_model *end = m + config_n_default_models;
    while (m < end && strcmp(m->id, id) != 0)
        m++;
    if (m == end)
        return false;
    const char *const pairs[][2] = {
        {"id", m->id},
        {"context", m->context},
        {"created", m->created},
        {"thinking", m->thinking},
        {"temperature", m->temperature},
        {"temperature_instant", m->temperature_instant},
        {"top_p", m->top_p},
        {"fixed_sampling", m->fixed_sampling},
    };
    option_set_defaults(&config_model_options, out, arena);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        option_set(option_find(&config_model_options, pairs[i][0]), out, pairs[i][1], arena, "",
                   NULL);
    struct config_model list = {0};
    option_set(option_find(&config_model_options, "price_input"), &list, m->price_input, arena, "",
               NULL);
    option_set(option_find(&config_model_options, "price_cached"), &list, m->price_cached, arena,
               "", NULL);
    option_set(option_find(&config_model_options, "price_output"), &list, m->price_output, arena,
               "", NULL);
    out->list_price = list.price;
    return true;
}
