/*
 * A disk that fails on purpose: a file system for SQLite (a shim VFS) which passes everything on
 * to the system's own and counts writes, syncs and truncations of the store's files. It is there
 * always and inert without a variable of the environment, which is read when the first database
 * is opened (none of MOONGATE_..., because those are options of the configuration):
 *
 *     MG_FAULT_WRITE=N            the N-th of them fails (SQLITE_IOERR) and each after it
 *     MG_FAULT_WRITE=N:once       the N-th alone
 *     MG_FAULT_WRITE=N:full       as :once, as a full disk (SQLITE_FULL)
 *     MG_FAULT_WRITE=N:torn       half of the N-th write is written, then the process dies
 *     MG_FAULT_WRITE=N:kill       the process dies (SIGKILL) before the N-th
 *     MG_FAULT_WRITE=0            nothing fails; they are counted
 *     MG_FAULT_COUNT=FILE         how many there were is written to FILE when the process
 *                                 exits by itself, so that a test knows where to end
 *
 * So "the disk made to fail at every write in turn" is a loop over N. N counts from 1, over all
 * connections of the process. What SQLite writes through shared memory (the -shm file) is not
 * counted: it is made anew after a crash.
 */
#include "store/fault_vfs.h"

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum fault { FAULT_STAYS, FAULT_ONCE, FAULT_FULL, FAULT_TORN, FAULT_KILL };

struct fault_file {
    sqlite3_file base;
    sqlite3_file *real; /* lies behind this struct */
};

static struct {
    bool on;
    long long at;
    enum fault what;
    const char *count_path;
    atomic_llong writes;
    sqlite3_vfs vfs, *real;
} shim;

static sqlite3_file *real_of(sqlite3_file *f)
{
    return ((struct fault_file *)f)->real;
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* SQLITE_OK, or what this write is to fail with. *torn: half of it, and then the end. */
static int count_write(int io_error, bool *torn)
{
    long long n = atomic_fetch_add(&shim.writes, 1) + 1;
    if (shim.at == 0 || n < shim.at || (n > shim.at && shim.what != FAULT_STAYS))
        return SQLITE_OK;
    *torn = shim.what == FAULT_TORN;
    if (shim.what == FAULT_KILL)
        die();
    if (*torn)
        return SQLITE_OK;
    return shim.what == FAULT_FULL ? SQLITE_FULL : io_error;
}

/* The three that are counted */

static int fault_write(sqlite3_file *f, const void *data, int bytes, sqlite3_int64 at)
{
    bool torn = false;
    int rc = count_write(SQLITE_IOERR_WRITE, &torn);
    if (rc != SQLITE_OK)
        return rc;
    rc = real_of(f)->pMethods->xWrite(real_of(f), data, torn ? bytes / 2 : bytes, at);
    if (torn)
        die();
    return rc;
}

static int fault_sync(sqlite3_file *f, int flags)
{
    bool torn = false;
    int rc = count_write(SQLITE_IOERR_FSYNC, &torn);
    if (torn)
        die();
    return rc != SQLITE_OK ? rc : real_of(f)->pMethods->xSync(real_of(f), flags);
}

static int fault_truncate(sqlite3_file *f, sqlite3_int64 bytes)
{
    bool torn = false;
    int rc = count_write(SQLITE_IOERR_TRUNCATE, &torn);
    if (torn)
        die();
    return rc != SQLITE_OK ? rc : real_of(f)->pMethods->xTruncate(real_of(f), bytes);
}

/* The rest passes through */

static int fault_close(sqlite3_file *f)
{
    sqlite3_file *real = real_of(f);
    int rc = real->pMethods ? real->pMethods->xClose(real) : SQLITE_OK;
    f->pMethods = NULL;
    return rc;
}

static int fault_read(sqlite3_file *f, void *data, int bytes, sqlite3_int64 at)
{
    return real_of(f)->pMethods->xRead(real_of(f), data, bytes, at);
}

static int fault_size(sqlite3_file *f, sqlite3_int64 *bytes)
{
    return real_of(f)->pMethods->xFileSize(real_of(f), bytes);
}

static int fault_lock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xLock(real_of(f), level);
}

static int fault_unlock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xUnlock(real_of(f), level);
}

static int fault_is_reserved(sqlite3_file *f, int *out)
{
    return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out);
}

static int fault_control(sqlite3_file *f, int what, void *arg)
{
    return real_of(f)->pMethods->xFileControl(real_of(f), what, arg);
}

static int fault_sector(sqlite3_file *f)
{
    return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int fault_traits(sqlite3_file *f)
{
    return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

static int fault_shm_map(sqlite3_file *f, int region, int bytes, int extend, void volatile **out)
{
    return real_of(f)->pMethods->xShmMap(real_of(f), region, bytes, extend, out);
}

static int fault_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
    return real_of(f)->pMethods->xShmLock(real_of(f), at, n, flags);
}

static void fault_shm_barrier(sqlite3_file *f)
{
    real_of(f)->pMethods->xShmBarrier(real_of(f));
}

static int fault_shm_unmap(sqlite3_file *f, int and_delete)
{
    return real_of(f)->pMethods->xShmUnmap(real_of(f), and_delete);
}

/* Version 2: with shared memory, without a mapping of the file, past which nothing could count. */
static const sqlite3_io_methods counted = {
    .iVersion = 2,
    .xClose = fault_close,
    .xRead = fault_read,
    .xWrite = fault_write,
    .xTruncate = fault_truncate,
    .xSync = fault_sync,
    .xFileSize = fault_size,
    .xLock = fault_lock,
    .xUnlock = fault_unlock,
    .xCheckReservedLock = fault_is_reserved,
    .xFileControl = fault_control,
    .xSectorSize = fault_sector,
    .xDeviceCharacteristics = fault_traits,
    .xShmMap = fault_shm_map,
    .xShmLock = fault_shm_lock,
    .xShmBarrier = fault_shm_barrier,
    .xShmUnmap = fault_shm_unmap,
};

static int fault_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    struct fault_file *file = (struct fault_file *)f;
    (void)vfs;
    file->real = (sqlite3_file *)(file + 1);
    file->real->pMethods = NULL;
    int rc = shim.real->xOpen(shim.real, name, file->real, flags, out);
    f->pMethods = file->real->pMethods ? &counted : NULL;
    return rc;
}

/* Starting */

static void write_count(void)
{
    FILE *out = fopen(shim.count_path, "w");
    if (!out)
        return;
    fprintf(out, "%lld\n", atomic_load(&shim.writes));
    fclose(out);
}

static bool read_wish(const char *text)
{
    static const struct {
        const char *name;
        enum fault what;
    } kinds[] = {{"", FAULT_STAYS},
                 {":once", FAULT_ONCE},
                 {":full", FAULT_FULL},
                 {":torn", FAULT_TORN},
                 {":kill", FAULT_KILL}};
    char *end;
    shim.at = strtoll(text, &end, 10);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (end != text && shim.at >= 0 && strcmp(end, kinds[i].name) == 0) {
            shim.what = kinds[i].what;
            return true;
        }
    }
    fprintf(stderr, "moongate: MG_FAULT_WRITE=%s is not understood\n", text);
    exit(2);
}

static void start(void)
{
    const char *wish = getenv("MG_FAULT_WRITE");
    if (!wish || !read_wish(wish))
        return;
    shim.real = sqlite3_vfs_find(NULL);
    shim.vfs = *shim.real; /* all else is the real one's, called with our struct: it keeps none */
    shim.vfs.zName = "moongate-fault";
    shim.vfs.szOsFile = (int)sizeof(struct fault_file) + shim.real->szOsFile;
    shim.vfs.xOpen = fault_open;
    shim.vfs.pNext = NULL;
    shim.on = sqlite3_vfs_register(&shim.vfs, 0) == SQLITE_OK;
    shim.count_path = getenv("MG_FAULT_COUNT");
    if (shim.on && shim.count_path)
        atexit(write_count);
}

const char *fault_vfs(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start);
    return shim.on ? shim.vfs.zName : NULL;
}
