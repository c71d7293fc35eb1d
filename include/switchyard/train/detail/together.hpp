// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <sstream>
#include <string>
#include <string_view>
#include <switchyard/core/error.hpp>
#include <switchyard/mesh/agree.hpp>
#include <switchyard/mesh/communicator.hpp>
#include <utility>
#include <vector>

/// \file
/// What ranks do together around files: an error of one becomes an error of all, rank 0 hears and tells.

namespace switchyard::train::detail {

/// An error that one rank met between two collectives; empty text: none.
struct problem {
  bool is_argument = false; // invalid_argument, otherwise file_error
  std::string text;
};

/// Runs body, which makes no collective call.
template <class Body>
problem attempt(const Body& body) {
  constexpr std::string_view prefix = "switchyard: "; // is put before every message when it is thrown
  const auto plain = [&](std::string text) { return text.starts_with(prefix) ? text.substr(prefix.size()) : text; };
  try {
    body();
    return {};
  } catch (const invalid_argument& e) {
    return {true, plain(e.what())};
  } catch (const std::bad_alloc&) {
    return {false, "out of memory; use more ranks or a machine with more"};
  } catch (const std::exception& e) {
    return {false, plain(e.what())};
  }
}

/// The problem of the first rank that has one, on every rank. Collective: two all-gathers.
inline problem first_problem(const communicator& comm, const problem& here) {
  const std::string mine = here.text.empty() ? "" : (here.is_argument ? 'a' : 'f') + here.text;
  const std::vector<std::string> all = switchyard::detail::gather_text(comm, mine);
  for (std::size_t r = 0; r < all.size(); ++r)
    if (!all[r].empty())
      return {all[r][0] == 'a', (all.size() > 1 ? "rank " + std::to_string(r) + ": " : "") + all[r].substr(1)};
  return {};
}

inline void raise(const problem& p) {
  if (p.text.empty()) return;
  if (p.is_argument) throw invalid_argument(p.text);
  throw file_error(p.text);
}

/// Throws the problem of the first rank that has one, on every rank alike. Collective.
inline void raise_together(const communicator& comm, const problem& here) {
  raise(first_problem(comm, here));
}

/// The text of rank 0, on every rank. Collective: two all-gathers to which rank 0 alone gives.
inline std::string tell(const communicator& comm, std::string text) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(comm.size()), 0);
  auto size = static_cast<std::int64_t>(text.size());
  counts[0] = 1;
  comm.all_gather(&size, counts, sizeof(size));
  text.resize(static_cast<std::size_t>(size));
  counts[0] = size;
  comm.all_gather(text.data(), counts, 1);
  return text;
}

/// Every rank's text in rank order on rank 0, nothing elsewhere. Collective: two all-to-alls that all send to rank 0.
inline std::vector<std::string> hear(const communicator& comm, const std::string& text) {
  const auto ranks = static_cast<std::size_t>(comm.size());
  const bool listens = comm.rank() == 0;
  std::vector<std::int64_t> send(ranks, 0), receive(ranks, listens ? 1 : 0), sizes(ranks, 0);
  const auto size = static_cast<std::int64_t>(text.size());
  send[0] = 1;
  comm.all_to_all(&size, send, sizes.data(), receive, sizeof(size));
  std::size_t total = 0;
  for (std::size_t r = 0; r < ranks; ++r) {
    receive[r] = sizes[r];
    total += static_cast<std::size_t>(sizes[r]);
  }
  std::string all(total, '\0');
  send[0] = size;
  comm.all_to_all(text.data(), send, all.data(), receive, 1);
  std::vector<std::string> result;
  std::size_t next = 0;
  for (std::size_t r = 0; listens && r < ranks; ++r) {
    result.push_back(all.substr(next, static_cast<std::size_t>(sizes[r])));
    next += static_cast<std::size_t>(sizes[r]);
  }
  return result;
}

/// Throws disagreement on every rank alike, naming the first line that differs. Sends 8 bytes where nothing differs.
/// Collective.
inline void agree_on_lines(const communicator& comm, std::uint64_t checksum, const std::string& lines) {
  std::vector<std::uint64_t> all(static_cast<std::size_t>(comm.size()), 0);
  all[static_cast<std::size_t>(comm.rank())] = checksum;
  comm.all_gather(all.data(), std::vector<std::int64_t>(all.size(), 1), sizeof(checksum));
  bool same = true;
  for (const std::uint64_t other : all) same = same && other == all[0];
  if (same) return;
  const std::vector<std::string> texts = switchyard::detail::gather_text(comm, lines);
  for (std::size_t r = 1; r < texts.size(); ++r) {
    if (texts[r] == texts[0]) continue;
    std::istringstream here(texts[r]), first(texts[0]);
    std::string a, b;
    do {
      if (!std::getline(here, a)) a = "nothing more";
      if (!std::getline(first, b)) b = "nothing more";
    } while (a == b);
    throw disagreement(switchyard::detail::message("state: ", a, " on rank ", r, ", but ", b,
                                                   " on rank 0: all ranks must agree; give all ranks the same"));
  }
}

/// Numbers and texts one after another in a string, for messages between ranks of one program.
class packer {
 public:
  void number(std::uint64_t value) { bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value)); }
  void text(std::string_view value) {
    number(value.size());
    bytes_ += value;
  }
  template <class Integer>
  void numbers(const std::vector<Integer>& values) {
    number(values.size());
    for (const Integer v : values) number(static_cast<std::uint64_t>(v));
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

class unpacker {
 public:
  explicit unpacker(std::string_view bytes) : rest_(bytes) {}
  bool done() const { return rest_.empty(); }
  std::uint64_t number() {
    std::uint64_t value = 0;
    std::memcpy(&value, rest_.data(), sizeof(value));
    rest_.remove_prefix(sizeof(value));
    return value;
  }
  std::string text() {
    const std::size_t size = number();
    std::string value(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return value;
  }
  template <class Integer>
  std::vector<Integer> numbers() {
    std::vector<Integer> values(number());
    for (Integer& v : values) v = static_cast<Integer>(number());
    return values;
  }

 private:
  std::string_view rest_;
};

/// While it lives, this rank is in that phase.
class phase_scope {
 public:
  phase_scope(const communicator& comm, std::string_view name) : backend_(comm.backend()) { backend_->enter(name); }
  phase_scope(const phase_scope&) = delete;
  phase_scope& operator=(const phase_scope&) = delete;
  ~phase_scope() { backend_->enter({}); }

 private:
  std::shared_ptr<communicator_backend> backend_;
};

} // namespace switchyard::train::detail
