// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <span>
#include <string>
#include <sys/stat.h>
#include <sys/types.h>
#include <system_error>
#include <unistd.h>
#include <utility>

/// \file
/// Files by way of POSIX. Everything that the system refuses is thrown as std::system_error.

namespace switchyard::io::detail {

[[noreturn]] inline void throw_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

/// An open file, closed with its owner.
class descriptor {
 public:
  descriptor(const std::filesystem::path& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {}
  descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }

  bool is_open() const { return fd_ >= 0; } ///< otherwise errno says why
  int get() const { return fd_; }

  /// Closes now, so that an error is seen (network file systems report lost writes here).
  void close() {
    if (::close(std::exchange(fd_, -1)) != 0 && errno != EINTR) throw_errno("close");
  }

 private:
  int fd_ = -1;
};

/// Moves size bytes by calling step(done, count), which moves up to count of them behind the first done and returns how
/// many, or -1 with errno. Interrupted steps are repeated, short ones continued. Returns the bytes moved: fewer than
/// size where a step moved none.
template <class Step>
std::size_t transfer(std::size_t size, const char* what, Step&& step) {
  constexpr std::size_t most = std::size_t{1} << 30; // some systems refuse more in one call
  std::size_t done = 0;
  while (done < size) {
    const ::ssize_t moved = step(done, std::min(size - done, most));
    if (moved == 0) break;
    if (moved > 0)
      done += static_cast<std::size_t>(moved);
    else if (errno != EINTR)
      throw_errno(what);
  }
  return done;
}

/// Fills out from the given offset on; returns the bytes read, fewer at the end of the file.
inline std::size_t read_at(const descriptor& file, std::uint64_t offset, std::span<std::byte> out) {
  return transfer(out.size(), "read", [&](std::size_t done, std::size_t count) {
    return ::pread(file.get(), out.data() + done, count, static_cast<::off_t>(offset + done));
  });
}

/// A file that is not there, or there as a whole: written beside its place as <path>.tmp-<process>-<n>, brought to the
/// disk and renamed by commit(). Without commit() it leaves nothing behind (a killed process leaves the .tmp file).
class replacement_file {
 public:
  explicit replacement_file(std::filesystem::path path) : path_(std::move(path)), file_(create()) {}
  replacement_file(const replacement_file&) = delete;
  replacement_file& operator=(const replacement_file&) = delete;
  ~replacement_file() {
    if (!committed_) ::unlink(temporary_.c_str());
  }

  void write(std::span<const std::byte> bytes) {
    const std::size_t done = transfer(bytes.size(), "write", [&](std::size_t at, std::size_t count) {
      return ::write(file_.get(), bytes.data() + at, count);
    });
    if (done < bytes.size()) throw std::system_error(EIO, std::generic_category(), "write");
  }

  void commit() {
    if (::fsync(file_.get()) != 0) throw_errno("fsync");
    file_.close();
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw_errno("rename");
    committed_ = true;
    // The new name is in the directory; sync that too where the system lets one.
    const auto folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
    const descriptor directory(folder, O_RDONLY | O_DIRECTORY);
    if (directory.is_open() && ::fsync(directory.get()) != 0 && errno != EINVAL && errno != ENOTSUP)
      throw_errno("fsync of the folder");
  }

 private:
  descriptor create() {
    // Renaming would put a regular file in the place of whatever stands there.
    struct ::stat existing {};
    if (::stat(path_.c_str(), &existing) == 0 && !S_ISREG(existing.st_mode))
      throw std::system_error(S_ISDIR(existing.st_mode) ? EISDIR : EEXIST, std::generic_category(),
                              "not a regular file");
    const std::string stem = path_.string() + ".tmp-" + std::to_string(::getpid()) + '-';
    for (int n = 0;; ++n) {
      temporary_ = stem + std::to_string(n);
      descriptor file(temporary_, O_WRONLY | O_CREAT | O_EXCL);
      if (file.is_open()) return file;
      if (errno != EEXIST) throw_errno("create");
    }
  }

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  descriptor file_;
  bool committed_ = false;
};

} // namespace switchyard::io::detail
