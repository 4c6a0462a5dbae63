/*
 * Where a Redis is, read from a URL. Private to the gate; pure. No error quotes the URL, for there
 * is a password in it.
 */
#ifndef MOONGATE_GATE_RATES_URL_H
#define MOONGATE_GATE_RATES_URL_H

#include "base/error.h"

#include <stdbool.h>

enum { RATES_HOST_BYTES = 256, RATES_SECRET_BYTES = 512 };

struct rates_url {
    bool is_path;                /* a unix socket */
    char host[RATES_HOST_BYTES]; /* a name, an address without brackets, or the socket's path */
    int port;
    char user[RATES_SECRET_BYTES]; /* empty: the default one */
    char password[RATES_SECRET_BYTES];
    int db;
};

int rates_url_parse(const char *text, struct rates_url *out, struct error *e);

#endif
