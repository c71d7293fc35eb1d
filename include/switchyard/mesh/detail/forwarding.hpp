// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/mesh/communicator.hpp>

namespace switchyard::detail {

/// A backend that hands everything on to another one: the base of those that watch.
class forwarding_backend : public communicator_backend {
 public:
  explicit forwarding_backend(std::shared_ptr<communicator_backend> inner) : inner_(std::move(inner)) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  bool takes(buffer_memory where) const override { return inner_->takes(where); }
  void all_to_all(const all_to_all_call& call) override { inner_->all_to_all(call); }
  void all_gather(const all_gather_call& call) override { inner_->all_gather(call); }
  std::unique_ptr<exchange_in_flight> start(const all_to_all_call& call) override { return inner_->start(call); }
  void enter(std::string_view name) override { inner_->enter(name); }
  void fail(const failure& what) override { inner_->fail(what); }

 protected:
  communicator_backend& inner() const { return *inner_; }

 private:
  std::shared_ptr<communicator_backend> inner_;
};

} // namespace switchyard::detail
