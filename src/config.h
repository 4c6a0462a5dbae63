/*
 * The configuration: one table of options (name, type, range, default, whether SIGHUP may change
 * it, help), read from a YAML file, then the environment (MOONGATE_LISTEN for `listen`,
 * MOONGATE_LIMITS_BODY_BYTES for `limits.body_bytes`), then the command line. A mistake names
 * file, line and what is allowed. Main thread at start and at reload; a struct config is never
 * changed once it is read.
 */
#ifndef MOONGATE_CONFIG_H
#define MOONGATE_CONFIG_H

#include "api/request.h"
#include "backend/router.h"
#include "backend/upstream.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"
#include "gate/limits.h"
#include "http/http.h"
#include "store/ledger.h"

#include <stdbool.h>

struct config_model {
    struct api_model api;
    struct ledger_price price;
    struct ledger_price list_price; /* Moonshot's, of a default model */
    char *backend;                  /* short for a list of one; empty where `backends` is given */
    struct route *routes;           /* `backends`, each a name of config.backends; at least one */
    size_t n_routes;
    char *tokenizer; /* counts where the upstream says nothing: "" estimates, "engine" is that of
                        the weights in this process, else a file (GGUF or tiktoken.model) */
};

enum config_backend_kind { CONFIG_LOCAL, CONFIG_OPENAI };

struct config_backend {
    char *name;
    enum config_backend_kind kind;
    char *key_env, *key_file;         /* where upstream.key was read from */
    struct upstream_options upstream; /* of kind openai; for local concurrency alone counts */
};

struct config {
    char *listen, *data;
    enum log_level log_level;
    bool log_json;
    struct http_limits http;
    struct api_limits api;
    int json_depth;
    int keep_alive_ms;   /* a comment line in a silent stream */
    int drain_ms;        /* after SIGTERM */
    int call_timeout_ms; /* from acceptance to the end of a reply; 0: none */
    struct {
        char *gguf; /* empty: the built-in model */
        int threads, sequences, queue, chunk_tokens, kv_tokens;
        bool kv_f32;
        char *kernels;
        bool yarn_beta_file;
    } engine;
    struct router_options routing;
    int key_cache_ms; /* a key that was good is not looked up again for so long; 0: always */
    struct {
        char *cert, *key;
    } tls;
    char *trusted_proxies;
    struct {
        char *url;
        bool durable;
        int patience_ms, queue, retention_days;
    } store;
    struct {
        bool list_prices, email_plus, email_dots;
        int64_t free_micros;
        int free_days, free_per_network_day, hold_margin_ms, keys;
    } quota;
    struct {
        struct limits_rates key, account, model, network; /* of each of them */
        int rows, timeout_ms;
        char *redis;
        bool away_refuse;
    } rates;
    struct {
        int sign_up, secure; /* enum console_sign_up, console_secure */
        char *admin, *public_url;
        int login_tries, network_tries, first_wait_ms, longest_wait_ms;
        int64_t link_ms, session_idle_ms, session_max_ms;
    } accounts;
    struct {
        char *smtp, *from;
    } mail;
    struct {
        char *issuer, *client_id, *client_secret, *name;
    } oidc;
    struct config_model *models;
    size_t n_models;
    struct config_backend *backends;
    size_t n_backends;
    struct arena *arena; /* owns every string above */
};

/* One "name=value" from the command line. */
struct config_override {
    const char *name, *value;
};

/* file NULL: moongate.yaml in the working directory if there is one, else the defaults. */
int config_read(const char *file, const struct config_override *overrides, size_t n,
                struct config **out, struct error *e);
void config_free(struct config *c);
const struct config_model *config_model(const struct config *c, const char *id);       /* NULL */
const struct config_backend *config_backend(const struct config *c, const char *name); /* NULL */
/* The configuration in force, as YAML that can be read again. No secret is printed: header fields
 * of a backend and a proxy's password are left out, a comment says so. */
void config_show(const struct config *c, struct buf *b);
/* What works and is hardly meant, a line each; nothing if all is well. */
void config_warnings(const struct config *c, struct buf *b);
/* The table as text: name, range, default, reloadable, help (for --help and the docs). */
void config_help(struct buf *b);
/* A written-out moongate.yaml with the defaults and a comment each. */
void config_example(struct buf *b);
/* Names of options that differ and need a restart, joined by ", "; empty if none. Upstreams and
 * routes never do. */
void config_needs_restart(const struct config *running, const struct config *fresh, struct buf *b);

#endif
