/* Preloaded into grotto by tests/it/torture.rs: a disk that is full or loses what was not synced, and a clock that is wrong, on
 * demand.
 *
 * The folder named by FAULTS holds the switches: while the file "full" exists, writes to regular files fail with ENOSPC; the
 * file "clock" holds seconds that are added to the wall clock; while there is a folder "disk", each file that is synced is copied
 * there: what a power cut leaves of it at least. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static const char *switch_path(char *buffer, const char *name) {
  const char *folder = getenv("FAULTS");
  if (!folder) return NULL;
  snprintf(buffer, PATH_MAX, "%s/%s", folder, name);
  return buffer;
}

static int refused(int fd) {
  char buffer[PATH_MAX];
  const char *path = switch_path(buffer, "full");
  struct stat status;
  int saved = errno;
  int yes = path && access(path, F_OK) == 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  errno = yes ? ENOSPC : saved;
  return yes;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t count) { return refused(fd) ? -1 : REAL(write)(fd, data, count); }

ssize_t pwrite(int fd, const void *data, size_t count, off_t at) {
  return refused(fd) ? -1 : REAL(pwrite)(fd, data, count, at);
}

ssize_t pwrite64(int fd, const void *data, size_t count, off64_t at) {
  return refused(fd) ? -1 : REAL(pwrite64)(fd, data, count, at);
}

/* Copies a file as it is now, under its own name, all or nothing. */
static void keep(int fd) {
  char disk[PATH_MAX], name[PATH_MAX], link[64], copy[PATH_MAX + 8], whole[PATH_MAX + 8];
  const char *folder = switch_path(disk, "disk");
  struct stat status;
  if (!folder || access(folder, F_OK) != 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, name, sizeof name - 1);
  if (length <= 0) return;
  name[length] = 0;
  const char *base = strrchr(name, '/');
  base = base ? base + 1 : name;
  if (snprintf(whole, sizeof whole, "%s/%s", folder, base) >= (int)sizeof whole) return;
  if (snprintf(copy, sizeof copy, "%s/.%s", folder, base) >= (int)sizeof copy) return;
  int to = open(copy, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (to < 0) return;
  static char buffer[1 << 16];
  off_t at = 0;
  ssize_t count;
  while ((count = pread(fd, buffer, sizeof buffer, at)) > 0 && REAL(write)(to, buffer, count) == count) at += count;
  close(to);
  if (at == status.st_size) rename(copy, whole);
}

int fsync(int fd) {
  int result = REAL(fsync)(fd);
  if (result == 0) keep(fd);
  return result;
}

int fdatasync(int fd) {
  int result = REAL(fdatasync)(fd);
  if (result == 0) keep(fd);
  return result;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  char buffer[PATH_MAX], text[32];
  int result = REAL(clock_gettime)(clock, now);
  if (clock != CLOCK_REALTIME || result != 0) return result;
  const char *path = switch_path(buffer, "clock");
  int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return result;
  ssize_t count = read(fd, text, sizeof text - 1);
  close(fd);
  if (count > 0) {
    text[count] = 0;
    now->tv_sec += atol(text);
  }
  return result;
}
