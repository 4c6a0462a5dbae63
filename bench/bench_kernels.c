/*
 * How fast the kernels are on this machine: matrix products for each set, weight type and number
 * of columns, beside the plain reading of memory that bounds decoding.
 *
 *     bench_kernels [THREADS]      0 or nothing: all cores
 *
 * The matrices together are larger than the caches and each product takes the next one, so one
 * column shows memory speed; many columns show arithmetic.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "engine/kernels.h"
#include "engine/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 2048,
    COLS = 2048,
    WEIGHT_BYTES = 128 << 20, /* of one type */
    MAX_COLUMNS = 64,
    LEAST_US = 200 * 1000, /* a measurement takes at least so long */
    GRAIN = 16
};

struct work {
    const struct kernels *kernels;
    const struct matrix *w;
    const uint8_t *acts;
    size_t stride, n_cols;
    float *out;
};

static void product_part(void *arg, size_t begin, size_t end, int worker)
{
    const struct work *work = arg;
    (void)worker;
    work->kernels->matmul(work->w, work->acts, work->stride, work->n_cols, begin, end, work->out,
                          ROWS);
}

static void fill(float *x, size_t n)
{
    uint32_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525 + 1013904223;
        x[i] = (float)(state >> 8) / (1 << 23) - 1;
    }
}

/* Matrices of one type, one after another; the bytes are the caller's. */
static uint8_t *make_weights(const struct quant_type *type, size_t *count)
{
    size_t row_bytes = quant_row_bytes(type, COLS), bytes = ROWS * row_bytes;
    *count = WEIGHT_BYTES / bytes;
    uint8_t *data = mem_alloc(*count * bytes);
    float *row = mem_array(COLS, sizeof *row);
    fill(row, COLS);
    quant_from_float(type, row, data, COLS);
    for (size_t r = 1; r < *count * ROWS; r++)
        memcpy(data + r * row_bytes, data, row_bytes);
    free(row);
    return data;
}

static void measure(const struct kernels *k, struct pool *pool, const struct quant_type *type,
                    const uint8_t *data, size_t count, size_t n_cols)
{
    struct matrix w = {type, data, ROWS, COLS, quant_row_bytes(type, COLS)};
    size_t stride = kernels_act_bytes(type->act, COLS);
    float *x = mem_array(n_cols * COLS, sizeof *x), *out = mem_array(n_cols * ROWS, sizeof *out);
    uint8_t *acts = mem_alloc(n_cols * stride);
    fill(x, n_cols * COLS);
    for (size_t c = 0; c < n_cols; c++)
        k->quantise(type->act, x + c * COLS, COLS, acts + c * stride);
    struct work work = {k, &w, acts, stride, n_cols, out};
    size_t runs = 0;
    int64_t start = clock_mono_us(), taken;
    do {
        w.data = data + runs++ % count * ROWS * w.row_bytes;
        pool_run(pool, ROWS, GRAIN, product_part, &work);
        taken = clock_mono_us() - start;
    } while (taken < LEAST_US);
    double seconds = (double)taken / 1e6, products = (double)runs * ROWS * COLS;
    printf("%-11s %-5s %8zu %10.1f %10.1f\n", k->name, type->name, n_cols,
           (double)runs * (double)(ROWS * w.row_bytes) / seconds / 1e9,
           2 * products * (double)n_cols / seconds / 1e9);
    fflush(stdout);
    free(x);
    free(out);
    free(acts);
}

struct reading {
    const uint64_t *words;
    uint64_t sums[512]; /* one a worker, so that the reading has a result */
};

static void read_part(void *arg, size_t begin, size_t end, int worker)
{
    struct reading *r = arg;
    uint64_t sum = 0;
    for (size_t i = begin; i < end; i++)
        sum += r->words[i];
    r->sums[worker] += sum;
}

static void measure_memory(struct pool *pool)
{
    enum { READ_BYTES = 512 << 20, TIMES = 8 };
    struct reading r = {.words = mem_alloc(READ_BYTES)};
    memset((void *)r.words, 1, READ_BYTES);
    int64_t start = clock_mono_us();
    for (int i = 0; i < TIMES; i++)
        pool_run(pool, READ_BYTES / sizeof *r.words, 4096, read_part, &r);
    double seconds = (double)(clock_mono_us() - start) / 1e6;
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof r.sums / sizeof *r.sums; i++)
        sum += r.sums[i];
    printf("memory read %24.1f GB/s (check %llx)\n", TIMES * (double)READ_BYTES / seconds / 1e9,
           (unsigned long long)sum);
    free((void *)r.words);
}

static void no_part(void *arg, size_t begin, size_t end, int worker)
{
    (void)arg, (void)begin, (void)end, (void)worker;
}

static void measure_pool(struct pool *pool)
{
    enum { RUNS = 20000 };
    int64_t start = clock_mono_us();
    for (int i = 0; i < RUNS; i++)
        pool_run(pool, (size_t)pool_threads(pool), 1, no_part, NULL);
    printf("empty pool run %21.2f us\n", (double)(clock_mono_us() - start) / RUNS);
}

static void print_processor(void)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':')) {
            printf("processor:%s", strchr(line, ':') + 1);
            break;
        }
    }
    if (f)
        fclose(f);
}

static void measure_type(struct pool *pool, uint32_t id)
{
    static const char *const names[] = {"scalar", "avx2", "avx512", "avx512vnni"};
    static const size_t columns[] = {1, 2, 4, 8, 16, MAX_COLUMNS};
    const struct quant_type *type = quant_find(id);
    size_t count;
    uint8_t *data = make_weights(type, &count);
    for (size_t s = 0; s < sizeof names / sizeof *names; s++) {
        const struct kernels *k;
        if (kernels_find(names[s], &k, NULL) != 0)
            continue;
        for (size_t c = 0; c < sizeof columns / sizeof *columns; c++)
            measure(k, pool, type, data, count, columns[c]);
    }
    free(data);
}

int main(int argc, char **argv)
{
    static const uint32_t types[] = {QUANT_F32, QUANT_F16, QUANT_BF16, QUANT_Q8_0};
    struct pool *pool;
    struct error e;
    char *end = NULL;
    long threads = argc > 1 ? strtol(argv[1], &end, 10) : 0;
    if (argc > 2 || (end && *end) || threads < 0 || threads > 512) {
        fprintf(stderr, "usage: bench_kernels [THREADS]\n");
        return 2;
    }
    if (pool_open((int)threads, &pool, &e) != 0) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    print_processor();
    printf("threads: %d, matrices of %d x %d\n", pool_threads(pool), ROWS, COLS);
    measure_memory(pool);
    measure_pool(pool);
    printf("%-11s %-5s %8s %10s %10s\n", "kernels", "type", "columns", "GB/s", "GFLOP/s");
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        measure_type(pool, types[t]);
    pool_close(pool);
    return 0;
}
