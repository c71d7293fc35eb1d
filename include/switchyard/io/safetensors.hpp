// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <switchyard/io/detail/convert.hpp>
#include <switchyard/io/detail/header.hpp>
#include <switchyard/io/detail/make_header.hpp>
#include <switchyard/io/detail/parse_header.hpp>
#include <switchyard/io/detail/posix.hpp>
#include <switchyard/io/dtype.hpp>
#include <switchyard/io/tensor_view.hpp>
#include <sys/stat.h>
#include <system_error>
#include <utility>
#include <vector>

/// \file
/// Safetensors files: named tensors, read strictly and written whole or not at all.
///
///   const auto in = io::read_safetensors("in.safetensors");
///   std::vector<float> x(in.tensor("x").size());
///   in.copy_to<float>("x", x);
///   io::write_safetensors("out.safetensors", {io::make_tensor("y", {2, 3}, y)}, {{"format", "pt"}});
///
/// Nothing here communicates: on many ranks, every rank that calls reads or writes for itself.

namespace switchyard::io {

enum class conversion : std::uint8_t {
  exact, ///< only where every value of the file's type is a value of the wanted one
  round  ///< also to the nearest number of a floating-point type (to half and bfloat16 by way of float)
};

/// The tensors of one file, all checked. Movable; the views stay valid as long as one object holds the file.
class safetensors_file {
 public:
  /// By name, in the order of the bytes of the names.
  const std::vector<tensor_view>& tensors() const { return tensors_; }

  /// The "__metadata__" of the file; empty where there is none.
  const metadata_map& metadata() const { return metadata_; }

  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const tensor_view& t : tensors_) result.push_back(t.name);
    return result;
  }

  bool contains(std::string_view name) const { return find(name) != nullptr; }

  /// Throws file_error, which lists names that are there, where this one is not.
  const tensor_view& tensor(std::string_view name) const {
    if (const tensor_view* found = find(name)) return *found;
    constexpr std::size_t most = 10;
    std::string there;
    for (std::size_t i = 0; i < std::min(tensors_.size(), most); ++i)
      there += (i == 0 ? "" : ", ") + detail::shown(tensors_[i].name);
    if (tensors_.size() > most) there += ", ...";
    fail("tensor ", detail::shown(name), " is not in the file; it has ", tensors_.size(), " tensors: ", there);
  }

  /// Copies the elements of a tensor, converted to T. No allocation.
  /// Throws file_error where the tensor is missing, has another number of elements than `out`, or has a dtype that
  /// `how` does not allow to become T (a floating-point type never becomes an integer, a wide integer no narrow one).
  template <element T>
  void copy_to(std::string_view name, std::span<T> out, conversion how = conversion::exact) const {
    const tensor_view& from = tensor(name);
    if (from.size() != out.size())
      fail("tensor ", detail::shown(name), " of shape ", detail::shown(from.shape), " has ", from.size(),
           " elements, the destination ", out.size(), "; give one of that size");
    detail::with_type(from.type, [&]<element From>(From) {
      constexpr bool exact = detail::is_exact<From, T>();
      constexpr bool roundable = detail::range_of<T>().is_float;
      if constexpr (exact || roundable) {
        if (exact || how == conversion::round) return detail::convert_all<From>(from.bytes.data(), out);
      }
      fail("tensor ", detail::shown(name), " is ", dtype_name(from.type), ", which not every ",
           dtype_name(dtype_of<T>()), " can hold; ",
           roundable ? "ask for conversion::round or a wider type" : "ask for a wider type");
    });
  }

 private:
  friend safetensors_file parse_safetensors(std::span<const std::byte>, std::string);
  friend safetensors_file read_safetensors(const std::filesystem::path&);

  safetensors_file(std::string source, detail::header&& header, const std::byte* data)
      : source_(std::move(source)), metadata_(std::move(header.metadata)) {
    tensors_.reserve(header.tensors.size());
    for (detail::entry& e : header.tensors)
      tensors_.push_back({std::move(e.name), e.type, std::move(e.shape), {data + e.begin, e.end - e.begin}});
  }

  const tensor_view* find(std::string_view name) const {
    const auto at =
        std::ranges::lower_bound(tensors_, name, {}, [](const tensor_view& t) -> std::string_view { return t.name; });
    return at != tensors_.end() && at->name == name ? &*at : nullptr;
  }

  template <class... Part>
  [[noreturn]] void fail(const Part&... part) const {
    detail::bad_file(source_, part...);
  }

  std::string source_;
  std::vector<tensor_view> tensors_;
  metadata_map metadata_;
  std::unique_ptr<std::byte[]> storage_; // what the views look at, where the file was read from a path
};

/// The tensors in the bytes of a whole file. They stay views of `bytes`, which must outlive the result.
/// source: what messages call it. Throws file_error, naming the tensor, what is wrong and what to do: every rule of the
/// format is checked, more strictly than most readers do, before the result exists.
/// Allocates a small multiple of the header's size.
inline safetensors_file parse_safetensors(std::span<const std::byte> bytes, std::string source = "safetensors") {
  const auto n = detail::header_length(source, bytes.first(std::min(bytes.size(), detail::prefix_size)), bytes.size());
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, n);
  const auto data = bytes.subspan(8 + n);
  auto header = detail::parse_header(source, text, data.size());
  return {std::move(source), std::move(header), data.data()};
}

/// Reads a whole file. Throws as parse_safetensors does, and where the file cannot be opened, is no regular file,
/// changes its size meanwhile, or does not fit in memory. Symbolic links are followed.
/// Allocates the data once, after the header is found to be right, and a small multiple of the header's size.
inline safetensors_file read_safetensors(const std::filesystem::path& path) {
  const std::string source = path.string();
  try {
    const detail::descriptor file(path, O_RDONLY | O_NONBLOCK); // a pipe must not block before it is refused
    struct ::stat status {};
    if (!file.is_open() || ::fstat(file.get(), &status) != 0) detail::throw_errno("open");
    if (!S_ISREG(status.st_mode))
      detail::bad_file(source, "it is not a regular file; give the path of a .safetensors file");
    const auto size = static_cast<std::uint64_t>(status.st_size);
    const auto read = [&](std::uint64_t offset, std::span<std::byte> out) {
      if (detail::read_at(file, offset, out) < out.size())
        detail::bad_file(source, "the file became shorter while it was read; read again");
    };

    std::byte prefix[detail::prefix_size];
    const std::span start(prefix, std::min<std::uint64_t>(size, detail::prefix_size));
    read(0, start);
    const std::uint64_t n = detail::header_length(source, start, size);
    std::string text(n, '\0');
    read(8, std::as_writable_bytes(std::span(text)));
    const std::uint64_t data_size = size - 8 - n;
    auto header = detail::parse_header(source, text, data_size);

    auto data = std::make_unique_for_overwrite<std::byte[]>(data_size);
    read(8 + n, {data.get(), data_size});
    if (::fstat(file.get(), &status) != 0) detail::throw_errno("stat");
    if (static_cast<std::uint64_t>(status.st_size) != size)
      detail::bad_file(source, "the file changed while it was read; read it again");

    safetensors_file result(source, std::move(header), data.get());
    result.storage_ = std::move(data);
    return result;
  } catch (const std::system_error& problem) {
    detail::bad_file(source, "cannot be read (", problem.what(), "); check the path and its permissions");
  } catch (const std::bad_alloc&) {
    detail::bad_file(source, "its tensors do not fit in memory; read it on a machine with more, or split the file");
  }
}

/// The bytes of a file of these tensors: the same for the same tensors in any order, and those that the format's own
/// writer gives. Throws invalid_argument where names, shapes or sizes are not allowed.
inline std::vector<std::byte> serialize_safetensors(const std::vector<tensor_view>& tensors,
                                                    const metadata_map& metadata = {}) {
  const detail::layout layout = detail::make_layout(tensors, metadata);
  const auto head = std::as_bytes(std::span(layout.header));
  std::vector<std::byte> out(head.begin(), head.end());
  for (const tensor_view* t : layout.order) out.insert(out.end(), t->bytes.begin(), t->bytes.end());
  return out;
}

/// Writes the bytes of serialize_safetensors to a file, without a copy of the data: first beside it as
/// <path>.tmp-<process>-<n>, then brought to the disk and renamed, so that there is a whole new file or what was there
/// before. A symbolic link at `path` is replaced, not followed.
/// Throws invalid_argument as serialize_safetensors does, file_error where the system refuses.
inline void write_safetensors(const std::filesystem::path& path, const std::vector<tensor_view>& tensors,
                              const metadata_map& metadata = {}) {
  const detail::layout layout = detail::make_layout(tensors, metadata);
  try {
    detail::replacement_file file(path);
    file.write(std::as_bytes(std::span(layout.header)));
    for (const tensor_view* t : layout.order) file.write(t->bytes);
    file.commit();
  } catch (const std::system_error& problem) {
    detail::bad_file(path.string(), "cannot be written (", problem.what(),
                     "); check the folder, its permissions and the free space");
  }
}

} // namespace switchyard::io
