#pragma once
// openat2(2) has no glibc wrapper, and syscall(2) is variadic, which Swift cannot call.
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/// A regular-file open below `directory` that no symlink, `..` or mount trick can lead outside it.
/// Returns a descriptor, or -1 with errno set (ENOSYS before Linux 5.6).
static inline int holdfast_open_beneath(int directory, const char *path, uint64_t flags) {
    struct open_how how = {
        .flags = flags,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
}
