// Simulates a full disk for a program that preloads this (LD_PRELOAD, ld.so(8)).
//
// The file named by $FULL_DISK describes the disk in one line, `ERROR SPACE CALLS PATH`. While it
// exists, these CALLS fail with this errno for files whose paths begin with PATH: `w`, writing, once
// SPACE bytes have been written; `c`, creating a file; `l`, linking. Each failure adds a byte to
// `$FULL_DISK.failed`.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

struct disk {
    int error;
    size_t space;
    char calls[8];
    char path[4096];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

// The functions of the C library that those below stand in for.
static int (*real_open)(const char *, int, ...);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_linkat)(int, const char *, int, const char *, int);

__attribute__((constructor)) static void find(void) {
    real_open = dlsym(RTLD_NEXT, "open");
    real_write = dlsym(RTLD_NEXT, "write");
    real_linkat = dlsym(RTLD_NEXT, "linkat");
}

static void add(const char *path, const char *text, int flags) {
    int fd = real_open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);
    if (fd >= 0) {
        real_write(fd, text, strlen(text));
        close(fd);
    }
}

// Whether the disk restricts this call for this path.
static int restricts(struct disk *disk, char call, const char *path) {
    const char *name = getenv("FULL_DISK");
    int fd = name ? real_open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    char text[sizeof *disk] = "";
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    return length > 0 &&
           sscanf(text, "%d %zu %7s %4095[^\n]", &disk->error, &disk->space, disk->calls, disk->path) == 4 &&
           strchr(disk->calls, call) && strncmp(path, disk->path, strlen(disk->path)) == 0;
}

static int fail(const struct disk *disk) {
    char failed[4096];
    snprintf(failed, sizeof failed, "%s.failed", getenv("FULL_DISK"));
    add(failed, ".", O_APPEND);
    errno = disk->error;
    return -1;
}

static ssize_t write_some(int fd, const char *path, const void *bytes, size_t length) {
    struct disk disk;
    if (!restricts(&disk, 'w', path))
        return real_write(fd, bytes, length);
    if (disk.space == 0 && length > 0)
        return fail(&disk);
    ssize_t written = real_write(fd, bytes, length < disk.space ? length : disk.space);
    if (written > 0) {
        char text[sizeof disk];
        disk.space -= written;
        snprintf(text, sizeof text, "%d %zu %s %s\n", disk.error, disk.space, disk.calls, disk.path);
        add(getenv("FULL_DISK"), text, O_TRUNC);
    }
    return written;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t end = readlink(link, path, sizeof path - 1);
    path[end > 0 ? end : 0] = 0;

    pthread_mutex_lock(&lock);
    ssize_t written = write_some(fd, path, bytes, length);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return written;
}

// Callers have to expect that only some pieces are written.
ssize_t writev(int fd, const struct iovec *pieces, int count) {
    for (int n = 0; n < count; n++)
        if (pieces[n].iov_len > 0)
            return write(fd, pieces[n].iov_base, pieces[n].iov_len);
    return 0;
}

// Fails, if the disk does not allow this call.
static int deny(char call, const char *path) {
    struct disk disk;
    pthread_mutex_lock(&lock);
    int result = restricts(&disk, call, path) ? fail(&disk) : 0;
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

static int open_unless_denied(const char *path, int flags, mode_t mode) {
    if ((flags & O_CREAT) && access(path, F_OK) != 0 && deny('c', path) != 0)
        return -1;
    return real_open(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return open_unless_denied(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return open_unless_denied(path, flags | O_LARGEFILE, mode);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    return deny('l', to) != 0 ? -1 : real_linkat(from_fd, from, to_fd, to, flags);
}
