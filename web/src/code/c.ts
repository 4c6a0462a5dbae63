// C with libcurl. C has no reader of JSON, so what comes is printed as it comes.
import { KEY_VARIABLE, PATH, pretty, type CodeRequest } from './request'

/** ?? would begin a trigraph under -std=c17. */
const quoted = (s: string) =>
  `"${s.replace(/[\\"]/g, '\\$&').replace(/\?(?=\?)/g, '?""')}"`

export function c(r: CodeRequest): string {
  const lines = pretty(r.body).split('\n').map((line) => `    ${quoted(line)}`)
  const header = r.key
    ? `    struct curl_slist *headers = curl_slist_append(NULL, ${quoted(`Authorization: Bearer ${r.key}`)});`
    : `    const char *key = getenv("${KEY_VARIABLE}");
    char authorization[512];
    snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", key ? key : "");
    struct curl_slist *headers = curl_slist_append(NULL, authorization);`
  const print = `/* Called with each piece ${r.stream ? 'of the stream as soon as it is there' : 'of the answer'}. */
static size_t print(char *bytes, size_t size, size_t n, void *arg)
{
    (void)arg;
    fwrite(bytes, size, n, stdout);
    fflush(stdout);
    return size * n;
}`
  return `/* cc main.c -lcurl */
#include <curl/curl.h>
#include <stdio.h>
${r.key ? '' : '#include <stdlib.h>\n'}
static const char body[] =
${lines.join('\n')};

${print}

int main(void)
{
    long status = 0;
    CURL *curl = curl_easy_init();
${header}
    headers = curl_slist_append(headers, "Content-Type: application/json");
    curl_easy_setopt(curl, CURLOPT_URL, ${quoted(r.origin + PATH)});
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, print);
    CURLcode result = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (result != CURLE_OK)
        fprintf(stderr, "%s\\n", curl_easy_strerror(result));
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return result == CURLE_OK && status == 200 ? 0 : 1;
}
`
}
