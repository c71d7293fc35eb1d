// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <switchyard/io/detail/header.hpp>
#include <switchyard/io/detail/parse_header.hpp>
#include <switchyard/io/detail/posix.hpp>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

/// \file
/// Files and folders that are there after a power failure, or are reported as not. Everything that the system refuses
/// is thrown as file_error, which names the path and the system's reason. Nothing communicates.

namespace switchyard::io {

namespace detail {

/// Runs body; what the system refuses becomes a file_error of that path.
template <class Body>
auto refused_as(const std::filesystem::path& path, const char* what, Body&& body) {
  try {
    return body();
  } catch (const std::system_error& problem) {
    bad_file(path.string(), what, " (", problem.what(), "); check the folder, its permissions and the free space");
  }
}

/// Brings a folder's own entries to the disk, where the system lets one.
inline void sync_directory(const std::filesystem::path& folder) {
  const descriptor directory(folder, O_RDONLY | O_DIRECTORY);
  if (!directory.is_open()) throw_errno("open the folder");
  if (::fsync(directory.get()) != 0 && errno != EINVAL && errno != ENOTSUP) throw_errno("fsync of the folder");
}

/// Opens a file to be read. What is no regular file is refused, and so is a symbolic link: what it points to may lie
/// anywhere, and change under another name.
inline descriptor open_regular(const std::filesystem::path& path, std::uint64_t& size) {
  descriptor file(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
  if (!file.is_open() && errno == ELOOP)
    bad_file(path.string(),
             "it is a symbolic link, which may lead out of the folder; put the file itself in its place");
  if (!file.is_open() && errno == ENOENT)
    bad_file(path.string(), "the file is missing; use another checkpoint, or bring the file back");
  struct ::stat status {};
  if (!file.is_open() || ::fstat(file.get(), &status) != 0) throw_errno("open");
  if (!S_ISREG(status.st_mode)) bad_file(path.string(), "it is not a regular file; bring back the file that was saved");
  size = static_cast<std::uint64_t>(status.st_size);
  return file;
}

/// What a file of the wrong size or checksum seems to be: "; it is a Git LFS pointer ...", or nothing.
inline std::string recognized(const descriptor& file) {
  std::string start(prefix_size, '\0');
  start.resize(read_at(file, 0, std::as_writable_bytes(std::span(start))));
  if (start.starts_with('{') || recognize(start) == recognize("")) return "; use another checkpoint";
  return "; " + std::string(recognize(start));
}

} // namespace detail

/// A file that was not there before, written from front to back. Without commit() it leaves nothing behind.
class new_file {
 public:
  /// Creates it. Throws where anything of that name is there.
  explicit new_file(std::filesystem::path path)
      : path_(std::move(path)), file_(path_, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW) {
    if (!file_.is_open()) detail::refused_as(path_, "cannot be created", [] { detail::throw_errno("create"); });
  }
  new_file(const new_file&) = delete;
  new_file& operator=(const new_file&) = delete;
  ~new_file() {
    if (!committed_) ::unlink(path_.c_str());
  }

  void write(std::span<const std::byte> bytes) {
    detail::refused_as(path_, "cannot be written", [&] {
      const std::size_t done = detail::transfer(bytes.size(), "write", [&](std::size_t at, std::size_t count) {
        return ::write(file_.get(), bytes.data() + at, count);
      });
      if (done < bytes.size()) throw std::system_error(EIO, std::generic_category(), "write");
    });
  }

  /// Brings it to the disk and closes it. The name is safe after sync_folder.
  void commit() {
    detail::refused_as(path_, "cannot be written", [&] {
      if (::fsync(file_.get()) != 0) detail::throw_errno("fsync");
      file_.close();
    });
    committed_ = true;
  }

 private:
  std::filesystem::path path_;
  detail::descriptor file_;
  bool committed_ = false;
};

/// A new file with that text, brought to the disk.
inline void write_new_file(const std::filesystem::path& path, std::string_view text) {
  new_file file(path);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

/// The text in the place of whatever file was there: by way of <path>.tmp-<process>-<n> and a rename, so that a reader
/// sees the old text or the new one.
inline void replace_file(const std::filesystem::path& path, std::string_view text) {
  detail::refused_as(path, "cannot be written", [&] {
    detail::replacement_file file(path);
    file.write(std::as_bytes(std::span(text)));
    file.commit();
  });
}

/// All of a regular file, no symbolic link, of at most `most` bytes.
inline std::string read_file(const std::filesystem::path& path, std::uint64_t most) {
  return detail::refused_as(path, "cannot be read", [&] {
    std::uint64_t size = 0;
    const detail::descriptor file = detail::open_regular(path, size);
    if (size > most)
      detail::bad_file(path.string(), "it has ", size, " bytes, more than ", most, detail::recognized(file));
    std::string text(size, '\0');
    if (detail::read_at(file, 0, std::as_writable_bytes(std::span(text))) < size)
      detail::bad_file(path.string(), "the file became shorter while it was read; read again");
    return text;
  });
}

/// What a file that should be something else seems to be, and the way out: "; it is a Python pickle, ...".
inline std::string recognized_file(const std::filesystem::path& path) {
  return detail::refused_as(path, "cannot be read", [&] {
    std::uint64_t size = 0;
    return detail::recognized(detail::open_regular(path, size));
  });
}

/// Brings the names in a folder to the disk.
inline void sync_folder(const std::filesystem::path& folder) {
  detail::refused_as(folder, "cannot be brought to the disk", [&] { detail::sync_directory(folder); });
}

/// Makes a folder that was not there; false where something of that name is.
inline bool make_new_folder(const std::filesystem::path& folder) {
  return detail::refused_as(folder, "cannot be created", [&] {
    if (::mkdir(folder.c_str(), 0777) == 0) return true;
    if (errno != EEXIST) detail::throw_errno("mkdir");
    return false;
  });
}

/// Makes a folder and those above it, where they are not there, and brings their names to the disk.
inline void make_folders(const std::filesystem::path& folder) {
  if (std::error_code ignored; std::filesystem::is_directory(folder, ignored)) return;
  const std::filesystem::path above = folder.has_parent_path() ? folder.parent_path() : ".";
  if (above != folder) make_folders(above);
  make_new_folder(folder);
  sync_folder(above);
}

/// Renames a folder to a name that nothing stands under, but perhaps an empty folder; false where something does.
inline bool rename_folder(const std::filesystem::path& from, const std::filesystem::path& to) {
  return detail::refused_as(to, "cannot be renamed to", [&] {
    if (::rename(from.c_str(), to.c_str()) == 0) return true;
    if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR) detail::throw_errno("rename");
    return false;
  });
}

/// Puts a folder in the place of another, which then stands under the first one's name: at once where the system can;
/// otherwise there is a moment in which neither name is `to`.
inline void exchange_folders(const std::filesystem::path& from, const std::filesystem::path& to) {
  detail::refused_as(to, "cannot be replaced", [&] {
#ifdef RENAME_EXCHANGE
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) return;
    if (errno != EINVAL && errno != ENOSYS) detail::throw_errno("rename");
#endif
    const std::filesystem::path aside = from.string() + "-old";
    if (::rename(to.c_str(), aside.c_str()) != 0) detail::throw_errno("rename");
    if (::rename(from.c_str(), to.c_str()) != 0) {
      const int why = errno;
      ::rename(aside.c_str(), to.c_str());
      throw std::system_error(why, std::generic_category(), "rename");
    }
    if (::rename(aside.c_str(), from.c_str()) != 0) detail::throw_errno("rename");
  });
}

} // namespace switchyard::io
