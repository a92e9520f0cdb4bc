// Records what a program that preloads this (LD_PRELOAD, ld.so(8)) does to the files below a folder,
// in order, and what it sends to sockets meanwhile.
//
// Not the functions of the C library are replaced, but the system calls trapped (seccomp(2)), so that
// calls that go past the C library are recorded, too. The instruction of `call` is the only one that
// may make these calls untrapped.
//
// $POWER_FOLDER is the folder, without symbolic links; $POWER_LOG the file of the records, outside.
// Each is a `struct head`, two paths relative to the folder, and data.
// $POWER_KEEP is a folder in which each new file gets a second name, its inode's number: so the number
// stays its own, and the file can be put back.
// $POWER_FAIL has rules `N ERROR TEXT`, one a line: the Nth sync of a file whose path contains TEXT
// fails with this errno, and syncs nothing.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/falloc.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the registers of a system call are known for x86-64 only"
#endif

#define PATH 4096
#define RULES 8

struct head {
    uint32_t kind;
    int32_t error;
    uint64_t inode;
    // Of a write; the size of a file that is truncated; the peer's port of sent bytes.
    uint64_t offset;
    uint32_t from_length, to_length, data_length, padding;
};

struct rule {
    unsigned long left;
    int error;
    char text[PATH];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH];
static size_t folder_length;
static int log_fd;
static struct rule rules[RULES];
static int rule_count;

// Makes a system call, which is not trapped. Returns its result, or the negative error.
extern char call_end[];
__attribute__((noinline)) static long call(long number, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall\n.globl call_end\n.hidden call_end\ncall_end:"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static void record(char kind, int error, uint64_t inode, uint64_t offset, const char *from, const char *to,
                   const void *data, size_t length) {
    struct head head = {kind, error, inode, offset, strlen(from), strlen(to), length, 0};
    struct iovec pieces[] = {{&head, sizeof head},
                             {(void *)from, head.from_length},
                             {(void *)to, head.to_length},
                             {(void *)data, length}};
    long all = sizeof head + head.from_length + head.to_length + length;
    if (call(SYS_writev, log_fd, (long)pieces, 4, 0, 0, 0) != all)
        abort();
}

// The path in the folder, or null.
static const char *below(const char *path) {
    if (strncmp(path, folder, folder_length) != 0)
        return NULL;
    path += folder_length;
    return *path == '/' ? path + 1 : *path ? NULL : path;
}

static int link_of(const char *directory, int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "%s/%d", directory, fd);
    ssize_t end = readlink(link, path, PATH - 1);
    path[end > 0 ? end : 0] = 0;
    return end > 0;
}

// Makes a path of a system call absolute. Returns what of it is in the folder, or null.
static const char *absolute(int at, const char *path, char *whole) {
    whole[0] = 0;
    if (path[0] != '/') {
        if (at == AT_FDCWD) {
            if (!getcwd(whole, PATH))
                return NULL;
        } else if (!link_of("/proc/self/fd", at, whole)) {
            return NULL;
        }
        strncat(whole, "/", PATH - strlen(whole) - 1);
    }
    strncat(whole, path, PATH - strlen(whole) - 1);
    size_t end = strlen(whole);
    while (end > 1 && whole[end - 1] == '/')
        whole[--end] = 0;
    return below(whole);
}

static const char *of_fd(int fd, char *whole) {
    return link_of("/proc/self/fd", fd, whole) ? below(whole) : NULL;
}

static void unsupported(const char *what) {
    record('X', 0, 0, 0, what, "", NULL, 0);
}

static void synced(int error, const struct stat *facts, const char *path) {
    record('S', error, facts->st_ino, S_ISDIR(facts->st_mode), path, "", NULL, 0);
}

static long sync_file(long number, long fd, const struct stat *facts, const char *path) {
    for (int n = 0; n < rule_count; n++)
        if (rules[n].left > 0 && strstr(path, rules[n].text) && --rules[n].left == 0) {
            synced(rules[n].error, facts, path);
            return -rules[n].error;
        }
    long result = call(number, fd, 0, 0, 0, 0, 0);
    synced(result < 0 ? -result : 0, facts, path);
    return result;
}

static long write_file(long number, const long *a, const struct stat *facts, const char *path) {
    long result = call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (result > 0) {
        struct stat after;
        uint64_t offset = lseek(a[0], 0, SEEK_CUR) - result;
        int flags = fcntl(a[0], F_GETFL);
        if (number == SYS_pwrite64) {
            // O_APPEND disregards the offset, in Linux.
            fstat(a[0], &after);
            offset = flags & O_APPEND ? after.st_size - result : a[3];
        }
        record('W', 0, facts->st_ino, offset, path, "", (void *)a[1], result);
        if (flags & O_DSYNC)
            synced(0, facts, path);
    }
    return result;
}

// A call for an open file.
static long for_fd(long number, const long *a) {
    char whole[PATH];
    struct stat facts;
    if (fstat(a[0], &facts) != 0)
        return call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (S_ISSOCK(facts.st_mode)) {
        struct sockaddr_in6 peer;
        socklen_t length = sizeof peer;
        int is_known = getpeername(a[0], (void *)&peer, &length) == 0 &&
                       (peer.sin6_family == AF_INET || peer.sin6_family == AF_INET6);
        long result = call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
        // The port is at the same place in both families.
        if (result > 0 && is_known)
            record('N', 0, result, ntohs(peer.sin6_port), "", "", NULL, 0);
        return result;
    }
    const char *path = of_fd(a[0], whole);
    if (!path || !(S_ISREG(facts.st_mode) || S_ISDIR(facts.st_mode)))
        return call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    switch (number) {
    case SYS_write:
    case SYS_pwrite64:
        return write_file(number, a, &facts, path);
    case SYS_fsync:
    case SYS_fdatasync:
        return sync_file(number, a[0], &facts, path);
    case SYS_ftruncate: {
        long result = call(number, a[0], a[1], 0, 0, 0, 0);
        if (result == 0)
            record('T', 0, facts.st_ino, a[1], path, "", NULL, 0);
        return result;
    }
    case SYS_fallocate: {
        long result = call(number, a[0], a[1], a[2], a[3], 0, 0);
        if (result == 0 && (a[1] & ~FALLOC_FL_KEEP_SIZE))
            unsupported("fallocate");
        if (result == 0 && a[1] == 0 && a[2] + a[3] > facts.st_size)
            record('T', 0, facts.st_ino, a[2] + a[3], path, "", NULL, 0);
        return result;
    }
    case SYS_mmap:
        unsupported("mmap");
        break;
    default:
        unsupported("a call for an open file");
    }
    return call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static long open_file(long number, int at, const char *name, int flags, const long *a) {
    char whole[PATH];
    struct stat before, after;
    const char *path = absolute(at, name, whole);
    int existed = path && stat(whole, &before) == 0;
    long fd = call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (!path || fd < 0 || fstat(fd, &after) != 0)
        return fd;
    if ((flags & O_TMPFILE) == O_TMPFILE)
        unsupported("O_TMPFILE");
    else if (!existed) {
        char kept[PATH];
        snprintf(kept, sizeof kept, "%s/%lu", getenv("POWER_KEEP"), (unsigned long)after.st_ino);
        call(SYS_linkat, AT_FDCWD, (long)whole, AT_FDCWD, (long)kept, 0, 0);
        record('C', 0, after.st_ino, 0, path, "", NULL, 0);
    } else if ((flags & O_TRUNC) && before.st_size > 0)
        record('T', 0, after.st_ino, 0, path, "", NULL, 0);
    return fd;
}

// A call that changes names.
static long for_names(long number, char kind, int from_at, const char *from, int to_at, const char *to,
                      const long *a) {
    char from_whole[PATH], to_whole[PATH];
    struct stat facts = {0};
    const char *from_path = absolute(from_at, from, from_whole);
    const char *to_path = to ? absolute(to_at, to, to_whole) : "";
    if (from_path && to)
        lstat(from_whole, &facts);
    long result = call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (result != 0 || (!from_path && (!to_path || !*to_path)))
        return result;
    if (!from_path || !to_path) {
        unsupported("a name from or to another folder");
        return result;
    }
    if (kind == 'M')
        stat(from_whole, &facts);
    record(kind, 0, facts.st_ino, 0, from_path, to_path, NULL, 0);
    return result;
}

static long recorded(long number, const long *a) {
    switch (number) {
    case SYS_open:
        return open_file(number, AT_FDCWD, (char *)a[0], a[1], a);
    case SYS_creat:
        return open_file(number, AT_FDCWD, (char *)a[0], O_CREAT | O_TRUNC, a);
    case SYS_openat:
        return open_file(number, a[0], (char *)a[1], a[2], a);
    case SYS_rename:
        return for_names(number, 'R', AT_FDCWD, (char *)a[0], AT_FDCWD, (char *)a[1], a);
    case SYS_renameat2:
        if (a[4] & ~1L) // RENAME_NOREPLACE
            unsupported("renameat2");
        // Fall through.
    case SYS_renameat:
        return for_names(number, 'R', a[0], (char *)a[1], a[2], (char *)a[3], a);
    case SYS_link:
        return for_names(number, 'L', AT_FDCWD, (char *)a[0], AT_FDCWD, (char *)a[1], a);
    case SYS_linkat:
        return for_names(number, 'L', a[0], (char *)a[1], a[2], (char *)a[3], a);
    case SYS_unlink:
    case SYS_rmdir:
        return for_names(number, 'U', AT_FDCWD, (char *)a[0], 0, NULL, a);
    case SYS_unlinkat:
        return for_names(number, 'U', a[0], (char *)a[1], 0, NULL, a);
    case SYS_mkdir:
        return for_names(number, 'M', AT_FDCWD, (char *)a[0], 0, NULL, a);
    case SYS_mkdirat:
        return for_names(number, 'M', a[0], (char *)a[1], 0, NULL, a);
    // Callers then use calls that are known here.
    case SYS_copy_file_range:
    case SYS_sendfile:
    case SYS_splice:
    case SYS_pwritev:
    case SYS_pwritev2:
    case SYS_openat2:
    case SYS_io_uring_setup:
        return -ENOSYS;
    case SYS_truncate:
    case SYS_symlink:
    case SYS_symlinkat:
    case SYS_sync:
    case SYS_syncfs:
        unsupported("a call that is not known here");
        return call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    case SYS_mmap: {
        long fd[] = {a[4]};
        char whole[PATH];
        if (of_fd(*fd, whole))
            unsupported("mmap");
        return call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
    default:
        return for_fd(number, a);
    }
}

// Whether a call may block, for as long as others must not wait.
static int may_block(long number, long fd) {
    struct stat facts;
    if (number != SYS_write && number != SYS_writev && number != SYS_sendto && number != SYS_sendmsg)
        return 0;
    return fstat(fd, &facts) != 0 || !(S_ISREG(facts.st_mode) || S_ISSOCK(facts.st_mode)) || fd == log_fd;
}

static void trapped(int signal, siginfo_t *info, void *context) {
    (void)signal;
    int error = errno;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    long number = info->si_syscall;
    long a[] = {registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                registers[REG_R10], registers[REG_R8],  registers[REG_R9]};
    if (may_block(number, a[0])) {
        registers[REG_RAX] = call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    } else {
        pthread_mutex_lock(&lock);
        struct stat facts;
        if (number == SYS_writev && fstat(a[0], &facts) == 0 && S_ISREG(facts.st_mode)) {
            // Callers have to expect that only some pieces are written.
            const struct iovec *piece = (void *)a[1];
            long count = a[2];
            for (; count > 1 && piece->iov_len == 0; count--)
                piece++;
            long write[] = {a[0], (long)piece->iov_base, count > 0 ? piece->iov_len : 0, 0, 0, 0};
            registers[REG_RAX] = recorded(SYS_write, write);
        } else {
            registers[REG_RAX] = recorded(number, a);
        }
        pthread_mutex_unlock(&lock);
    }
    errno = error;
}

static void read_rules(const char *text) {
    int length = 0;
    while (text && *text && rule_count < RULES) {
        struct rule *rule = &rules[rule_count];
        if (sscanf(text, "%lu %d %4095[^\n]%n", &rule->left, &rule->error, rule->text, &length) != 3)
            abort();
        rule_count++;
        text += length;
        text += *text == '\n';
    }
}

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define LOAD_ARGUMENT(n) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args) + 8 * (n))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define IF_EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), yes, no)
#define IF_ANY(bits, yes, no) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), yes, no)
#define TRAP(number) IF_EQUAL(number, 0, 1), RETURN(SECCOMP_RET_TRAP)
#define TRAP_OPEN(number, argument)                                                                          \
    IF_EQUAL(number, 0, 4), LOAD_ARGUMENT(argument), IF_ANY(O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY), 0, 1), \
        RETURN(SECCOMP_RET_TRAP), RETURN(SECCOMP_RET_ALLOW)

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("POWER_FOLDER"), *log = getenv("POWER_LOG");
    if (!path || !log || strlen(path) >= PATH)
        abort();
    strcpy(folder, path);
    folder_length = strlen(folder);
    read_rules(getenv("POWER_FAIL"));
    // A number that no descriptor of the program has.
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 900);
    if (fd < 0 || log_fd < 0)
        abort();
    close(fd);

    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
    // No handler of the program runs while this one has the lock.
    sigfillset(&action.sa_mask);
    sigaction(SIGSYS, &action, NULL);
    uint64_t end = (uint64_t)call_end;
    struct sock_filter filter[] = {
        LOAD(arch),
        IF_EQUAL(AUDIT_ARCH_X86_64, 1, 0),
        RETURN(SECCOMP_RET_KILL_PROCESS),
        LOAD(instruction_pointer),
        IF_EQUAL((uint32_t)end, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4),
        IF_EQUAL((uint32_t)(end >> 32), 0, 1),
        RETURN(SECCOMP_RET_ALLOW),
        LOAD(nr),
        TRAP(SYS_write),
        TRAP(SYS_writev),
        TRAP(SYS_pwrite64),
        TRAP(SYS_pwritev),
        TRAP(SYS_pwritev2),
        TRAP(SYS_truncate),
        TRAP(SYS_ftruncate),
        TRAP(SYS_fallocate),
        TRAP(SYS_fsync),
        TRAP(SYS_fdatasync),
        TRAP(SYS_sync),
        TRAP(SYS_syncfs),
        TRAP(SYS_creat),
        TRAP(SYS_openat2),
        TRAP(SYS_rename),
        TRAP(SYS_renameat),
        TRAP(SYS_renameat2),
        TRAP(SYS_link),
        TRAP(SYS_linkat),
        TRAP(SYS_symlink),
        TRAP(SYS_symlinkat),
        TRAP(SYS_unlink),
        TRAP(SYS_unlinkat),
        TRAP(SYS_rmdir),
        TRAP(SYS_mkdir),
        TRAP(SYS_mkdirat),
        TRAP(SYS_sendto),
        TRAP(SYS_sendmsg),
        TRAP(SYS_copy_file_range),
        TRAP(SYS_sendfile),
        TRAP(SYS_splice),
        TRAP(SYS_io_uring_setup),
        TRAP_OPEN(SYS_open, 1),
        TRAP_OPEN(SYS_openat, 2),
        IF_EQUAL(SYS_mmap, 0, 6),
        LOAD_ARGUMENT(2),
        IF_ANY(PROT_WRITE, 0, 4),
        LOAD_ARGUMENT(3),
        IF_ANY(MAP_ANONYMOUS, 2, 0),
        IF_ANY(MAP_SHARED, 0, 1),
        RETURN(SECCOMP_RET_TRAP),
        RETURN(SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        abort();
}
