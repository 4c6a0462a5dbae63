/*
 * Runs a fuzz target over files instead of a fuzzer: the seeds and the inputs that once found a
 * bug. Each argument is a file or a folder of files; prints how many it ran.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return 1;
    }
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    /* exactly as large as the input, so that the sanitizer sees a read past its end */
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    size_t got = fread(data, 1, (size_t)size, f);
    fclose(f);
    LLVMFuzzerTestOneInput(data, got);
    free(data);
    return 0;
}

static int run_path(const char *path, int *n)
{
    struct stat st;
    if (stat(path, &st))
        return 0; /* a target without kept inputs */
    if (!S_ISDIR(st.st_mode)) {
        ++*n;
        return run_file(path);
    }
    DIR *d = opendir(path);
    struct dirent *entry;
    int failed = 0;
    while (d && (entry = readdir(d))) {
        char name[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        failed |= run_path(name, n);
    }
    if (d)
        closedir(d);
    return failed;
}

int main(int argc, char **argv)
{
    int n = 0, failed = 0;
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        failed |= run_path(argv[i], &n);
    printf("%d inputs\n", n);
    return failed;
}
