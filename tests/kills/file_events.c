/* Library for LD_PRELOAD: counts the changes that a process makes to the files under a folder, logs
 * them, and sends the process a signal at one of them. It also sees the files that TensorFlow's C++
 * code writes.
 *
 * Environment, read when the library is loaded and again by `file_events_start`:
 *   FILE_EVENTS_ROOT    the folder, an absolute path
 *   FILE_EVENTS_LOG     file to append a line to before each change: time in ns, operation, path
 *   FILE_EVENTS_SIGNAL  signal to send; 0 for none
 *   FILE_EVENTS_AT      number of the change, from 1, before which to send it
 *   FILE_EVENTS_DELAY   microseconds to wait then; 0 to send it at once
 *
 * Changes by child processes do not count, nor those of TensorBoard's event files: a thread of its
 * own writes them, at any time. A folder made that is there, or a file removed that is not, is no
 * change. The path of a renamed file is its new one.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define MAX_FILES 4096

static char root[PATH_MAX];
static size_t root_length;
static pid_t process;
static int log_file = -1;
static int signal_number;
static long long signal_at, delay, count;
static char *paths[MAX_FILES]; /* of the files open for writing, by descriptor */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

#define NEXT(type, name, ...) \
  static type (*next)(__VA_ARGS__); \
  if (!next) next = dlsym(RTLD_NEXT, #name)

static long long number_in(const char *variable) {
  const char *value = getenv(variable);
  return value ? atoll(value) : 0;
}

__attribute__((constructor)) void file_events_start(void) {
  const char *folder = getenv("FILE_EVENTS_ROOT"), *log = getenv("FILE_EVENTS_LOG");
  if (!folder || !log) return;
  snprintf(root, sizeof root, "%s", folder);
  signal_number = (int)number_in("FILE_EVENTS_SIGNAL");
  signal_at = number_in("FILE_EVENTS_AT");
  delay = number_in("FILE_EVENTS_DELAY");
  log_file = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  process = getpid();
  root_length = strlen(root);
  unsetenv("FILE_EVENTS_ROOT"); /* programs that this one starts do not count */
  unsetenv("LD_PRELOAD");
}

/* Whether a path lies under the folder; `full` gets the absolute path. */
static int is_watched(int directory, const char *path, char *full) {
  if (!root_length || getpid() != process || !path) return 0;
  if (path[0] == '/') {
    snprintf(full, PATH_MAX, "%s", path);
  } else {
    char link[64], parent[PATH_MAX];
    if (directory == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t length = readlink(link, parent, sizeof parent - 1);
    if (length < 0) return 0;
    parent[length] = 0;
    if ((size_t)snprintf(full, PATH_MAX, "%s/%s", parent, path) >= PATH_MAX) return 0;
  }
  return !strncmp(full, root, root_length) && (full[root_length] == '/' || !full[root_length]) &&
         !strstr(full, "events.out.tfevents");
}

static void send_signal(void) {
  if (!delay) {
    kill(process, signal_number);
    return;
  }
  struct sigevent event = {0};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = signal_number;
  struct itimerspec when = {{0, 0}, {delay / 1000000, delay % 1000000 * 1000}};
  timer_t timer;
  if (!timer_create(CLOCK_MONOTONIC, &event, &timer)) timer_settime(timer, 0, &when, NULL);
}

static void change(const char *operation, const char *path) {
  static ssize_t (*next_write)(int, const void *, size_t);
  if (!next_write) next_write = dlsym(RTLD_NEXT, "write");
  pthread_mutex_lock(&mutex);
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const char *name = path[root_length] ? path + root_length + 1 : ".";
  char line[PATH_MAX + 64];
  int length = snprintf(line, sizeof line, "%lld %s %s\n",
                        now.tv_sec * 1000000000LL + now.tv_nsec, operation, name);
  if (next_write(log_file, line, length) < 0) abort();
  int is_due = ++count == signal_at && signal_number;
  pthread_mutex_unlock(&mutex);
  if (is_due) send_signal();
}

static void changes_at(const char *operation, int directory, const char *path) {
  char full[PATH_MAX];
  if (is_watched(directory, path, full)) change(operation, full);
}

static void makes(int directory, const char *path) {
  char full[PATH_MAX];
  if (is_watched(directory, path, full) && access(full, F_OK)) change("mkdir", full);
}

static void removes(int directory, const char *path) {
  char full[PATH_MAX];
  if (is_watched(directory, path, full) && !access(full, F_OK)) change("remove", full);
}

static void opened(int file, const char *path) {
  if (file < 0 || file >= MAX_FILES) return;
  pthread_mutex_lock(&mutex);
  free(paths[file]);
  paths[file] = path ? strdup(path) : NULL;
  pthread_mutex_unlock(&mutex);
}

static void changes_file(const char *operation, int file) {
  char full[PATH_MAX];
  if (!root_length || getpid() != process || file < 0 || file >= MAX_FILES) return;
  pthread_mutex_lock(&mutex);
  int is_known = paths[file] != NULL;
  if (is_known) snprintf(full, sizeof full, "%s", paths[file]);
  pthread_mutex_unlock(&mutex);
  if (is_known) change(operation, full);
}

#define OPEN(name)                                                            \
  int name(const char *path, int flags, ...) {                                \
    NEXT(int, name, const char *, int, ...);                                  \
    va_list arguments;                                                        \
    va_start(arguments, flags);                                               \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0; \
    va_end(arguments);                                                        \
    char full[PATH_MAX];                                                      \
    int watched = flags & (O_WRONLY | O_RDWR) && is_watched(AT_FDCWD, path, full); \
    if (watched) change("open", full);                                        \
    int file = next(path, flags, mode);                                       \
    opened(file, watched ? full : NULL);                                      \
    return file;                                                              \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                          \
  int name(int directory, const char *path, int flags, ...) {                 \
    NEXT(int, name, int, const char *, int, ...);                             \
    va_list arguments;                                                        \
    va_start(arguments, flags);                                               \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0; \
    va_end(arguments);                                                        \
    char full[PATH_MAX];                                                      \
    int watched = flags & (O_WRONLY | O_RDWR) && is_watched(directory, path, full); \
    if (watched) change("open", full);                                        \
    int file = next(directory, path, flags, mode);                            \
    opened(file, watched ? full : NULL);                                      \
    return file;                                                              \
  }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                                           \
  FILE *name(const char *path, const char *mode) {                            \
    NEXT(FILE *, name, const char *, const char *);                           \
    char full[PATH_MAX];                                                      \
    int watched = strpbrk(mode, "wa+") && is_watched(AT_FDCWD, path, full);   \
    if (watched) change("open", full);                                        \
    FILE *file = next(path, mode);                                            \
    if (file) opened(fileno(file), watched ? full : NULL);                    \
    return file;                                                              \
  }
FOPEN(fopen)
FOPEN(fopen64)

ssize_t write(int file, const void *data, size_t size) {
  NEXT(ssize_t, write, int, const void *, size_t);
  changes_file("write", file);
  return next(file, data, size);
}

ssize_t pwrite64(int file, const void *data, size_t size, off_t offset) {
  NEXT(ssize_t, pwrite64, int, const void *, size_t, off_t);
  changes_file("write", file);
  return next(file, data, size, offset);
}

ssize_t sendfile64(int target, int source, off_t *offset, size_t size) {
  NEXT(ssize_t, sendfile64, int, int, off_t *, size_t);
  changes_file("write", target);
  return next(target, source, offset, size);
}

ssize_t sendfile(int target, int source, off_t *offset, size_t size) {
  return sendfile64(target, source, offset, size);
}

ssize_t copy_file_range(int source, off64_t *from, int target, off64_t *to, size_t size,
                        unsigned flags) {
  NEXT(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
  changes_file("write", target);
  return next(source, from, target, to, size, flags);
}

int fflush(FILE *file) {
  NEXT(int, fflush, FILE *);
  if (file) changes_file("flush", fileno(file));
  return next(file);
}

int fclose(FILE *file) {
  NEXT(int, fclose, FILE *);
  int descriptor = fileno(file);
  changes_file("close", descriptor);
  opened(descriptor, NULL);
  return next(file);
}

int close(int file) {
  NEXT(int, close, int);
  opened(file, NULL);
  return next(file);
}

int rename(const char *from, const char *to) {
  NEXT(int, rename, const char *, const char *);
  changes_at("rename", AT_FDCWD, to);
  return next(from, to);
}

int renameat(int from_directory, const char *from, int to_directory, const char *to) {
  NEXT(int, renameat, int, const char *, int, const char *);
  changes_at("rename", to_directory, to);
  return next(from_directory, from, to_directory, to);
}

int link(const char *from, const char *to) {
  NEXT(int, link, const char *, const char *);
  changes_at("link", AT_FDCWD, to);
  return next(from, to);
}

int unlink(const char *path) {
  NEXT(int, unlink, const char *);
  removes(AT_FDCWD, path);
  return next(path);
}

int remove(const char *path) {
  NEXT(int, remove, const char *);
  removes(AT_FDCWD, path);
  return next(path);
}

int unlinkat(int directory, const char *path, int flags) {
  NEXT(int, unlinkat, int, const char *, int);
  removes(directory, path);
  return next(directory, path, flags);
}

int rmdir(const char *path) {
  NEXT(int, rmdir, const char *);
  removes(AT_FDCWD, path);
  return next(path);
}

int mkdir(const char *path, mode_t mode) {
  NEXT(int, mkdir, const char *, mode_t);
  makes(AT_FDCWD, path);
  return next(path, mode);
}

int mkdirat(int directory, const char *path, mode_t mode) {
  NEXT(int, mkdirat, int, const char *, mode_t);
  makes(directory, path);
  return next(directory, path, mode);
}

int ftruncate64(int file, off_t length) {
  NEXT(int, ftruncate64, int, off_t);
  changes_file("truncate", file);
  return next(file, length);
}

int ftruncate(int file, off_t length) { return ftruncate64(file, length); }
