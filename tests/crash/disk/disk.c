/* A disk with accidents, to be preloaded: it sees every change of one folder, notes it, and breaks where it is told to.

   DISK_FOLDER   the folder whose changes count, absolute
   DISK_LOG      a file (outside of the folder) into which every change and every sync is written, with its data
   DISK_DIE_AT   the process is killed (SIGKILL) just before its so-many-th change or sync
   DISK_ORDERS   a file of two numbers (64 bits each): how many changes there were, which is kept up to date, and what is
                 to be DISK_DIE_AT from now on, which somebody may write there while the process goes on; 0: nothing
   DISK_FULL_AT  the so-many-th change fails with ENOSPC, and DISK_FULL_FOR - 1 further ones (0: all that come after)

   Changes are counted from 1: files made, written, cut, renamed, removed, synced, and folders made. Removing and
   cutting shorter never fail for want of room. What is written through mmap is not seen; SQLite does that for its
   -shm file alone, of which nothing is needed after a crash. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 65536
#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static const char *folder;
static size_t folder_length;
static int log_fd = -1;
static long die_at, full_at, full_for, changes;
static volatile int64_t *orders;
static char is_watched[FDS]; /* Descriptors of files and folders below the folder. */
static char appends[FDS];

struct head { /* As `tests/crash/disk/__init__.py` unpacks it. */
    char what;
    char pad[3];
    int32_t fd;
    int64_t offset;
    uint32_t path, other, data; /* Lengths of what follows. */
    uint32_t pad2;
};

/* Again, for who has forked from a process that was loaded without these variables. */
__attribute__((constructor)) void disk_begin(void) {
    folder = getenv("DISK_FOLDER");
    folder_length = folder ? strlen(folder) : 0;
    const char *text;
    if ((text = getenv("DISK_DIE_AT"))) die_at = atol(text);
    if ((text = getenv("DISK_FULL_AT"))) full_at = atol(text);
    if ((text = getenv("DISK_FULL_FOR"))) full_for = atol(text);
    REAL(int, "open", const char *, int, ...);
    if ((text = getenv("DISK_ORDERS"))) {
        void *at = mmap(NULL, 2 * sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, real(text, O_RDWR | O_CLOEXEC), 0);
        if (at == MAP_FAILED) abort();
        orders = at;
    }
    if ((text = getenv("DISK_LOG"))) {
        int fd = real(text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 1000);
        /* Out of the way of whoever closes descriptors by number. */
        int (*shut)(int) = (int (*)(int))dlsym(RTLD_NEXT, "close");
        shut(fd);
    }
}

static int is_below(const char *path, char *whole) {
    if (!folder || !path) return 0;
    if (path[0] == '/') snprintf(whole, PATH_MAX, "%s", path);
    else {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) return 0;
        if (snprintf(whole, PATH_MAX, "%s/%s", here, path) >= PATH_MAX) return 0;
    }
    return !strncmp(whole, folder, folder_length) && (whole[folder_length] == '/' || !whole[folder_length]);
}

static void put(char what, int fd, int64_t offset, const char *path, const char *other, const void *data, size_t size) {
    if (log_fd < 0) return;
    struct head head = {.what = what, .fd = fd, .offset = offset, .path = path ? strlen(path) : 0,
                        .other = other ? strlen(other) : 0, .data = size};
    struct iovec parts[4] = {{&head, sizeof head}, {(void *)path, head.path}, {(void *)other, head.other},
                             {(void *)data, size}};
    static ssize_t (*real)(int, const struct iovec *, int);
    if (!real) real = (ssize_t (*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    if (real(log_fd, parts, 4) < 0) abort();
}

/* One change is about to happen. 0: it may; -1: there is no room for it (errno is set). Called with the lock held. */
static int counted(int needs_room) {
    changes++;
    if (orders) {
        orders[0] = changes;
        if (orders[1]) die_at = orders[1];
    }
    if (die_at && changes == die_at) kill(getpid(), SIGKILL);
    if (needs_room && full_at && changes >= full_at && (!full_for || changes < full_at + full_for)) {
        errno = ENOSPC;
        return -1;
    }
    return 0;
}

static int watched(int fd) { return fd >= 0 && fd < FDS && is_watched[fd]; }

static int opened(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    if (!is_below(path, whole)) return real(path, flags, mode);
    pthread_mutex_lock(&lock);
    int is_new = (flags & O_CREAT) && access(path, F_OK), fd = -1;
    int is_cut = !is_new && (flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY;
    if (!((is_new || is_cut) && counted(is_new))) {
        fd = real(path, flags, mode);
        if (fd >= 0 && fd < FDS) {
            is_watched[fd] = 1;
            appends[fd] = (flags & O_APPEND) != 0;
            put(is_new ? 'C' : 'O', fd, is_cut, whole, NULL, NULL, 0);
        }
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

int open(const char *path, int flags, ...) { MODE REAL(int, "open", const char *, int, ...); return opened(real, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE REAL(int, "open64", const char *, int, ...); return opened(real, path, flags, mode); }
int creat(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

static int opened_at(int (*real)(int, const char *, int, ...), int at, const char *path, int flags, mode_t mode) {
    if (at == AT_FDCWD || (path && path[0] == '/')) return open(path, flags, mode);
    return real(at, path, flags, mode);
}
int openat(int at, const char *path, int flags, ...) { MODE REAL(int, "openat", int, const char *, int, ...); return opened_at(real, at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE REAL(int, "openat64", int, const char *, int, ...); return opened_at(real, at, path, flags, mode); }

int close(int fd) {
    REAL(int, "close", int);
    if (!watched(fd)) return real(fd);
    pthread_mutex_lock(&lock);
    is_watched[fd] = 0;
    put('X', fd, 0, NULL, NULL, NULL, 0);
    int done = real(fd);
    pthread_mutex_unlock(&lock);
    return done;
}

static ssize_t written(int fd, const void *data, size_t size, off64_t offset) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    ssize_t done = -1;
    if (!counted(1)) {
        done = real(fd, data, size, offset);
        if (done > 0) put('W', fd, offset, NULL, NULL, data, done);
    }
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    if (!watched(fd)) return real(fd, data, size, offset);
    pthread_mutex_lock(&lock);
    ssize_t done = written(fd, data, size, offset);
    pthread_mutex_unlock(&lock);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (!watched(fd)) return real(fd, data, size);
    pthread_mutex_lock(&lock);
    off64_t offset = lseek64(fd, 0, appends[fd] ? SEEK_END : SEEK_CUR);
    ssize_t done = written(fd, data, size, offset);
    if (done > 0) lseek64(fd, offset + done, SEEK_SET);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    if (!watched(fd)) return real(fd, parts, count);
    ssize_t whole = 0;
    for (int part = 0; part < count; part++) {
        ssize_t done = write(fd, parts[part].iov_base, parts[part].iov_len);
        if (done < 0) return whole ? whole : done;
        whole += done;
        if ((size_t)done < parts[part].iov_len) break;
    }
    return whole;
}

int ftruncate64(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    if (!watched(fd)) return real(fd, size);
    pthread_mutex_lock(&lock);
    int done = -1;
    if (!counted(0)) {
        done = real(fd, size);
        if (!done) put('T', fd, size, NULL, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return done;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }
/* SQLite and DuckDB both do without these when they are told that the disk cannot do them. */
int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
    REAL(int, "fallocate64", int, int, off64_t, off64_t);
    if (!watched(fd)) return real(fd, mode, offset, size);
    errno = EOPNOTSUPP;
    return -1;
}
int fallocate(int fd, int mode, off_t offset, off_t size) { return fallocate64(fd, mode, offset, size); }
int posix_fallocate64(int fd, off64_t offset, off64_t size) {
    REAL(int, "posix_fallocate64", int, off64_t, off64_t);
    return watched(fd) ? EOPNOTSUPP : real(fd, offset, size);
}
int posix_fallocate(int fd, off_t offset, off_t size) { return posix_fallocate64(fd, offset, size); }

static int synced(int (*real)(int), int fd) {
    if (!watched(fd)) return real(fd);
    pthread_mutex_lock(&lock);
    int done = -1;
    if (!counted(1)) {
        done = real(fd);
        if (!done) put('S', fd, 0, NULL, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return done;
}
int fsync(int fd) { REAL(int, "fsync", int); return synced(real, fd); }
int fdatasync(int fd) { REAL(int, "fdatasync", int); return synced(real, fd); }

#define ENTRY(what, needs_room, call, path, other) \
    char whole[PATH_MAX], whole_other[PATH_MAX] = ""; \
    if (!is_below(path, whole)) return call; \
    if (other) is_below(other, whole_other); \
    pthread_mutex_lock(&lock); \
    int done = -1; \
    if (!counted(needs_room)) { \
        done = call; \
        if (!done) put(what, -1, 0, whole, other ? whole_other : NULL, NULL, 0); \
    } \
    pthread_mutex_unlock(&lock); \
    return done

int rename(const char *old, const char *new) { REAL(int, "rename", const char *, const char *); ENTRY('R', 1, real(old, new), old, new); }
int renameat(int from, const char *old, int to, const char *new) {
    REAL(int, "renameat", int, const char *, int, const char *);
    if (from == AT_FDCWD && to == AT_FDCWD) return rename(old, new);
    return real(from, old, to, new);
}
int unlink(const char *path) { REAL(int, "unlink", const char *); ENTRY('U', 0, real(path), path, (const char *)NULL); }
int unlinkat(int at, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    if (at == AT_FDCWD && !flags) return unlink(path);
    return real(at, path, flags);
}
int remove(const char *path) { return unlink(path); }
int mkdir(const char *path, mode_t mode) { REAL(int, "mkdir", const char *, mode_t); ENTRY('D', 1, real(path, mode), path, (const char *)NULL); }
int mkdirat(int at, const char *path, mode_t mode) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    if (at == AT_FDCWD) return mkdir(path, mode);
    return real(at, path, mode);
}
