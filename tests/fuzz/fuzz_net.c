/* Lists of networks: an accepted one holds the first and the last address of each of its networks.
 * The first line of the input is an address, the rest a list. */
#include "base/net.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

static void check_address(const struct net_list *list, const char *text)
{
    struct net_address a, again;
    char clean[NET_TEXT_BYTES];
    if (!net_address_parse(text, &a)) {
        must(!net_list_has(list, text));
        return;
    }
    net_address_text(&a, clean);
    must(net_address_parse(clean, &again) && memcmp(&a, &again, sizeof(a)) == 0);
    must(net_list_has(list, text) == net_list_has(list, clean));
    must(net_list_has(list, text) == net_list_holds(list, &a));
}

/* A network holds its first and its last address. */
static void check_range(const struct net_list *list, const struct net_range *r)
{
    struct net_address last = r->first;
    must(r->bits <= 128);
    for (unsigned bit = r->bits; bit < 128; bit++) {
        must((r->first.bytes[bit / 8] & (0x80 >> bit % 8)) == 0);
        last.bytes[bit / 8] |= (unsigned char)(0x80 >> bit % 8);
    }
    must(net_list_holds(list, &r->first) || r->bits < 96);
    must(net_list_holds(list, &last) || r->bits < 96);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct net_list list;
    struct error e = {0};
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    char *line = strchr(text, '\n');
    if (line != NULL)
        *line = '\0';
    int rc = net_list_parse(line != NULL ? line + 1 : text, &list, &e);
    must(rc == 0 || (list.n == 0 && e.code == rc && e.text[0] != '\0'));
    must(list.n <= NET_LIST_MAX);
    for (size_t i = 0; i < list.n; i++)
        check_range(&list, &list.ranges[i]);
    check_address(&list, text);
    free(text);
    return 0;
}
