// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <initializer_list>
#include <switchyard/mesh/communicator.hpp>

/// \file
/// Agreement. What one rank alone knows to be wrong becomes an error of all of them, before anything else is sent.

namespace switchyard {

namespace detail {
/// Every rank's text, in rank order. Collective.
inline std::vector<std::string> gather_text(const communicator& comm, const std::string& text) {
  const auto ranks = static_cast<std::size_t>(comm.size()), here = static_cast<std::size_t>(comm.rank());
  std::vector<std::int64_t> length(ranks, 0);
  length[here] = static_cast<std::int64_t>(text.size());
  comm.all_gather(length.data(), std::vector<std::int64_t>(ranks, 1), sizeof(std::int64_t));
  std::int64_t before = 0, total = 0;
  for (std::size_t r = 0; r < ranks; ++r) {
    if (r == here) before = total;
    total += length[r];
  }
  std::string all(static_cast<std::size_t>(total), ' ');
  all.replace(static_cast<std::size_t>(before), text.size(), text);
  comm.all_gather(all.data(), length, 1);
  std::vector<std::string> result;
  std::size_t next = 0;
  for (std::size_t r = 0; r < ranks; ++r) {
    result.push_back(all.substr(next, static_cast<std::size_t>(length[r])));
    next += static_cast<std::size_t>(length[r]);
  }
  return result;
}
} // namespace detail

/// Throws disagreement on every rank alike, with the complaint of the first rank that has one ("" for none).
/// Collective: two all-gathers, of 8 bytes and of the texts.
inline void agree(const communicator& comm, const std::string& complaint) {
  const std::vector<std::string> all = detail::gather_text(comm, complaint);
  for (std::size_t r = 0; r < all.size(); ++r)
    if (!all[r].empty()) throw disagreement(detail::message("rank ", r, ": ", all[r]));
}

/// Runs body, which makes no collective call; what it throws on one rank is thrown on all of them, as by agree(). On
/// one rank the exception itself. Collective.
template <class Body>
void run_in_agreement(const communicator& comm, const Body& body) {
  if (comm.size() == 1) return body();
  std::string complaint;
  try {
    body();
  } catch (const std::exception& e) {
    complaint = e.what();
  }
  agree(comm, complaint);
}

/// A number that must be the same on every rank.
struct named_value {
  std::string_view name;
  std::string value;

  template <class Number>
  named_value(std::string_view what, Number number) : name(what) {
    std::ostringstream text;
    text.precision(17); // tells any two doubles apart
    text << std::boolalpha << number;
    value = text.str();
  }
};

/// Throws disagreement on every rank alike when one of the values differs between ranks: "d_model = 768 on rank 3, 512
/// on rank 0; give all ranks the same". Collective, as agree().
inline void agree_on(const communicator& comm, std::initializer_list<named_value> values) {
  std::string text;
  for (const named_value& v : values) text += detail::message(v.name, " = ", v.value, '\n');
  const std::vector<std::string> all = detail::gather_text(comm, text);
  for (std::size_t r = 1; r < all.size(); ++r) {
    if (all[r] == all[0]) continue;
    std::istringstream here(all[r]), first(all[0]);
    std::string a, b;
    do {
      if (!std::getline(here, a)) a = "nothing more";
      if (!std::getline(first, b)) b = "nothing more";
    } while (a == b);
    throw disagreement(
        detail::message(a, " on rank ", r, ", but ", b, " on rank 0: all ranks must agree; give all ranks the same"));
  }
}

} // namespace switchyard
