/*
 * See email.h. What stands before the @ is held to the letters that providers give out, which
 * are a part of what the standards allow: no quotes, no comments, no spaces. So an address can
 * stand in a header of mail, in a page and in a log as it is.
 */
#include "console/email.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { LOCAL_MAX = 64, ADDRESS_MAX = EMAIL_BYTES - 1, LABEL_MAX = 63 };

struct provider {
    const char *domain, *is; /* mail to `domain` is mail to `is` */
    bool dots;               /* are not looked at */
    char tag;                /* begins what is not looked at, beside + */
};

static const struct provider providers[] = {
    {"gmail.com", "gmail.com", true, 0},      {"googlemail.com", "gmail.com", true, 0},
    {"ymail.com", "ymail.com", false, '-'},   {"yahoo.com", "yahoo.com", false, '-'},
    {"protonmail.com", "proton.me", true, 0}, {"proton.me", "proton.me", true, 0},
    {"pm.me", "proton.me", true, 0},
};

static bool is_local(const char *s, size_t n)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789.!#$%&'*+-/=?^_`{|}~";
    if (n == 0 || n > LOCAL_MAX || s[0] == '.' || s[n - 1] == '.')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!strchr(letters, s[i]) || (s[i] == '.' && s[i + 1] == '.'))
            return false;
    }
    return true;
}

static bool is_domain(const char *s)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    for (;;) {
        size_t n = strspn(s, letters);
        if (n == 0 || n > LABEL_MAX || s[0] == '-' || s[n - 1] == '-')
            return false;
        if (s[n] == '\0')
            return true;
        if (s[n] != '.')
            return false;
        s += n + 1;
    }
}

/* Without spaces around it and in lower case; false if it does not fit. */
static bool copy_lower(const char *text, char out[EMAIL_BYTES])
{
    text += strspn(text, " \t\r\n");
    size_t n = strlen(text);
    while (n > 0 && strchr(" \t\r\n", text[n - 1]))
        n--;
    if (n > ADDRESS_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        out[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] | 0x20) : text[i];
    out[n] = '\0';
    return true;
}

static const struct provider *find_provider(const char *domain)
{
    for (size_t i = 0; i < sizeof providers / sizeof providers[0]; i++) {
        if (strcmp(providers[i].domain, domain) == 0)
            return &providers[i];
    }
    return NULL;
}

/* Never empty: what would leave nothing is left as it is. */
static void write_identity(const struct email_rules *rules, struct email *out)
{
    const char *at = strchr(out->address, '@'), *domain = at + 1;
    const struct provider *p = find_provider(domain);
    size_t local = (size_t)(at - out->address), n = 0;
    for (size_t i = 0; i < local; i++) {
        char c = out->address[i];
        if (rules->plus_tags && i > 0 && (c == '+' || (p && p->tag && c == p->tag)))
            break;
        if (rules->dots && p && p->dots && c == '.')
            continue;
        out->identity[n++] = c;
    }
    snprintf(out->identity + n, sizeof out->identity - n, "@%s", p && rules->dots ? p->is : domain);
}

static void write_person(struct email *out)
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    _Static_assert(EMAIL_PERSON_BYTES == 2 * sizeof hash + 1, "in hexadecimal digits");
    crypto_hash_sha256(hash, (const unsigned char *)out->identity, strlen(out->identity));
    sodium_bin2hex(out->person, sizeof out->person, hash, sizeof hash);
}

int email_read(const char *text, const struct email_rules *rules, struct email *out,
               struct error *e)
{
    memset(out, 0, sizeof *out);
    bool good = copy_lower(text, out->address);
    const char *at = good ? strchr(out->address, '@') : NULL;
    if (!at || !is_local(out->address, (size_t)(at - out->address)) || !is_domain(at + 1)) {
        memset(out, 0, sizeof *out);
        return error_set(e, ERR_INVALID,
                         "This is no e-mail address. It looks like name@example.com, without "
                         "spaces and in ASCII letters.");
    }
    write_identity(rules, out);
    write_person(out);
    return 0;
}
