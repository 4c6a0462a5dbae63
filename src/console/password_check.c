/*
 * What a password must be. Length is what counts; the rest only keeps out what is tried first.
 * The list holds beginnings: what remains of a password without the digits and signs behind it,
 * since a year and a "!" make nothing safe. Pure; any thread.
 */
#include "console/password.h"

#include "base/clock.h"
#include "base/utf8.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const common[] = {
    "abc",
    "abcd",
    "abcdef",
    "abcdefgh",
    "abcdefghij",
    "abcdefghijk",
    "administrator",
    "admin",
    "adminadmin",
    "asdf",
    "asdfgh",
    "asdfghjk",
    "asdfghjkl",
    "baseball",
    "basketball",
    "changeme",
    "changemenow",
    "chocolate",
    "computer",
    "default",
    "dragon",
    "football",
    "iloveyou",
    "iloveyouso",
    "kimi",
    "kimikimi",
    "letmein",
    "letmeinnow",
    "liverpool",
    "loveyou",
    "master",
    "michael",
    "monkey",
    "moongate",
    "moonshot",
    "mypassword",
    "newpassword",
    "passw0rd",
    "passwort",
    "password",
    "passwordpassword",
    "pokemon",
    "princess",
    "q1w2e3r4t5",
    "q1w2e3r4t5y6",
    "qazwsx",
    "qazwsxedc",
    "qwer",
    "qwert",
    "qwerty",
    "qwertyqwerty",
    "qwertyuiop",
    "qwertzuiop",
    "sunshine",
    "superman",
    "starwars",
    "test",
    "testtest",
    "trustno",
    "unknown",
    "welcome",
    "whatever",
    "secret",
    "secretsecret",
    "p@ssword",
    "p@ssw0rd",
    "zaq12wsx",
    "zxcvbn",
    "zxcvbnm",
    "1q2w3e4r5t",
    "1q2w3e4r5t6y",
    "1qaz2wsx3edc",
};

static bool count_chars(const char *s, size_t *chars)
{
    size_t len = strlen(s), at = 0;
    *chars = 0;
    while (at < len) {
        int n = utf8_char(s + at, len - at);
        if (n <= 0 || (n == 1 && ((unsigned char)s[at] < ' ' || s[at] == 0x7f)))
            return false;
        at += (size_t)n;
        (*chars)++;
    }
    return true;
}

/* One character again and again, or each the next of the one before: 1234567890, aaaaaaaaaa. */
static bool is_run(const char *s)
{
    size_t len = strlen(s), same = 1, next = 1;
    for (size_t i = 1; i < len; i++) {
        int step = (unsigned char)s[i] - (unsigned char)s[i - 1];
        same += step == 0;
        next += step == 1 || step == -1 || step == -9 || step == 9; /* 9 and 0 are neighbours */
    }
    return same == len || next == len;
}

static bool is_common(const char *s)
{
    size_t len = strlen(s), letters = len;
    static const char tail[] = "0123456789!?.,;:-_+*#$%&@=/ ";
    while (letters > 0 && memchr(tail, s[letters - 1], sizeof tail - 1))
        letters--;
    if (letters == 0 && len <= 2 * (size_t)PASSWORD_MIN_CHARS && strspn(s, "0123456789") == len)
        return true; /* a number: a date, a telephone */
    for (size_t i = 0; i < sizeof common / sizeof common[0]; i++) {
        size_t n = strlen(common[i]);
        if ((n == letters || n == len) && strncasecmp(s, common[i], n) == 0)
            return true;
    }
    return is_run(s);
}

static bool is_address(const char *s, const char *address)
{
    size_t local = strcspn(address, "@");
    return strcasecmp(s, address) == 0 ||
           (local > 0 && strlen(s) == local && strncasecmp(s, address, local) == 0);
}

int password_check(const char *password, const char *address, struct error *e)
{
    size_t chars;
    if (strlen(password) > PASSWORD_MAX_BYTES)
        return error_set(e, ERR_LIMIT, "The password is longer than %d bytes.", PASSWORD_MAX_BYTES);
    if (!count_chars(password, &chars))
        return error_set(e, ERR_INVALID, "The password holds what is no text.");
    if (chars < PASSWORD_MIN_CHARS)
        return error_set(e, ERR_INVALID, "The password needs %d characters at least.",
                         PASSWORD_MIN_CHARS);
    if (address && is_address(password, address))
        return error_set(e, ERR_INVALID, "The password must not be the address.");
    if (is_common(password))
        return error_set(e, ERR_INVALID,
                         "This password is one of those that are tried first; take another.");
    return 0;
}

void password_make(char out[PASSWORD_ONE_TIME_CHARS + 1])
{
    static const char alphabet[] = "abcdefghjkmnpqrstuvwxyz23456789";
    enum { LETTERS = sizeof alphabet - 1, FAIR = 256 / LETTERS * LETTERS };
    unsigned char byte;
    for (int i = 0; i < PASSWORD_ONE_TIME_CHARS; i++) {
        do
            random_bytes(&byte, 1);
        while (byte >= FAIR);
        out[i] = alphabet[byte % LETTERS];
    }
    out[PASSWORD_ONE_TIME_CHARS] = '\0';
}
