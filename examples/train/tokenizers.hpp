// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <memory>
#include <switchyard/train/tokenizer.hpp>

namespace train_example {

/// Some tokenizer, chosen at run time: bytes, or the pieces of a SentencePiece model.
class any_tokenizer {
 public:
  class kind {
   public:
    virtual ~kind() = default;
    virtual switchyard::train::special_tokens special() const = 0;
    virtual void encode(std::string_view bytes, std::vector<std::int32_t>& tokens) const = 0;
    virtual void decode(std::int32_t token, std::string& text) const = 0;
    virtual std::int64_t bytes_of(std::int32_t token) const = 0;
    virtual double bytes_per_token() const = 0;
  };
  explicit any_tokenizer(std::shared_ptr<const kind> what) : kind_(std::move(what)) {}

  switchyard::train::special_tokens special() const { return kind_->special(); }
  void encode(std::string_view bytes, std::vector<std::int32_t>& tokens) const { kind_->encode(bytes, tokens); }
  void decode(std::int32_t token, std::string& text) const { kind_->decode(token, text); }
  std::int64_t bytes_of(std::int32_t token) const { return kind_->bytes_of(token); }
  double bytes_per_token() const { return kind_->bytes_per_token(); }

 private:
  std::shared_ptr<const kind> kind_;
};
static_assert(switchyard::train::tokenizer<any_tokenizer>);

/// Bytes for an empty name, else the SentencePiece model of that file with 100 sentinels above its pieces (T5). Throws
/// switchyard::file_error for a file that is no such model, invalid_argument where the program was built without the
/// library.
any_tokenizer make_tokenizer(const std::string& file);

} // namespace train_example
