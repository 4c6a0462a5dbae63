/*
 * The head of a reply. Values come from the application and may carry what a client sent, so
 * control characters in them are blanked: nobody can begin a header of their own.
 */
#include "http/conn.h"

#include "base/clock.h"
#include "base/utf8.h"

#include <event2/buffer.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct {
    int status;
    const char *text;
} reasons[] = {{200, "OK"},
               {201, "Created"},
               {202, "Accepted"},
               {204, "No Content"},
               {206, "Partial Content"},
               {301, "Moved Permanently"},
               {302, "Found"},
               {303, "See Other"},
               {304, "Not Modified"},
               {307, "Temporary Redirect"},
               {308, "Permanent Redirect"},
               {400, "Bad Request"},
               {401, "Unauthorized"},
               {402, "Payment Required"},
               {403, "Forbidden"},
               {404, "Not Found"},
               {405, "Method Not Allowed"},
               {406, "Not Acceptable"},
               {408, "Request Timeout"},
               {409, "Conflict"},
               {410, "Gone"},
               {411, "Length Required"},
               {412, "Precondition Failed"},
               {413, "Content Too Large"},
               {415, "Unsupported Media Type"},
               {422, "Unprocessable Content"},
               {429, "Too Many Requests"},
               {431, "Request Header Fields Too Large"},
               {499, "Client Closed Request"},
               {500, "Internal Server Error"},
               {501, "Not Implemented"},
               {502, "Bad Gateway"},
               {503, "Service Unavailable"},
               {504, "Gateway Timeout"},
               {505, "HTTP Version Not Supported"}};

static const char *reason(int status)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].status == status)
            return reasons[i].text;
    }
    return "Status";
}

/* Written once a second, for it is the same for every reply. */
static const char *date(struct http_server *s)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t now_s = clock_unix_ms() / 1000;
    if (now_s != s->date_s) {
        time_t seconds = (time_t)now_s;
        struct tm t;
        gmtime_r(&seconds, &t);
        snprintf(s->date, sizeof(s->date), "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
                 days + t.tm_wday * 3, t.tm_mday, months + t.tm_mon * 3, t.tm_year + 1900,
                 t.tm_hour, t.tm_min, t.tm_sec);
        s->date_s = now_s;
    }
    return s->date;
}

static void add_value(struct buf *b, const char *value)
{
    size_t start = b->len, len = strlen(value);
    buf_add(b, value, len);
    for (size_t i = start + utf8_printable(value, len); i < b->len; i++) {
        unsigned char c = (unsigned char)b->data[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            b->data[i] = ' ';
    }
}

void reply_head(struct http_exchange *x, int status, const struct http_header *headers,
                size_t n_headers, const char *framing, size_t length)
{
    struct http_server *s = x->conn->server;
    struct buf *b = &s->line;
    buf_reset(b);
    buf_adds(b, "HTTP/1.1 ");
    buf_addi(b, status);
    buf_addc(b, ' ');
    buf_adds(b, reason(status));
    buf_adds(b, "\r\nDate: ");
    buf_adds(b, date(s));
    buf_adds(b, "\r\n");
    for (size_t i = 0; i < n_headers; i++) {
        add_value(b, headers[i].name);
        buf_adds(b, ": ");
        add_value(b, headers[i].value);
        buf_adds(b, "\r\n");
    }
    if (framing != NULL) {
        buf_adds(b, framing);
    } else {
        buf_adds(b, "Content-Length: ");
        buf_addi(b, (int64_t)length);
        buf_adds(b, "\r\n");
    }
    if (x->close)
        buf_adds(b, "Connection: close\r\n");
    else if (x->head.minor == 0)
        buf_adds(b, "Connection: keep-alive\r\n");
    buf_adds(b, "\r\n");
    evbuffer_add(conn_out(x->conn), b->data, b->len);
}
