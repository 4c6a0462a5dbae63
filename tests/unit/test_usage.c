/* Unit tests of reading the books, on both databases. */
#include "ledger_rig.h"

#include "base/mem.h"

enum { DAYS = 4, PER_DAY = 30 };
#define DAY_MS (24 * (int64_t)RIG_HOUR_MS)

struct shelf {
    struct store *s;
    struct rig_user a, b;
    int64_t other_key; /* of a */
};

static void settle_all(struct store *s, struct ledger_op *ops, size_t n)
{
    rig_group(s, ops, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ops[i].code, 0);
}

/* DAYS days with PER_DAY calls each, ten minutes apart: every third is b's, every fifth of the
 * others is of a's other key and another model, every tenth has failed. */
static struct shelf fill(const struct db_rig *r)
{
    struct shelf x = {.s = db_rig_store(r)};
    struct ledger_op ops[PER_DAY];
    x.a = rig_add_user(x.s, 1000000);
    x.b = rig_add_user(x.s, 1000000);
    x.other_key = rig_add_key(x.s, x.a.application, -1);
    for (int day = 0; day < DAYS; day++) {
        for (int i = 0; i < PER_DAY; i++) {
            char trace[32];
            snprintf(trace, sizeof trace, "d%d-%d", day, i);
            ops[i] = rig_settle(i % 3 == 2 ? &x.b : &x.a, trace, 100 + i);
            struct ledger_row *row = &ops[i].settle.row;
            row->ended_ms = RIG_NOON_MS + day * DAY_MS + i * 10 * (int64_t)RIG_MINUTE_MS;
            if (i % 3 != 2 && i % 5 == 0) {
                row->key_id = x.other_key;
                snprintf(row->model, sizeof row->model, "kimi-k2.6");
            }
            if (i % 10 == 9)
                row->status = i % 20 == 9 ? 500 : 429;
        }
        settle_all(x.s, ops, PER_DAY);
    }
    return x;
}

/* What the filter should let through, looked at row by row. */
static bool fits(const struct usage_filter *f, const struct usage_row *u)
{
    const struct ledger_row *r = &u->row;
    return (!f->account_id || r->account_id == f->account_id) &&
           (!f->application_id || r->application_id == f->application_id) &&
           (!f->key_id || r->key_id == f->key_id) && r->ended_ms >= f->from_ms &&
           (!f->to_ms || r->ended_ms < f->to_ms) &&
           (!*f->model || strcmp(f->model, r->model) == 0) &&
           (!*f->trace_id || strcmp(f->trace_id, r->trace_id) == 0) &&
           (!f->status || (f->status == 1   ? r->status < 400
                           : f->status == 2 ? r->status >= 400
                                            : r->status == f->status));
}

struct list {
    struct usage_row rows[DAYS * PER_DAY];
    size_t n;
};

static int collect(void *arg, const struct usage_row *row)
{
    struct list *l = arg;
    assert_true(l->n < DAYS * PER_DAY);
    l->rows[l->n++] = *row;
    return 0;
}

static struct list *all_of(struct store *s)
{
    const struct usage_filter none = {0};
    struct list *all = mem_zalloc(sizeof *all);
    struct error e = {.text = ""};
    rig_good(usage_each(s, &none, collect, all, &e), &e);
    assert_int_equal(all->n, DAYS * PER_DAY);
    return all;
}

/* Reads all pages of a filter in both ways and holds them against what fits. */
static void check_pages(struct store *s, const struct list *all, const struct usage_filter *f,
                        int64_t limit)
{
    struct usage_row *page = mem_array(USAGE_PAGE_MAX, sizeof *page);
    struct error e = {.text = ""};
    int64_t fit = 0, before = 0, count, seen[2] = {0, 0};
    for (size_t i = 0; i < all->n; i++)
        fit += fits(f, &all->rows[i]);
    for (int by_offset = 0; by_offset < 2; by_offset++) {
        size_t n, at = all->n;
        do {
            rig_good(usage_page(s, f, by_offset ? 0 : before, by_offset ? seen[1] : 0, limit, page,
                                &n, &count, &e),
                     &e);
            assert_int_equal(count, fit);
            for (size_t i = 0; i < n; i++) {
                do
                    assert_true(at-- > 0);
                while (!fits(f, &all->rows[at]));
                assert_int_equal(page[i].id, all->rows[at].id);
                assert_string_equal(page[i].row.trace_id, all->rows[at].row.trace_id);
            }
            seen[by_offset] += (int64_t)n;
            before = n ? page[n - 1].id : 0;
        } while (n > 0 && seen[by_offset] < fit);
        assert_int_equal(seen[by_offset], fit);
    }
    free(page);
}

static void test_pages_show_what_the_filter_lets_through_newest_first(void **state)
{
    struct shelf x = fill(*state);
    struct list *all = all_of(x.s);
    const int64_t from = RIG_NOON_MS + DAY_MS, to = RIG_NOON_MS + 2 * DAY_MS + 2 * RIG_HOUR_MS;
    const struct usage_filter filters[] = {
        {0},
        {.account_id = x.a.account},
        {.account_id = x.b.account, .status = 2},
        {.application_id = x.a.application, .status = 1},
        {.key_id = x.other_key},
        {.account_id = x.a.account, .key_id = x.a.key, .from_ms = from, .to_ms = to},
        {.from_ms = from + 7 * RIG_MINUTE_MS, .to_ms = to + 1},
        {.account_id = x.a.account, .from_ms = from + 7 * RIG_MINUTE_MS, .to_ms = to + 1},
        {.model = "kimi-k2.6"},
        {.model = "kimi-k2.6", .account_id = x.a.account},
        {.status = 429},
        {.status = 429, .account_id = x.b.account},
        {.status = 429, .account_id = x.a.account},
        {.trace_id = "d2-7"},
        {.trace_id = "d2-7", .account_id = x.b.account},
        {.account_id = 99999},
        {.account_id = x.b.account, .application_id = x.a.application},
        {.account_id = x.b.account, .key_id = x.other_key},
        {.key_id = 99999},
        {.model = "' OR 1=1 --"},
    };
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        check_pages(x.s, all, &filters[i], 7);
        check_pages(x.s, all, &filters[i], 1000000);
    }
    free(all);
    rig_close(x.s);
}

static void test_a_row_comes_back_as_it_was_settled(void **state)
{
    struct shelf x = fill(*state);
    const struct usage_filter f = {.trace_id = "d0-1"};
    struct usage_row u;
    struct error e = {.text = ""};
    size_t n;
    struct ledger_op op = rig_settle(&x.a, "d0-1", 101);
    rig_good(usage_page(x.s, &f, 0, 0, 1, &u, &n, NULL, &e), &e);
    assert_int_equal(n, 1);
    assert_int_equal(u.id / INT64_C(10000000000), RIG_DAY);
    assert_string_equal(u.row.route, op.settle.row.route);
    assert_string_equal(u.row.model, op.settle.row.model);
    assert_string_equal(u.row.answered, op.settle.row.answered);
    assert_string_equal(u.row.backend, op.settle.row.backend);
    assert_string_equal(u.row.finish, op.settle.row.finish);
    assert_string_equal(u.row.source, op.settle.row.source);
    assert_int_equal(u.row.account_id, x.a.account);
    assert_int_equal(u.row.ended_ms, RIG_NOON_MS + 10 * RIG_MINUTE_MS);
    assert_int_equal(u.row.status, 200);
    assert_int_equal(u.row.completion_tokens, 101);
    assert_int_equal(u.row.price.output, 1000000);
    assert_int_equal(u.row.cost_micros, 101);
    assert_int_equal(u.row.charged_micros, 101);
    assert_int_equal(u.row.queue_us, 1);
    assert_int_equal(u.row.first_us, 2);
    assert_int_equal(u.row.total_us, 3);
    assert_false(u.row.client_gone);
    assert_memory_equal(u.key_name, "key of ", 7);
    rig_close(x.s);
}

static void test_a_call_is_found_by_its_number_only_by_whose_it_is(void **state)
{
    struct shelf x = fill(*state);
    struct list *all = all_of(x.s);
    const struct usage_filter own = {.account_id = x.a.account},
                              other = {.account_id = x.b.account}, any = {0};
    struct usage_row u;
    struct error e = {.text = ""};
    int64_t id = all->rows[0].id;
    rig_good(usage_get(x.s, &any, id, &u, &e), &e);
    rig_good(usage_get(x.s, &own, id, &u, &e), &e);
    assert_string_equal(u.row.trace_id, "d0-0");
    assert_int_equal(usage_get(x.s, &other, id, &u, &e), ERR_NOT_FOUND);
    assert_int_equal(usage_get(x.s, &any, id + 5000, &u, &e), ERR_NOT_FOUND);
    assert_int_equal(usage_get(x.s, &any, 0, &u, &e), ERR_NOT_FOUND);
    assert_int_equal(usage_get(x.s, &any, -1, &u, &e), ERR_NOT_FOUND);
    assert_int_equal(usage_get(x.s, &any, INT64_MAX, &u, &e), ERR_NOT_FOUND);
    assert_int_equal(usage_get(x.s, &any, INT64_C(203001010000000001), &u, &e), ERR_NOT_FOUND);
    free(all);
    rig_close(x.s);
}

static int stop_at_five(void *arg, const struct usage_row *row)
{
    size_t *n = arg;
    (void)row;
    return ++*n == 5 ? ERR_CANCELLED : 0;
}

static void test_all_rows_come_oldest_first_in_more_than_one_chunk(void **state)
{
    enum { MANY = 1203 };
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 100000);
    const struct usage_filter none = {0}, window = {.from_ms = RIG_NOON_MS + 10};
    struct usage_row *page = mem_array(USAGE_PAGE_MAX, sizeof *page);
    struct error e = {.text = ""};
    int64_t count;
    size_t n = 0;
    for (int i = 0; i < MANY; i += 401) {
        struct ledger_op ops[401];
        for (int k = 0; k < 401; k++) {
            char trace[16];
            snprintf(trace, sizeof trace, "t%d", i + k);
            ops[k] = rig_settle(&u, trace, 1);
            ops[k].settle.row.ended_ms += i + k;
        }
        settle_all(s, ops, 401);
    }
    int (*fn)(void *, const struct usage_row *) = stop_at_five;
    assert_int_equal(usage_each(s, &none, fn, &n, &e), ERR_CANCELLED);
    assert_int_equal(n, 5);
    n = 6; /* never five again */
    rig_good(usage_each(s, &none, fn, &n, &e), &e);
    assert_int_equal(n, MANY + 6);
    n = 6;
    rig_good(usage_each(s, &window, fn, &n, &e), &e);
    assert_int_equal(n, MANY - 10 + 6);
    rig_good(usage_page(s, &none, 0, 1200, USAGE_PAGE_MAX, page, &n, &count, &e), &e);
    assert_int_equal(n, 3);
    assert_int_equal(count, MANY);
    free(page);
    rig_close(s);
}

/* Sums */

static size_t sums(struct store *s, const struct usage_filter *f, enum usage_by by,
                   struct usage_sum *out, size_t most)
{
    struct error e = {.text = ""};
    size_t n;
    rig_good(usage_sums(s, f, by, out, most, &n, &e), &e);
    return n;
}

static void test_sums_by_everything_agree_with_the_rows(void **state)
{
    static const enum usage_by ways[] = {USAGE_BY_NONE,  USAGE_BY_HOUR, USAGE_BY_DAY,
                                         USAGE_BY_MODEL, USAGE_BY_KEY,  USAGE_BY_ACCOUNT};
    struct shelf x = fill(*state);
    struct list *all = all_of(x.s);
    struct usage_sum out[128];
    const struct usage_filter filters[] = {
        {0}, {.account_id = x.a.account}, {.key_id = x.other_key}, {.model = "kimi-k2.5"}};
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        int64_t calls = 0, cost = 0, failed = 0;
        for (size_t k = 0; k < all->n; k++) {
            if (!fits(&filters[i], &all->rows[k]))
                continue;
            calls++;
            cost += all->rows[k].row.cost_micros;
            failed += all->rows[k].row.status >= 400;
        }
        for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++) {
            size_t n = sums(x.s, &filters[i], ways[w], out, 128);
            int64_t sum_calls = 0, sum_cost = 0, sum_failed = 0;
            for (size_t k = 0; k < n; k++) {
                sum_calls += out[k].calls;
                sum_cost += out[k].cost_micros;
                sum_failed += out[k].failed;
            }
            assert_int_equal(sum_calls, calls);
            assert_int_equal(sum_cost, cost);
            assert_int_equal(sum_failed, failed);
        }
    }
    free(all);
    rig_close(x.s);
}

static void test_sums_have_names_and_an_order(void **state)
{
    struct shelf x = fill(*state);
    struct usage_sum out[32];
    const struct usage_filter all = {0},
                              hours = {.from_ms = RIG_NOON_MS + 1,
                                       .to_ms = RIG_NOON_MS + RIG_HOUR_MS + 1},
                              nobody = {.account_id = 99999};
    assert_int_equal(sums(x.s, &all, USAGE_BY_DAY, out, 32), DAYS);
    assert_int_equal(out[0].time_ms, RIG_NOON_MS - 12 * RIG_HOUR_MS);
    assert_int_equal(out[DAYS - 1].time_ms, out[0].time_ms + (DAYS - 1) * DAY_MS);
    assert_int_equal(sums(x.s, &all, USAGE_BY_DAY, out, 2), 2); /* the newest are kept */
    assert_int_equal(out[1].time_ms, RIG_NOON_MS - 12 * RIG_HOUR_MS + (DAYS - 1) * DAY_MS);
    assert_int_equal(sums(x.s, &hours, USAGE_BY_HOUR, out, 32), 2); /* whole hours */
    assert_int_equal(out[0].time_ms, RIG_NOON_MS);
    assert_int_equal(out[0].calls, 6);
    assert_int_equal(sums(x.s, &all, USAGE_BY_MODEL, out, 32), 2);
    assert_string_equal(out[0].model, "kimi-k2.5");
    assert_int_equal(sums(x.s, &all, USAGE_BY_KEY, out, 32), 3);
    assert_memory_equal(out[0].name, "key of ", 7);
    assert_int_equal(sums(x.s, &all, USAGE_BY_ACCOUNT, out, 32), 2);
    assert_int_equal(out[0].account_id, x.a.account);
    assert_non_null(strstr(out[0].name, "@example.com"));
    assert_int_equal(sums(x.s, &nobody, USAGE_BY_NONE, out, 32), 0);
    rig_close(x.s);
}

/* The proof */

struct findings {
    int n;
    char first[768];
};

static void note(void *arg, const char *wrong)
{
    struct findings *f = arg;
    if (f->n++ == 0)
        snprintf(f->first, sizeof f->first, "%s", wrong);
}

/* Damage of one kind: how it is done and undone, and a word of what is told. */
static const struct {
    const char *harm, *mend, *word;
} damages[] = {
    {"UPDATE applications SET balance_micros = balance_micros + 1 WHERE id = (SELECT MAX(id) FROM"
     " applications)",
     "UPDATE applications SET balance_micros = balance_micros - 1 WHERE id = (SELECT MAX(id) FROM"
     " applications)",
     "but the balance is"},
    {"UPDATE applications SET held_micros = held_micros + 1 WHERE id = (SELECT MAX(id) FROM"
     " applications)",
     "UPDATE applications SET held_micros = held_micros - 1 WHERE id = (SELECT MAX(id) FROM"
     " applications)",
     "held, but the column"},
    {"UPDATE applications SET granted_micros = granted_micros + 1 WHERE id = (SELECT MAX(id) FROM"
     " applications)",
     "UPDATE applications SET granted_micros = granted_micros - 1 WHERE id = (SELECT MAX(id) FROM"
     " applications)",
     "granted, but the column"},
    {"UPDATE applications SET charged_micros = charged_micros + 1 WHERE id = (SELECT MAX(id) FROM"
     " applications)",
     "UPDATE applications SET charged_micros = charged_micros - 1 WHERE id = (SELECT MAX(id) FROM"
     " applications)",
     "charged, but the column"},
    {"UPDATE applications SET expiring = 1 WHERE id = (SELECT MAX(id) FROM applications)",
     "UPDATE applications SET expiring = 0 WHERE id = (SELECT MAX(id) FROM applications)",
     "have an end to come"},
    {"UPDATE keys SET used_micros = used_micros + 1 WHERE id = (SELECT MAX(id) FROM keys)",
     "UPDATE keys SET used_micros = used_micros - 1 WHERE id = (SELECT MAX(id) FROM keys)",
     "its calls were charged"},
    {"UPDATE keys SET held_micros = held_micros + 1 WHERE id = (SELECT MAX(id) FROM keys)",
     "UPDATE keys SET held_micros = held_micros - 1 WHERE id = (SELECT MAX(id) FROM keys)",
     "its holds sum up"},
    {"UPDATE grants SET used_micros = amount_micros + 1 WHERE id = 1",
     "UPDATE grants SET used_micros = 0 WHERE id = 1", "are used"},
    {"UPDATE holds SET deadline_ms = 1000", "UPDATE holds SET deadline_ms = 9000000000000",
     "past its deadline"},
    {"UPDATE calls_20261129 SET cost_micros = cost_micros + 1 WHERE id = 3",
     "UPDATE calls_20261129 SET cost_micros = cost_micros - 1 WHERE id = 3", "do not cost"},
    {"UPDATE calls_20261129 SET charged_micros = charged_micros + 1 WHERE id = 3",
     "UPDATE calls_20261129 SET charged_micros = charged_micros - 1 WHERE id = 3", "do not cost"},
    {"UPDATE calls_20261129 SET charged_micros = charged_micros - 1 WHERE id = 3",
     "UPDATE calls_20261129 SET charged_micros = charged_micros + 1 WHERE id = 3",
     "micro-USD charged"},
    {"UPDATE calls_20261129 SET price_output = price_output + 10000 WHERE id = 3",
     "UPDATE calls_20261129 SET price_output = price_output - 10000 WHERE id = 3", "do not cost"},
    {"UPDATE calls_20261129 SET completion_tokens = completion_tokens + 1 WHERE id = 3",
     "UPDATE calls_20261129 SET completion_tokens = completion_tokens - 1 WHERE id = 3",
     "do not cost"},
    {"UPDATE calls_20261129 SET completion_tokens = 9223372036854775807 WHERE id = 3",
     "UPDATE calls_20261129 SET completion_tokens = 102 WHERE id = 3", "do not cost"},
    {"UPDATE calls_20261129 SET ended_ms = ended_ms - 86400000 WHERE id = 3",
     "UPDATE calls_20261129 SET ended_ms = ended_ms + 86400000 WHERE id = 3", "another day"},
    {"UPDATE calls_20261129 SET status = 404 WHERE id = 3",
     "UPDATE calls_20261129 SET status = 200 WHERE id = 3", "failed calls"},
    {"UPDATE calls_20261129 SET model = 'a' WHERE id = 3",
     "UPDATE calls_20261129 SET model = 'kimi-k2.5' WHERE id = 3", "model a: calls and totals"},
    {"UPDATE totals SET calls = calls + 1 WHERE hour_ms = 1795867200000",
     "UPDATE totals SET calls = calls - 1 WHERE hour_ms = 1795867200000",
     "calls and totals differ"},
    {"UPDATE totals SET prompt_tokens = 1 WHERE hour_ms = 1795867200000",
     "UPDATE totals SET prompt_tokens = 0 WHERE hour_ms = 1795867200000", "prompt tokens"},
    {"ALTER TABLE calls_20261129 RENAME TO lost", "ALTER TABLE lost RENAME TO calls_20261129",
     "cannot be read"},
};

static void test_the_proof_finds_each_kind_of_damage(void **state)
{
    struct shelf x = fill(*state);
    struct ledger_op hold = rig_hold(&x.a, "open", 1, 50);
    struct usage_proof p;
    struct error e = {.text = ""};
    rig_do(x.s, &hold);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        struct findings f = {0};
        rig_prove(x.s);
        rig_sql(x.s, damages[i].harm);
        rig_good(usage_verify(x.s, note, &f, NULL, &p, &e), &e);
        if (p.wrong == 0 || f.n != p.wrong || !strstr(f.first, damages[i].word))
            fail_msg("%s: %d findings, the first is: %s", damages[i].harm, f.n, f.first);
        rig_sql(x.s, damages[i].mend);
    }
    rig_close(x.s);
}

static void test_the_proof_finds_rows_that_are_lost_or_strange(void **state)
{
    struct shelf x = fill(*state);
    struct ledger_op hold = rig_hold(&x.a, "open", 1, 50);
    struct usage_proof p;
    struct error e = {.text = ""};
    rig_do(x.s, &hold);
    rig_sqlf(x.s, "UPDATE holds SET key_id = %lld", (long long)x.b.key);
    rig_good(usage_verify(x.s, NULL, NULL, NULL, &p, &e), &e);
    assert_true(p.wrong >= 3); /* two keys' sums, and whose key it is */
    rig_sqlf(x.s, "UPDATE holds SET key_id = %lld", (long long)x.a.key);
    rig_prove(x.s);
    rig_sql(x.s, "DELETE FROM calls_20261129 WHERE id = 3");
    rig_good(usage_verify(x.s, NULL, NULL, NULL, &p, &e), &e);
    assert_int_equal(p.wrong, 1);
    rig_sql(x.s, "DELETE FROM totals WHERE hour_ms = 1795867200000");
    rig_good(usage_verify(x.s, NULL, NULL, NULL, &p, &e), &e);
    assert_true(p.wrong > 3);
    store_close(x.s);
}

static void test_the_proof_tells_what_it_looked_at(void **state)
{
    struct shelf x = fill(*state);
    struct ledger_op hold = rig_hold(&x.a, "open", 1, 50), costly = rig_settle(&x.b, "z", 2000000);
    struct usage_proof p;
    struct error e = {.text = ""};
    rig_do(x.s, &hold);
    rig_do(x.s, &costly);
    rig_good(usage_verify(x.s, NULL, NULL, NULL, &p, &e), &e);
    assert_int_equal(p.wrong, 0);
    assert_int_equal(p.applications, 3); /* the operator's own, too */
    assert_int_equal(p.grants, 2);
    assert_int_equal(p.holds, 1);
    assert_int_equal(p.days, DAYS);
    assert_int_equal(p.rows, DAYS * PER_DAY + 1);
    assert_int_equal(p.held_micros, 50);
    assert_int_equal(p.granted_micros, 2000000);
    assert_true(p.written_off_micros > 1000000);
    rig_close(x.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DB_TEST(test_pages_show_what_the_filter_lets_through_newest_first),
        DB_TEST(test_a_row_comes_back_as_it_was_settled),
        DB_TEST(test_a_call_is_found_by_its_number_only_by_whose_it_is),
        DB_TEST(test_all_rows_come_oldest_first_in_more_than_one_chunk),
        DB_TEST(test_sums_by_everything_agree_with_the_rows),
        DB_TEST(test_sums_have_names_and_an_order),
        DB_TEST(test_the_proof_finds_each_kind_of_damage),
        DB_TEST(test_the_proof_finds_rows_that_are_lost_or_strange),
        DB_TEST(test_the_proof_tells_what_it_looked_at),
    };
    return cmocka_run_group_tests_name("usage", tests, db_rig_start, db_rig_stop);
}
