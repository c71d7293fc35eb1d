// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <string>
#include <string_view>
#include <switchyard/io/detail/make_manifest.hpp>
#include <switchyard/io/detail/parse_manifest.hpp>
#include <switchyard/io/manifest.hpp>

namespace switchyard::io {

/// The text of checkpoint.json: the same for the same manifest; one line for each state, file and tensor.
inline std::string make_manifest(const manifest& from) {
  return detail::manifest_text(from);
}

/// The text of model.safetensors.index.json, by which other readers find the tensors that are whole in one file:
/// {"metadata": {"total_size": bytes}, "weight_map": {"name": "file", ...}}.
inline std::string make_index(const manifest& from) {
  return detail::index_text(from);
}

/// The manifest in a text, every promise above checked: versions, names without paths, shapes, types, that the parts of
/// each tensor tile it, as many checksums as blocks, nothing twice, nothing unknown.
/// source: what messages call it. Throws file_error. Allocates a small multiple of the text's size.
inline manifest parse_manifest(const std::string& source, std::string_view text) {
  return detail::manifest_parser(source).parse(text);
}

} // namespace switchyard::io
