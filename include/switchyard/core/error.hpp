// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

/// \file
/// Exceptions. Every message reads "switchyard: <parameter> = <value>: <what is allowed>; <what to do>".
/// Constructors and make_tape throw them on every rank alike, before anything is communicated.

namespace switchyard {

/// Base of everything the library throws.
class error : public std::runtime_error {
 public:
  explicit error(const std::string& message) : std::runtime_error("switchyard: " + message) {}
};

/// A parameter or an extent that is not allowed.
class invalid_argument : public error {
 public:
  using error::error;
};

/// A file that is not what it should be.
class file_error : public error {
 public:
  using error::error;
};

/// A communicator that cannot carry the mesh, or a call of MPI that failed.
class communicator_error : public error {
 public:
  using error::error;
};

/// Ranks that should say the same do not. Thrown on every rank alike, so it may be caught.
class disagreement : public communicator_error {
 public:
  using communicator_error::communicator_error;
};

namespace detail {

/// The parts streamed one after another: message("d_model = ", d, ": must be at least 1").
template <class... Part>
std::string message(const Part&... part) {
  std::ostringstream out;
  (out << ... << part);
  return out.str();
}

template <class... Part>
void require(bool condition, const Part&... part) {
  if (!condition) throw invalid_argument(message(part...));
}

} // namespace detail
} // namespace switchyard
