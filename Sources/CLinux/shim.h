#pragma once
// openat2(2) has no glibc wrapper, and syscall(2) is variadic, which Swift cannot call. Headers of glibc that
// declare types are left out, so that these stay members of the Glibc module.
#include <linux/openat2.h>
#include <stdint.h>
#include <sys/syscall.h>

extern long syscall(long number, ...);

/// Flags that glibc declares for GNU sources only.
static const int holdfast_o_path = 010000000;
static const int holdfast_at_empty_path = 0x1000;

/// An open below `directory` that follows no symlink and that no `..` can lead outside it. With O_PATH and O_NOFOLLOW
/// a symlink at the end is opened itself.
/// Returns a descriptor, or -1 with errno set (ENOSYS before Linux 5.6).
static inline int holdfast_open_beneath(int directory, const char *path, uint64_t flags) {
    struct open_how how = {
        .flags = flags,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
    };
    return (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
}

/// Whether the kernel calls the wall clock synchronised (by NTP or PTP), from the answer of adjtimex(2) alone:
/// 5 is TIME_ERROR. Reading only: a zeroed request changes nothing. Larger than any struct timex.
static inline int holdfast_clock_is_synchronised(void) {
    uint64_t request[64] = {0};
    long answer = syscall(SYS_adjtimex, request);
    return answer >= 0 && answer != 5;
}

/// Has a spawned process begin without any descriptor from `first` on. `actions` is a posix_spawn_file_actions_t.
/// glibc (2.34 and later) declares it for GNU sources only.
extern int holdfast_spawn_close_from(void *actions, int first) __asm__("posix_spawn_file_actions_addclosefrom_np");

extern int malloc_trim(__SIZE_TYPE__ pad);

/// Gives free heap pages back to the system.
static inline void holdfast_release_heap(void) { malloc_trim(0); }
