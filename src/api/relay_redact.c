/*
 * Blanks what looks like a credential. Known beginnings are matched at the start of a word; a long
 * run of letters and digits counts where the text speaks of a key, a token or a secret before it.
 * Rather a word too many is blanked than a key told. Pure.
 */
#include "api/relay.h"

#include <string.h>
#include <strings.h>

enum { SHORTEST = 8, LONG_RUN = 32, BLANK_BYTES = 3 };

static const char BLANK[] = "***";

static const char *const beginnings[] = {"sk-", "mg-",    "gsk_", "xai-",
                                         "hf_", "nvapi-", "AIza", "eyJ"};
static const char *const schemes[] = {"Bearer ", "Basic "}; /* "Basic" is a word as well */
static const size_t shortest[] = {1, 12};
static const char *const topics[] = {"key", "token", "secret", "password", "authorization"};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static bool is_letter_or_digit(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Of base64, base64url, a JWT, or a key that was masked already. */
static size_t run_len(const char *s)
{
    size_t n = 0;
    while (is_letter_or_digit(s[n]) || (s[n] != '\0' && strchr("-_.~+/=*", s[n]) != NULL))
        n++;
    while (n > 0 && s[n - 1] == '.') /* the end of a sentence */
        n--;
    return n;
}

static size_t secret_len(const char *s, bool after_topic)
{
    size_t run = run_len(s);
    for (size_t i = 0; i < COUNT(schemes); i++) {
        size_t n = strlen(schemes[i]);
        if (strncasecmp(s, schemes[i], n) == 0 && run_len(s + n) >= shortest[i])
            return n + run_len(s + n);
    }
    for (size_t i = 0; i < COUNT(beginnings); i++) {
        size_t n = strlen(beginnings[i]);
        if (strncmp(s, beginnings[i], n) == 0 && run >= n + SHORTEST)
            return run;
    }
    return after_topic && run >= LONG_RUN ? run : 0;
}

static bool is_topic(const char *s)
{
    for (size_t i = 0; i < COUNT(topics); i++) {
        if (strncasecmp(s, topics[i], strlen(topics[i])) == 0)
            return true;
    }
    return false;
}

void relay_redact(char *text)
{
    bool after_topic = false;
    char *to = text, before = '\0';
    for (const char *from = text; *from != '\0';) {
        after_topic |= is_topic(from);
        size_t n = is_letter_or_digit(before) ? 0 : secret_len(from, after_topic);
        if (n > BLANK_BYTES) {
            memcpy(to, BLANK, BLANK_BYTES);
            to += BLANK_BYTES;
            from += n;
            before = '*';
        } else {
            before = *from;
            *to++ = *from++;
        }
    }
    *to = '\0';
}
