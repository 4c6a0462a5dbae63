/*
 * A real redis-server for a test: in a directory of its own, on a unix socket and, where it is
 * asked for, on a port of 127.0.0.1 with a password. It dies with the test.
 */
#ifndef MOONGATE_TESTS_REDIS_RIG_H
#define MOONGATE_TESTS_REDIS_RIG_H

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { REDIS_PATH_BYTES = 80, REDIS_URL_BYTES = 160, REDIS_TRIES = 6000 };

struct redis_rig {
    char dir[REDIS_PATH_BYTES / 2], path[REDIS_PATH_BYTES], url[REDIS_URL_BYTES];
    int port;             /* 0: none */
    const char *password; /* NULL: none */
    pid_t pid;
};

static inline void redis_rig_pause(void)
{
    struct timespec t = {.tv_nsec = 10000000};
    nanosleep(&t, NULL);
}

/* A connection of the test's own, which sees what is there. */
static inline redisContext *redis_rig_connect(const struct redis_rig *r)
{
    for (int i = 0; i < REDIS_TRIES; i++) {
        redisContext *c = redisConnectUnix(r->path);
        redisReply *reply = c && !c->err ? redisCommand(c, "PING") : NULL;
        bool is_there = reply && (reply->type == REDIS_REPLY_STATUS || r->password);
        freeReplyObject(reply);
        if (is_there)
            return c;
        redisFree(c);
        redis_rig_pause();
    }
    return NULL;
}

static inline void redis_rig_exec(const struct redis_rig *r)
{
    char port[16];
    const char *args[] = {"redis-server",
                          "--port",
                          port,
                          "--bind",
                          "127.0.0.1",
                          "--unixsocket",
                          r->path,
                          "--dir",
                          r->dir,
                          "--save",
                          "",
                          "--appendonly",
                          "no",
                          "--requirepass",
                          r->password ? r->password : "",
                          NULL};
    snprintf(port, sizeof port, "%d", r->port);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!freopen("/dev/null", "w", stdout))
        _exit(126);
    execvp(args[0], (char *const *)args);
    _exit(127);
}

/* Starts it and waits until it answers. */
static inline bool redis_rig_start(struct redis_rig *r)
{
    unlink(r->path);
    r->pid = fork();
    if (r->pid == 0)
        redis_rig_exec(r);
    redisContext *c = r->pid > 0 ? redis_rig_connect(r) : NULL;
    bool is_there = c != NULL;
    redisFree(c);
    return is_there;
}

static inline bool redis_rig_open(struct redis_rig *r)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(r->dir, sizeof r->dir, "%s/mg-redis-XXXXXX", tmp && strlen(tmp) < 20 ? tmp : P_tmpdir);
    if (!mkdtemp(r->dir))
        return false;
    snprintf(r->path, sizeof r->path, "%s/redis.sock", r->dir);
    snprintf(r->url, sizeof r->url, "unix://%s", r->path);
    return redis_rig_start(r);
}

static inline void redis_rig_signal(const struct redis_rig *r, int sig)
{
    if (r->pid > 0)
        kill(r->pid, sig);
}

static inline void redis_rig_kill(struct redis_rig *r)
{
    redis_rig_signal(r, SIGKILL);
    if (r->pid > 0)
        waitpid(r->pid, NULL, 0);
    r->pid = 0;
}

static inline void redis_rig_close(struct redis_rig *r)
{
    redis_rig_kill(r);
    unlink(r->path);
    rmdir(r->dir);
}

/* A number that a command answers with; -1 for none. */
static inline long long redis_rig_number(const struct redis_rig *r, const char *command)
{
    redisContext *c = redis_rig_connect(r);
    redisReply *reply = c ? redisCommand(c, command) : NULL;
    long long n = reply && reply->type == REDIS_REPLY_INTEGER ? reply->integer : -1;
    freeReplyObject(reply);
    redisFree(c);
    return n;
}

static inline bool redis_rig_do(const struct redis_rig *r, const char *command)
{
    redisContext *c = redis_rig_connect(r);
    redisReply *reply = c ? redisCommand(c, command) : NULL;
    bool ok = reply && reply->type != REDIS_REPLY_ERROR;
    freeReplyObject(reply);
    redisFree(c);
    return ok;
}

/* One that nobody listens on now. */
static inline int redis_rig_free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = bind(fd, (struct sockaddr *)&at, len) == 0 &&
              getsockname(fd, (struct sockaddr *)&at, &len) == 0;
    close(fd);
    return ok ? ntohs(at.sin_port) : 0;
}

#endif
