/*
 * See rates_script.h. The scripts' first part is limits_bucket.h in Lua: who changes one changes
 * the other, and the unit tests hold them against each other.
 *
 * A clock of Redis that goes back is no time, as in memory, but counts from where it is then.
 */
#include "gate/rates_script.h"

#include "gate/limits_bucket.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(LIMITS_UNIT == 60000 && LIMITS_TOKENS_MAX == INT64_C(10000000000),
               "the figures at the head of the scripts");

#define BUCKETS                                                                                    \
    "local UNIT, DEEPEST = 60000, -600000000000000\n"                                              \
    "local function text(n) return string.format('%.0f', n) end\n"                                 \
    "local function full(b) return b.rate * UNIT end\n"                                            \
    "local function till(b, units)\n"                                                              \
    "  if b.level >= units then return 0 end\n"                                                    \
    "  return math.floor((units - b.level + b.rate - 1) / b.rate)\n"                               \
    "end\n"                                                                                        \
    "local function fill(b, ms)\n"                                                                 \
    "  if b.rate == 0 or ms <= 0 then return end\n"                                                \
    "  if ms >= till(b, full(b)) then b.level = full(b)\n"                                         \
    "  else b.level = b.level + ms * b.rate end\n"                                                 \
    "end\n"                                                                                        \
    "local function retune(b, rate)\n"                                                             \
    "  if b.rate == rate then return end\n"                                                        \
    "  if rate == 0 or b.level >= full(b) or b.level > rate * UNIT then\n"                         \
    "    b.level = rate * UNIT\n"                                                                  \
    "  end\n"                                                                                      \
    "  b.rate = rate\n"                                                                            \
    "end\n"                                                                                        \
    "local function take(b, n)\n"                                                                  \
    "  b.level = math.max(DEEPEST, math.min(full(b), b.level - n * UNIT))\n"                       \
    "end\n"                                                                                        \
    "local is_own = ARGV[1] == ''\n"                                                               \
    "local function clock()\n"                                                                     \
    "  if not is_own then return tonumber(ARGV[1]) end\n"                                          \
    "  local t = redis.call('TIME')\n"                                                             \
    "  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)\n"                         \
    "end\n"                                                                                        \
    "local function load(key, now)\n"                                                              \
    "  local v = redis.call('HMGET', key, 'at', 'rl', 'rr', 'tl', 'tr')\n"                         \
    "  local row = {known = v[1], {level = tonumber(v[2] or 0), rate = tonumber(v[3] or 0)},\n"    \
    "               {level = tonumber(v[4] or 0), rate = tonumber(v[5] or 0)}}\n"                  \
    "  for k = 1, 2 do fill(row[k], now - tonumber(v[1] or now)) end\n"                            \
    "  return row\n"                                                                               \
    "end\n"                                                                                        \
    "local function store(key, row, now)\n"                                                        \
    "  local ms = math.max(till(row[1], full(row[1])), till(row[2], full(row[2])))\n"              \
    "  if ms == 0 then redis.call('DEL', key) return end\n"                                        \
    "  redis.call('HMSET', key, 'at', text(now), 'rl', text(row[1].level),\n"                      \
    "             'rr', text(row[1].rate), 'tl', text(row[2].level), 'tr', text(row[2].rate))\n"   \
    "  if is_own then redis.call('PEXPIRE', key, text(ms)) end\n"                                  \
    "end\n"

/* KEYS: each subject's buckets and calls. ARGV: time, lease, id; then of each subject: requests,
 * tokens, calls at once, tokens wanted. Answer: time, admitted; then of each subject, before it
 * is charged: level of requests, of tokens, running calls. */
static const char admit[] =
    BUCKETS "local now, lease, id = clock(), tonumber(ARGV[2]), ARGV[3]\n"
            "local rows, out = {}, {now, 1}\n"
            "for i = 1, #KEYS / 2 do\n"
            "  local row = load(KEYS[2 * i - 1], now)\n"
            "  row.requests, row.tokens = tonumber(ARGV[4 * i]), tonumber(ARGV[4 * i + 1])\n"
            "  row.at_once, row.want = tonumber(ARGV[4 * i + 2]), tonumber(ARGV[4 * i + 3])\n"
            "  retune(row[1], row.requests)\n"
            "  retune(row[2], row.tokens)\n"
            "  local running = 0\n"
            "  if row.at_once > 0 then\n"
            "    running = redis.call('ZCOUNT', KEYS[2 * i], '(' .. text(now), '+inf')\n"
            "  end\n"
            "  if (row.at_once > 0 and running >= row.at_once)\n"
            "      or (row.requests > 0 and row[1].level < UNIT)\n"
            "      or (row.tokens > 0 and (row.want < 0 or row[2].level < row.want * UNIT)) then\n"
            "    out[2] = 0\n"
            "  end\n"
            "  rows[i] = row\n"
            "  out[#out + 1], out[#out + 2], out[#out + 3] = row[1].level, row[2].level, running\n"
            "end\n"
            "if out[2] == 0 then return out end\n"
            "for i, row in ipairs(rows) do\n"
            "  if row.requests > 0 then take(row[1], 1) end\n"
            "  if row.tokens > 0 then take(row[2], row.want) end\n"
            "  store(KEYS[2 * i - 1], row, now)\n"
            "  if row.at_once > 0 then\n"
            "    redis.call('ZREMRANGEBYSCORE', KEYS[2 * i], '-inf', text(now))\n"
            "    redis.call('ZADD', KEYS[2 * i], text(now + lease), id)\n"
            "    if is_own then redis.call('PEXPIRE', KEYS[2 * i], text(lease)) end\n"
            "  end\n"
            "end\n"
            "return out\n";

/* KEYS as above. ARGV: time, id, tokens used; then of each subject: requests, tokens, reserved. A
 * subject that is not there filled up while the call ran. */
static const char settle[] =
    BUCKETS "local now, id, used = clock(), ARGV[2], tonumber(ARGV[3])\n"
            "for i = 1, #KEYS / 2 do\n"
            "  local key, tokens, reserved = KEYS[2 * i - 1], tonumber(ARGV[3 * i + 2]),\n"
            "      tonumber(ARGV[3 * i + 3])\n"
            "  local row = load(key, now)\n"
            "  if not row.known then\n"
            "    retune(row[1], tonumber(ARGV[3 * i + 1]))\n"
            "    retune(row[2], tokens)\n"
            "  end\n"
            "  if tokens > 0 and row[2].rate > 0 then\n"
            "    take(row[2], used - reserved)\n"
            "    store(key, row, now)\n"
            "  end\n"
            "  redis.call('ZREM', KEYS[2 * i], id)\n"
            "end\n"
            "return 1\n";

/* KEYS: sets of calls. ARGV: time, lease; then an id for each. */
static const char renew[] = BUCKETS "local now, lease = clock(), tonumber(ARGV[2])\n"
                                    "for i, key in ipairs(KEYS) do\n"
                                    "  redis.call('ZADD', key, text(now + lease), ARGV[i + 2])\n"
                                    "  if is_own then redis.call('PEXPIRE', key, text(lease)) end\n"
                                    "end\n"
                                    "return 1\n";

const char *rates_script_text(enum rates_script script)
{
    static const char *const texts[RATES_SCRIPTS] = {admit, settle, renew};
    return texts[script];
}

/* --- arguments --- */

static void add(struct rates_args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* There is room for all that is ever said: numbers, ids and keys are short. */
static void add(struct rates_args *a, const char *fmt, ...)
{
    char *at = a->bytes + a->used;
    size_t room = sizeof a->bytes - a->used;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(at, room, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= room || a->n == RATES_ARGS_MAX)
        abort();
    a->of[a->n] = at;
    a->len[a->n++] = (size_t)n;
    a->used += (size_t)n + 1;
}

static void begin(struct rates_args *a, int keys)
{
    a->n = 2; /* verb and script */
    a->used = 0;
    add(a, "%d", keys);
}

void rates_args_verb(struct rates_args *a, const char *verb, const char *script)
{
    a->of[0] = verb;
    a->len[0] = strlen(verb);
    a->of[1] = script;
    a->len[1] = strlen(script);
}

static void add_calls_key(struct rates_args *a, enum limits_scope scope, uint64_t id)
{
    add(a, "moongate:{limits}:%s:%" PRIx64 ":calls", limits_scope_name(scope), id);
}

static void begin_call(struct rates_args *a, const struct rates_call *call)
{
    int subjects = 0;
    for (int s = 0; s < LIMITS_SCOPES; s++)
        subjects += limits_has_rate(&call->ask.of[s].rates);
    begin(a, 2 * subjects);
    for (int s = 0; s < LIMITS_SCOPES; s++) {
        const struct limits_subject *of = &call->ask.of[s];
        if (!limits_has_rate(&of->rates))
            continue;
        add(a, "moongate:{limits}:%s:%" PRIx64, limits_scope_name(s), of->id);
        add_calls_key(a, s, of->id);
    }
}

void rates_args_admit(struct rates_args *a, const struct rates_call *call, int lease_ms,
                      const char *now)
{
    begin_call(a, call);
    add(a, "%s", now);
    add(a, "%d", lease_ms);
    add(a, "%s", call->id);
    for (int s = 0; s < LIMITS_SCOPES; s++) {
        const struct limits_rates *rates = &call->ask.of[s].rates;
        if (!limits_has_rate(rates))
            continue;
        add(a, "%" PRId64, rates->per_minute[LIMITS_REQUESTS]);
        add(a, "%" PRId64, rates->per_minute[LIMITS_TOKENS]);
        add(a, "%" PRId64, rates->concurrent);
        add(a, "%" PRId64, call->want[s]);
    }
}

void rates_args_settle(struct rates_args *a, const struct rates_call *call, const char *now)
{
    begin_call(a, call);
    add(a, "%s", now);
    add(a, "%s", call->id);
    add(a, "%" PRId64, call->used_tokens);
    for (int s = 0; s < LIMITS_SCOPES; s++) {
        const struct limits_rates *rates = &call->ask.of[s].rates;
        if (!limits_has_rate(rates))
            continue;
        add(a, "%" PRId64, rates->per_minute[LIMITS_REQUESTS]);
        add(a, "%" PRId64, rates->per_minute[LIMITS_TOKENS]);
        add(a, "%" PRId64, call->want[s]);
    }
}

bool rates_renewal_add(struct rates_renewal *r, const struct rates_call *call)
{
    if (r->n + LIMITS_SCOPES > RATES_RENEWED_AT_ONCE)
        return false;
    for (int s = 0; s < LIMITS_SCOPES; s++) {
        if (call->ask.of[s].rates.concurrent == 0)
            continue;
        r->scope[r->n] = s;
        r->subject[r->n] = call->ask.of[s].id;
        r->id[r->n++] = call->id;
    }
    return true;
}

void rates_args_renew(struct rates_args *a, const struct rates_renewal *r, int lease_ms,
                      const char *now)
{
    begin(a, r->n);
    for (int i = 0; i < r->n; i++)
        add_calls_key(a, r->scope[i], r->subject[i]);
    add(a, "%s", now);
    add(a, "%d", lease_ms);
    for (int i = 0; i < r->n; i++)
        add(a, "%s", r->id[i]);
}

/* --- answers --- */

bool rates_script_read(const struct rates_call *call, const int64_t *numbers, size_t n,
                       struct limits_said *said)
{
    struct limits_bucket of[LIMITS_SCOPES][LIMITS_RATES] = {0};
    size_t at = 2;
    memset(said, 0, sizeof *said);
    said->admitted = true;
    for (int s = 0; s < LIMITS_SCOPES; s++) {
        const struct limits_rates *rates = &call->ask.of[s].rates;
        if (!limits_has_rate(rates))
            continue;
        if (at + 3 > n)
            return false;
        for (int k = 0; k < LIMITS_RATES; k++)
            of[s][k] = (struct limits_bucket){numbers[at + (size_t)k], rates->per_minute[k]};
        limits_judge(s, rates, of[s], numbers[at + LIMITS_RATES], call->want[s], said);
        at += 3;
    }
    if (at != n || said->admitted != (numbers[1] == 1))
        return false;
    for (int s = 0; said->admitted && s < LIMITS_SCOPES; s++) {
        if (of[s][LIMITS_REQUESTS].rate != 0)
            limits_take(&of[s][LIMITS_REQUESTS], 1);
        if (of[s][LIMITS_TOKENS].rate != 0)
            limits_take(&of[s][LIMITS_TOKENS], call->want[s]);
    }
    limits_say_rates(of, said);
    return true;
}
