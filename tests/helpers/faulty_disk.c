/* A disk that fails: loaded before the C library, it lets the n-th call of a kind fail below a folder.

   FAULTY_DISK_CONTROL names a file that is mapped as struct control, FAULTY_DISK_ROOT the folder. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

enum kind { NONE, WRITE, LINK, RENAME, FSYNC, READ };

struct control {
    int kind;    /* which calls fail */
    int number;  /* with which errno */
    int at;      /* the number of the call that fails, from 1 */
    int forever; /* and all that follow */
    int counts[6]; /* calls of each kind so far */
};

static struct control *control;
static const char *root;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTY_DISK_CONTROL");
    root = getenv("FAULTY_DISK_ROOT");
    if (!path || !root) return;
    int fd = open(path, O_RDWR);
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) control = map;
    close(fd);
}

static int below(const char *path) {
    return path && strncmp(path, root, strlen(root)) == 0;
}

static int fails(enum kind kind, const char *path) {
    if (!control || !below(path)) return 0;
    int call = __atomic_add_fetch(&control->counts[kind], 1, __ATOMIC_SEQ_CST);
    if (control->kind != (int)kind) return 0;
    if (call == control->at || (control->forever && call > control->at)) {
        errno = control->number;
        return 1;
    }
    return 0;
}

static int fails_fd(enum kind kind, int fd) {
    if (!control) return 0;
    char link[64], path[PATH_MAX + 1];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(kind, path);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) {
    return fails_fd(WRITE, fd) ? -1 : NEXT(write)(fd, data, size);
}

ssize_t read(int fd, void *data, size_t size) {
    return fails_fd(READ, fd) ? -1 : NEXT(read)(fd, data, size);
}

int fsync(int fd) { return fails_fd(FSYNC, fd) ? -1 : NEXT(fsync)(fd); }

int link(const char *old, const char *new) {
    return fails(LINK, new) ? -1 : NEXT(link)(old, new);
}

int linkat(int from, const char *old, int to, const char *new, int flags) {
    return fails(LINK, new) ? -1 : NEXT(linkat)(from, old, to, new, flags);
}

int rename(const char *old, const char *new) {
    return fails(RENAME, new) ? -1 : NEXT(rename)(old, new);
}

int renameat(int from, const char *old, int to, const char *new) {
    return fails(RENAME, new) ? -1 : NEXT(renameat)(from, old, to, new);
}
