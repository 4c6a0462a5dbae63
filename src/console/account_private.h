/*
 * What the endpoints of accounts share: an account as JSON, the beginning of a session, links
 * that are good once, and mails. Private to the room; the event loop's thread, but for what says
 * that it is part of a job.
 */
#ifndef MOONGATE_CONSOLE_ACCOUNT_PRIVATE_H
#define MOONGATE_CONSOLE_ACCOUNT_PRIVATE_H

#include "console/console_private.h"
#include "console/mail.h"

/* Their tables (account.c and admin.c put them together). */
void account_settings(struct request *r);
void account_log_in(struct request *r);
void account_log_out(struct request *r);
void account_log_out_everywhere(struct request *r);
void account_change_password(struct request *r);
void account_sign_up(struct request *r);
void account_reset(struct request *r);
void account_reset_finish(struct request *r);
void account_oidc_start(struct request *r);
void account_oidc_link(struct request *r);
void account_oidc_callback(struct request *r);
void admin_grants(struct request *r);
void admin_grant(struct request *r);
void admin_applications(struct request *r);
void admin_application_change(struct request *r);
void admin_totals(struct request *r);

/* --- JSON --- */

/* Members of an account, without the brackets. */
void put_account(struct buf *b, const struct store_account *a);
void put_rates(struct buf *b, const struct store_rates *rates);
/* A body's text member as it stands there, "" if it is none: for passwords, which are copied no
 * further. False: answered 400. */
bool request_password(struct request *r, const char *name, const char **out);
/* The body's "email", read; false: answered 400. */
bool request_email(struct request *r, struct email *out);

/* --- the beginning of a session --- */

struct login {
    struct store_session session;
    char old[STORE_HEX_BYTES]; /* the session that the browser had: it ends */
    int64_t now_ms;
};
/* Makes a new token, which is the request's from now on. */
void login_make(struct request *r, struct login *out);
/* Part of a job. */
int login_store(struct store *s, struct login *l, int64_t account_id, struct error *e);
void login_cookie(struct request *r);
/* The account with the token against cross-site requests, and the cookie. */
void login_answer(struct request *r, int status, const struct store_account *a);

/* --- links --- */

struct link_made {
    struct store_link row;
    char token[SESSION_TOKEN_CHARS + 1];
};
/* kind: "reset", "invite". account_id 0 and email NULL: none. */
void link_make(const struct console *c, const char *kind, int64_t now_ms, struct link_made *out);
/* One that nobody has and that is over at once: it costs what a real one does. */
void link_make_nobodys(int64_t now_ms, struct link_made *out);
/* The token's hash as the store knows it; false: it can be none, and is answered 404. */
bool link_hash(struct request *r, const char *token, char out[STORE_HEX_BYTES]);
void link_is_over(struct request *r); /* answers 404 */
/* "https://host/#/reset/TOKEN"; without a public URL from the / on. */
void link_put_url(struct buf *b, const struct console *c, const char *kind, const char *token);
/* Members "token", "path", "url" and "expires_at". */
void put_link(struct buf *b, const struct console *c, const struct link_made *l);

/* --- mails --- */

/* Are mails sent? It needs a public URL as well: what a request calls this server by is its
 * sender's choice, and must not stand in somebody else's mail. */
bool mail_is_on(const struct console *c);
void mail_link(struct console *c, const char *to, enum mail_kind kind, const struct link_made *l);

/* --- tries --- */

/* False: too many asked (for the address, from the network); answered 429. */
bool may_ask(struct request *r, const char *address);
void answer_wait(struct request *r, int64_t wait_ms, const char *what);

#endif
