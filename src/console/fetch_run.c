/*
 * One call with libcurl's easy interface: which URLs are allowed, what libcurl is told, and what
 * its result means. A handle is made for each call, so that nothing of one is there for the next.
 */
#include "console/fetch_private.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RESPONSE_FIRST_BYTES = 4096 };

/* --- the job --- */

static void wipe(char *s, size_t n)
{
    if (s)
        sodium_memzero(s, n);
    free(s);
}

static void wipe_text(char *s)
{
    wipe(s, s ? strlen(s) : 0);
}

void fetch_job_free(struct fetch_job *j)
{
    if (!j)
        return;
    for (struct curl_slist *l = j->line; l; l = l->next)
        sodium_memzero(l->data, strlen(l->data));
    curl_slist_free_all(j->line);
    wipe_text(j->url);
    wipe_text(j->user);
    wipe_text(j->password);
    wipe(j->body, j->len);
    wipe(j->got, j->got_len);
    free(j->host);
    free(j->from);
    free(j->to);
    free(j);
}

void fetch_job_add_line(struct fetch_job *j, const char *line)
{
    struct curl_slist *longer = curl_slist_append(j->line, line);
    if (!longer)
        abort(); /* out of memory, as in mem_alloc */
    j->line = longer;
}

/* --- the URL --- */

/* libcurl resolves "localhost" to this machine by itself, whatever the name servers say. */
static bool is_loopback(const char *host)
{
    struct in_addr v4;
    if (strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
        return true;
    return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
}

static char *url_part(CURLU *u, CURLUPart part, unsigned flags)
{
    char *s = NULL, *copy;
    if (curl_url_get(u, part, &s, flags))
        return NULL;
    copy = mem_strdup(s);
    sodium_memzero(s, strlen(s));
    curl_free(s);
    return copy;
}

static int check_scheme(struct fetch_job *j, const char *scheme, bool mail, bool plain,
                        struct error *e)
{
    bool secure = strcmp(scheme, mail ? "smtps" : "https") == 0;
    if (!secure && strcmp(scheme, mail ? "smtp" : "http") != 0)
        return error_set(e, ERR_INVALID, "the URL of %s must begin with %s",
                         mail ? "a mail server" : "an outside server",
                         mail ? "smtp:// or smtps://" : "https://");
    j->tls = secure || (mail && !plain && !is_loopback(j->host));
    if (!mail && !secure && !plain && !is_loopback(j->host))
        return error_set(e, ERR_INVALID,
                         "the URL of an outside server must begin with https://; http:// is for "
                         "this machine alone");
    return 0;
}

static int read_url(struct fetch_job *j, CURLU *u, const char *url, bool mail, bool plain,
                    struct error *e)
{
    if (curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME))
        return error_set(e, ERR_INVALID, "it is no URL");
    char *scheme = url_part(u, CURLUPART_SCHEME, 0);
    j->host = url_part(u, CURLUPART_HOST, 0);
    j->user = url_part(u, CURLUPART_USER, CURLU_URLDECODE);
    j->password = url_part(u, CURLUPART_PASSWORD, CURLU_URLDECODE);
    int rc = scheme && j->host && *j->host
                 ? check_scheme(j, scheme, mail, plain, e)
                 : error_set(e, ERR_INVALID, "the URL has no scheme or host");
    free(scheme);
    if (!rc && !mail && (j->user || j->password))
        rc = error_set(e, ERR_INVALID, "the URL must not have a user or a password");
    curl_url_set(u, CURLUPART_USER, NULL, 0);
    curl_url_set(u, CURLUPART_PASSWORD, NULL, 0);
    curl_url_set(u, CURLUPART_OPTIONS, NULL, 0);
    curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
    if (!rc && !(j->url = url_part(u, CURLUPART_URL, 0)))
        rc = error_set(e, ERR_INVALID, "it is no URL");
    return rc;
}

int fetch_job_new(const char *url, bool mail, bool plain, struct fetch_job **out, struct error *e)
{
    struct fetch_job *j = mem_zalloc(sizeof *j);
    CURLU *u = curl_url();
    int rc = u ? read_url(j, u, url, mail, plain, e)
               : error_set(e, ERR_INTERNAL, "libcurl has no memory");
    curl_url_cleanup(u);
    if (rc) {
        fetch_job_free(j);
        j = NULL;
    }
    *out = j;
    return rc;
}

int fetch_check_url(const char *url, bool plain, struct error *e)
{
    struct fetch_job *j;
    int rc = fetch_job_new(url, false, plain, &j, e);
    fetch_job_free(j);
    return rc;
}

/* --- libcurl's callbacks --- */

/* Grown by hand, so that what is left behind is wiped. */
static void make_room(struct fetch_job *j, size_t n, size_t max)
{
    size_t need = j->got_len + n + 1, bytes = j->got_max ? j->got_max : RESPONSE_FIRST_BYTES;
    if (j->got && need <= j->got_max)
        return;
    while (bytes < need)
        bytes *= 2;
    if (bytes > max + 1)
        bytes = max + 1;
    char *grown = mem_alloc(bytes);
    if (j->got_len)
        memcpy(grown, j->got, j->got_len);
    wipe(j->got, j->got_len);
    j->got = grown;
    j->got_max = bytes;
}

struct run {
    struct fetch_job *job;
    const struct fetch_limits *limits;
    atomic_bool *stop;
};

static size_t on_response(char *bytes, size_t one, size_t n, void *arg)
{
    struct run *r = arg;
    struct fetch_job *j = r->job;
    (void)one;
    if (j->mail)
        return n;
    if (n > r->limits->response_bytes - j->got_len) {
        j->too_large = true;
        return 0;
    }
    make_room(j, n, r->limits->response_bytes);
    memcpy(j->got + j->got_len, bytes, n);
    j->got_len += n;
    j->got[j->got_len] = '\0';
    return n;
}

static size_t on_send(char *out, size_t one, size_t n, void *arg)
{
    struct run *r = arg;
    struct fetch_job *j = r->job;
    size_t left = j->len - j->sent;
    if (one * n < left)
        left = one * n;
    memcpy(out, j->body + j->sent, left);
    j->sent += left;
    return left;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct run *r = arg;
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return atomic_load(r->stop) ? 1 : 0;
}

/* --- the call --- */

static bool set_frame(CURL *h, struct run *r, char *said)
{
    struct fetch_job *j = r->job;
    return !curl_easy_setopt(h, CURLOPT_ERRORBUFFER, said) &&
           !curl_easy_setopt(h, CURLOPT_URL, j->url) &&
           !curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, j->mail ? "smtp,smtps" : "http,https") &&
           !curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L) &&
           !curl_easy_setopt(h, CURLOPT_PROXY, "") &&
           !curl_easy_setopt(h, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) &&
           !curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L) &&
           !curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L) &&
           !curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L) &&
           !curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
           !curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)r->limits->connect_ms) &&
           !curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)r->limits->whole_ms) &&
           !curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L) &&
           !curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress) &&
           !curl_easy_setopt(h, CURLOPT_XFERINFODATA, r) &&
           !curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_response) &&
           !curl_easy_setopt(h, CURLOPT_WRITEDATA, r) &&
           (!r->limits->ca_file || (!curl_easy_setopt(h, CURLOPT_CAINFO, r->limits->ca_file) &&
                                    !curl_easy_setopt(h, CURLOPT_CAPATH, NULL)));
}

static bool set_http(CURL *h, struct fetch_job *j)
{
    if (curl_easy_setopt(h, CURLOPT_HTTPHEADER, j->line) ||
        curl_easy_setopt(h, CURLOPT_USERAGENT, "moongate/" MOONGATE_VERSION))
        return false;
    if (!j->body)
        return !curl_easy_setopt(h, CURLOPT_HTTPGET, 1L);
    return !curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)j->len) &&
           !curl_easy_setopt(h, CURLOPT_POSTFIELDS, j->body);
}

static bool set_mail(CURL *h, struct run *r, struct curl_slist *to)
{
    struct fetch_job *j = r->job;
    return !curl_easy_setopt(h, CURLOPT_USE_SSL, j->tls ? (long)CURLUSESSL_ALL : CURLUSESSL_NONE) &&
           (!j->user || !curl_easy_setopt(h, CURLOPT_USERNAME, j->user)) &&
           (!j->password || !curl_easy_setopt(h, CURLOPT_PASSWORD, j->password)) &&
           !curl_easy_setopt(h, CURLOPT_MAIL_FROM, j->from) &&
           !curl_easy_setopt(h, CURLOPT_MAIL_RCPT, to) &&
           !curl_easy_setopt(h, CURLOPT_READFUNCTION, on_send) &&
           !curl_easy_setopt(h, CURLOPT_READDATA, r) &&
           !curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)j->len) &&
           !curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
}

static int code_of(CURLcode result, const struct fetch_job *j)
{
    if (j->too_large)
        return ERR_LIMIT;
    if (result == CURLE_SEND_ERROR && j->mail) /* the sender or the recipient was refused */
        return ERR_DENIED;
    switch (result) {
    case CURLE_OK:
        return 0;
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_EXPIRED;
    case CURLE_ABORTED_BY_CALLBACK:
        return ERR_CANCELLED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_USE_SSL_FAILED:
    case CURLE_LOGIN_DENIED:
    case CURLE_REMOTE_ACCESS_DENIED:
    case CURLE_WEIRD_SERVER_REPLY:
        return ERR_DENIED;
    default:
        return ERR_IO;
    }
}

/* libcurl's own words; what a server said is not among them but for a number. */
static void tell(struct fetch_job *j, CURLcode result, const char *said)
{
    const char *why = *said ? said : curl_easy_strerror(result);
    if (j->too_large)
        why = "the response is larger than it may be";
    snprintf(j->error, sizeof j->error, "%s: %s", j->host, why);
    for (char *s = j->error; *s; s++) {
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            *s = ' ';
    }
}

void fetch_job_run(struct fetch_job *j, const struct fetch_limits *limits, atomic_bool *stop)
{
    struct run r = {j, limits, stop};
    char said[CURL_ERROR_SIZE] = "";
    long status = 0;
    struct curl_slist *to = j->mail ? curl_slist_append(NULL, j->to) : NULL;
    CURL *h = curl_easy_init();
    CURLcode result = CURLE_FAILED_INIT;
    if (h && set_frame(h, &r, said) && (j->mail ? to && set_mail(h, &r, to) : set_http(h, j))) {
        result = curl_easy_perform(h);
        curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
    }
    j->code = code_of(result, j);
    j->status = (int)status;
    if (j->code)
        tell(j, result, said);
    curl_easy_cleanup(h);
    curl_slist_free_all(to);
}
