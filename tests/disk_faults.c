/*
 * Preloaded into a process, it makes the disk fail under chosen paths, or kills the process inside a write.
 *
 *   DISK_FAULT_PATH     only paths that contain this text
 *   DISK_FAULT_PROGRAM  only in processes whose command line contains this text
 *   DISK_FAULT_KILL_AT  SIGKILL at this change of such a file, from 1; half of a write is done before
 *   DISK_FAULT_COUNT    file that gets one byte for every change, so that they can be counted
 *   DISK_FAULT_LOCKS    number of the error with which every attempt to lock fails
 *   DISK_FAULT_ROOM     such a file cannot grow beyond this many bytes: the disk is full
 *   DISK_FAULT_MMAP     any value: files there cannot be mapped as shared memory
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int armed = -1;
static long changes, kill_at, room;
static int lock_error, no_mapping, counter = -1;
static char wanted[4096];

static void arm(void) {
    char line[8192];
    const char *program = getenv("DISK_FAULT_PROGRAM"), *path = getenv("DISK_FAULT_PATH"), *value;
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    armed = 0;
    if (!path) return;
    if (program) {
        int file = real_open("/proc/self/cmdline", O_RDONLY);
        ssize_t length = file < 0 ? 0 : read(file, line, sizeof line - 1), i;
        if (file >= 0) close(file);
        for (i = 0; i < length; i++) if (!line[i]) line[i] = ' ';
        line[length > 0 ? length : 0] = 0;
        if (!strstr(line, program)) return;
    }
    snprintf(wanted, sizeof wanted, "%s", path);
    if ((value = getenv("DISK_FAULT_KILL_AT"))) kill_at = atol(value);
    if ((value = getenv("DISK_FAULT_ROOM"))) room = atol(value);
    if ((value = getenv("DISK_FAULT_LOCKS"))) lock_error = atoi(value);
    if ((value = getenv("DISK_FAULT_COUNT"))) counter = real_open(value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    no_mapping = getenv("DISK_FAULT_MMAP") != NULL;
    armed = 1;
}

static int is_wanted(const char *path) {
    if (armed < 0) arm();
    return armed && path && strstr(path, wanted);
}

static int is_wanted_file(int file) {
    char link[64], path[4096];
    ssize_t length;
    if (armed < 0) arm();
    if (!armed || file < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_wanted(path);
}

/* Returns 1 when the process is to die inside this change. */
static int change(void) {
    static ssize_t (*real_write)(int, const void *, size_t);
    if (!real_write) real_write = dlsym(RTLD_NEXT, "write");
    if (counter >= 0) real_write(counter, ".", 1);
    return __sync_add_and_fetch(&changes, 1) == kill_at;
}

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

ssize_t write(int file, const void *data, size_t length) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    if (is_wanted_file(file) && change()) { real(file, data, length / 2); die(); }
    return real(file, data, length);
}

#define PWRITE(name) \
    ssize_t name(int file, const void *data, size_t length, off64_t at) { \
        static ssize_t (*real)(int, const void *, size_t, off64_t); \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        if (is_wanted_file(file)) { \
            if (change()) { real(file, data, length / 2, at); die(); } \
            if (room && at + (off64_t) length > room) { errno = ENOSPC; return -1; } \
        } \
        return real(file, data, length, at); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define CHANGE_FILE(name, type, arguments, pass) \
    int name arguments { \
        static int (*real) arguments; \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        if (is_wanted_file(file) && change()) die(); \
        return real pass; \
    }
CHANGE_FILE(ftruncate, int, (int file, off_t length), (file, length))
CHANGE_FILE(ftruncate64, int, (int file, off64_t length), (file, length))
CHANGE_FILE(fsync, int, (int file), (file))
CHANGE_FILE(fdatasync, int, (int file), (file))

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    if (!real) real = dlsym(RTLD_NEXT, "rename");
    if ((is_wanted(from) || is_wanted(to)) && change()) die();
    return real(from, to);
}

int renameat(int old, const char *from, int new, const char *to) {
    static int (*real)(int, const char *, int, const char *);
    if (!real) real = dlsym(RTLD_NEXT, "renameat");
    if ((is_wanted(from) || is_wanted(to)) && change()) die();
    return real(old, from, new, to);
}

int unlink(const char *path) {
    static int (*real)(const char *);
    if (!real) real = dlsym(RTLD_NEXT, "unlink");
    if (is_wanted(path) && change()) die();
    return real(path);
}

#define FCNTL(name) \
    int name(int file, int command, ...) { \
        static int (*real)(int, int, ...); \
        va_list rest; \
        void *argument; \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        va_start(rest, command); \
        argument = va_arg(rest, void *); \
        va_end(rest); \
        if ((command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK) && is_wanted_file(file) && lock_error) { \
            errno = lock_error; \
            return -1; \
        } \
        return real(file, command, argument); \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

#define MMAP(name) \
    void *name(void *at, size_t length, int protection, int flags, int file, off64_t offset) { \
        static void *(*real)(void *, size_t, int, int, int, off64_t); \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        if (file >= 0 && (flags & MAP_SHARED) && is_wanted_file(file) && no_mapping) { \
            errno = ENODEV; \
            return MAP_FAILED; \
        } \
        return real(at, length, protection, flags, file, offset); \
    }
MMAP(mmap)
MMAP(mmap64)
