// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "system_calls.hpp"
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

thread_local bool armed = false;
thread_local system_calls::plan current;
thread_local long calls = 0;

/// Whether this call is to fail; errno says how.
bool fails() {
  using system_calls::action;
  if (!armed || calls++ != current.call) return false;
  if (current.what == action::kill) ::kill(::getpid(), SIGKILL);
  errno = current.code;
  return current.what == action::fail;
}

} // namespace

namespace system_calls {
void arm(const plan& p) {
  current = p;
  calls = 0;
  armed = true;
}
long disarm() {
  armed = false;
  return calls;
}
} // namespace system_calls

extern "C" {

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if (flags & O_CREAT) {
    va_list more;
    va_start(more, flags);
    mode = va_arg(more, mode_t);
    va_end(more);
  }
  if (fails()) return -1;
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

ssize_t write(int file, const void* bytes, size_t count) {
  if (fails()) return -1;
  if (armed && current.what == system_calls::action::misbehave && calls > current.call) {
    if (calls % 2 == 0) {
      errno = EINTR;
      return -1;
    }
    if (count > 1) count = 1;
  }
  return ::syscall(SYS_write, file, bytes, count);
}

int fsync(int file) {
  return fails() ? -1 : static_cast<int>(::syscall(SYS_fsync, file));
}
int rename(const char* from, const char* to) noexcept {
  return fails() ? -1 : static_cast<int>(::syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to));
}
int renameat2(int in, const char* from, int at, const char* to, unsigned flags) noexcept {
  return fails() ? -1 : static_cast<int>(::syscall(SYS_renameat2, in, from, at, to, flags));
}
int mkdir(const char* path, mode_t mode) noexcept {
  return fails() ? -1 : static_cast<int>(::syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}
int unlink(const char* path) noexcept {
  return fails() ? -1 : static_cast<int>(::syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}
int remove(const char* path) noexcept { // what std::filesystem::remove calls
  if (fails()) return -1;
  if (::syscall(SYS_unlinkat, AT_FDCWD, path, 0) == 0) return 0;
  return errno == EISDIR ? static_cast<int>(::syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR)) : -1;
}

} // extern "C"
