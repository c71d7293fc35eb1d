// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstring>
#include <switchyard/mesh/agree.hpp>
#include <switchyard/mesh/detail/forwarding.hpp>

/// \file
/// An exchange in two levels, for many small messages between the nodes of a machine. For every other node, one rank of
/// a node is its porter:
///
///   inside a node     every rank gives each porter what it sends to the porter's nodes
///   between nodes     the porters of two nodes for each other exchange one message
///   inside a node     every porter gives each rank what came for it
///
/// N nodes of n ranks send N (N-1) messages between nodes instead of N (N-1) n n, of n n times the bytes; every byte
/// is copied some times more.

namespace switchyard {

namespace detail {

/// Which ranks of a communicator share a node. The same on every rank.
class node_map {
 public:
  node_map() = default;
  /// nodes[r]: any number, equal on ranks of one node. Nodes are numbered in the order of their first ranks.
  explicit node_map(const std::vector<std::int64_t>& nodes) {
    std::vector<std::int64_t> known;
    for (std::size_t r = 0; r < nodes.size(); ++r) {
      std::size_t n = 0;
      while (n < known.size() && known[n] != nodes[r]) ++n;
      if (n == known.size()) known.push_back(nodes[r]), members_.emplace_back();
      node_.push_back(n);
      members_[n].push_back(r);
    }
  }

  /// Are there several nodes, and several ranks on one of them?
  bool two_levels() const { return members_.size() > 1 && members_.size() < node_.size(); }
  std::size_t node(std::size_t rank) const { return node_[rank]; }
  std::size_t nodes() const { return members_.size(); }
  const std::vector<std::size_t>& members(std::size_t node) const { return members_[node]; } ///< ranks, ascending

  /// The porter on `node` for `other`, as a place among the members of `node`: they take turns.
  std::size_t porter(std::size_t node, std::size_t other) const {
    return (other < node ? other : other - 1) % members_[node].size();
  }
  /// The other nodes whose porter is member `place` of `node`, ascending.
  std::vector<std::size_t> carried(std::size_t node, std::size_t place) const {
    std::vector<std::size_t> others;
    for (std::size_t other = 0; other < nodes(); ++other)
      if (other != node && porter(node, other) == place) others.push_back(other);
    return others;
  }

 private:
  std::vector<std::size_t> node_;
  std::vector<std::vector<std::size_t>> members_;
};

class two_level_backend final : public forwarding_backend {
  using counts = std::vector<std::int64_t>;
  using size = std::size_t;

 public:
  /// Collective. node: any number, equal on ranks of one node.
  two_level_backend(std::shared_ptr<communicator_backend> inner_one, std::int64_t node, std::string_view name)
      : forwarding_backend(std::move(inner_one)), node_number_(node) {
    counts all(static_cast<size>(rank_count())), one(all.size(), 1);
    all[here()] = node;
    inner().all_gather({collective::all_gather, all.data(), one, sizeof(std::int64_t)});
    map_ = node_map(all);
    node_ = map_.node(here());
    if (map_.two_levels()) inside_ = inner().split(static_cast<int>(node_), message(name, ", inside a node"));
    for (size k = 0; k < members().size(); ++k) {
      carried_.push_back(map_.carried(node_, k));
      if (members()[k] == here()) place_ = k;
    }
  }

  std::shared_ptr<communicator_backend> split(int color, std::string_view name) override {
    return std::make_shared<two_level_backend>(inner().split(color, name), node_number_, name);
  }
  bool takes(buffer_memory where) const override { // the host copies what porters carry
    return inner().takes(where) && (!inside_ || where == buffer_memory::host);
  }
  /// Sums have large messages, and go directly; so do exchanges that are started, since wait() is local, and what lies
  /// on a device, where the host copies nothing.
  void all_to_all(const all_to_all_call& call) override {
    if (!inside_ || call.kind != collective::all_to_all || call.memory == buffer_memory::device || call.unit == 0)
      return inner().all_to_all(call);
    for (const counts* v : {&call.send_counts, &call.receive_counts, call.send_begins, call.receive_begins})
      if (v != nullptr) check_counts(*v, rank_count());
    learn_counts(call);
    const auto near = start_inside(call);
    to_porters(call);
    between_nodes(call);
    from_porters(call);
    if (near) near->wait();
  }

 private:
  /// What this rank carries between its node and another: [member here][rank there].
  struct load {
    size other = 0;
    std::vector<counts> sent, awaited;
  };

  int rank_count() const { return inner().size(); }
  size here() const { return static_cast<size>(inner().rank()); }
  const std::vector<size>& members() const { return map_.members(node_); }
  static std::int64_t total(const counts& c) {
    std::int64_t sum = 0;
    for (const std::int64_t n : c) sum += n;
    return sum;
  }

  static std::int64_t total_of(const std::vector<counts>& all) {
    std::int64_t sum = 0;
    for (const counts& c : all) sum += total(c);
    return sum;
  }

  /// Porters learn what is sent and awaited by the ranks that they carry for: nothing of it crosses between nodes.
  void learn_counts(const all_to_all_call& call) {
    counts out(members().size(), 0), in(members().size(), 0), told, heard;
    for (size k = 0; k < members().size(); ++k) {
      for (const size other : carried_[k])
        for (const counts* c : {&call.send_counts, &call.receive_counts})
          for (const size r : map_.members(other)) told.push_back((*c)[r]), ++out[k];
      for (const size other : carried_[place_]) in[k] += 2 * static_cast<std::int64_t>(map_.members(other).size());
    }
    heard.resize(static_cast<size>(total(in)));
    inside_->all_to_all({call.kind, told.data(), out, heard.data(), in, sizeof(std::int64_t)});
    loads_.clear();
    for (const size other : carried_[place_]) loads_.push_back({other, {}, {}});
    auto next = heard.cbegin();
    const auto read = [&](size n) { return counts(next, next + static_cast<std::ptrdiff_t>(n)); };
    for (size k = 0; k < members().size(); ++k)
      for (load& l : loads_)
        for (auto* to : {&l.sent, &l.awaited}) {
          to->push_back(read(map_.members(l.other).size()));
          next += static_cast<std::ptrdiff_t>(to->back().size());
        }
  }

  /// What stays inside the node, from where it lies to where it goes.
  std::unique_ptr<exchange_in_flight> start_inside(const all_to_all_call& call) {
    const size n = members().size();
    counts out(n), in(n), out_begins(n), in_begins(n);
    for (size k = 0; k < n; ++k) {
      const size r = members()[k];
      out[k] = call.send_counts[r];
      in[k] = call.receive_counts[r];
      out_begins[k] = first_unit(call.send_counts, call.send_begins, static_cast<int>(r));
      in_begins[k] = first_unit(call.receive_counts, call.receive_begins, static_cast<int>(r));
    }
    return inside_->start({call.kind, call.send, out, call.receive, in, call.unit, &out_begins, &in_begins});
  }

  /// What leaves the node goes to its porters: [member][node that it carries for][rank there].
  void to_porters(const all_to_all_call& call) {
    counts out(members().size(), 0), in(members().size(), 0);
    start_writing(total(call.send_counts), call.unit);
    for (size k = 0; k < members().size(); ++k)
      for (const size other : carried_[k])
        for (const size r : map_.members(other)) {
          const auto first = first_unit(call.send_counts, call.send_begins, static_cast<int>(r));
          write(static_cast<const char*>(call.send) + static_cast<size>(first) * call.unit, call.send_counts[r]);
          out[k] += call.send_counts[r];
        }
    for (size k = 0; k < members().size(); ++k)
      for (const load& l : loads_) in[k] += total(l.sent[k]);
    exchange(*inside_, call.kind, out, in);
  }

  /// From porter to porter: [member here][rank there], one message for each node that this rank carries for.
  void between_nodes(const all_to_all_call& call) {
    counts out(static_cast<size>(rank_count()), 0), in(out), out_begins(out), in_begins(out);
    std::int64_t all = 0, written = 0, expected = 0;
    for (const load& l : loads_) all += total_of(l.sent);
    start_writing(all, call.unit);
    for (const load& l : loads_) {
      std::int64_t given = 0; // by the members before
      for (size k = 0; k < members().size(); ++k) {
        std::int64_t at = given;
        for (const load* before = loads_.data(); before != &l; ++before) at += total(before->sent[k]);
        write(arrived_.data() + static_cast<size>(at) * call.unit, total(l.sent[k]));
        for (const load& each : loads_) given += total(each.sent[k]);
      }
      const size peer = map_.members(l.other)[map_.porter(l.other, node_)];
      out[peer] = total_of(l.sent);
      in[peer] = total_of(l.awaited);
      out_begins[peer] = written;
      in_begins[peer] = expected;
      written += out[peer];
      expected += in[peer];
    }
    exchange(inner(), call.kind, out, in, &out_begins, &in_begins);
  }

  /// What has come, [node][rank there][member here], to whom it is for, [member][node][rank there], and into its place.
  void from_porters(const all_to_all_call& call) {
    counts out(members().size(), 0), in(members().size(), 0);
    std::int64_t all = 0;
    for (const load& l : loads_) all += total_of(l.awaited);
    start_writing(all, call.unit);
    for (size k = 0; k < members().size(); ++k) {
      std::int64_t at = 0;
      for (const load& l : loads_) {
        for (size there = 0; there < map_.members(l.other).size(); ++there)
          for (size m = 0; m < members().size(); ++m) {
            if (m == k) write(arrived_.data() + static_cast<size>(at) * call.unit, l.awaited[m][there]);
            at += l.awaited[m][there];
          }
        out[k] += total(l.awaited[k]);
      }
      for (const size other : carried_[k])
        for (const size r : map_.members(other)) in[k] += call.receive_counts[r];
    }
    exchange(*inside_, call.kind, out, in);
    const char* next = arrived_.data();
    for (size k = 0; k < members().size(); ++k)
      for (const size other : carried_[k])
        for (const size r : map_.members(other)) {
          const size bytes = static_cast<size>(call.receive_counts[r]) * call.unit;
          const auto first = first_unit(call.receive_counts, call.receive_begins, static_cast<int>(r));
          if (bytes > 0)
            std::memcpy(static_cast<char*>(call.receive) + static_cast<size>(first) * call.unit, next, bytes);
          next += bytes;
        }
  }

  /// Units are written one behind the other, and then exchanged; the memory grows to what was ever needed.
  void start_writing(std::int64_t most, size unit) {
    unit_ = unit;
    end_ = 0;
    if (leaving_.size() < static_cast<size>(most) * unit) leaving_.resize(static_cast<size>(most) * unit);
  }
  void write(const char* from, std::int64_t units) {
    const size bytes = static_cast<size>(units) * unit_;
    if (bytes > 0) std::memcpy(leaving_.data() + end_, from, bytes);
    end_ += bytes;
  }
  void exchange(communicator_backend& over, collective kind, const counts& out, const counts& in,
                const counts* out_begins = nullptr, const counts* in_begins = nullptr) {
    const size bytes = static_cast<size>(total(in)) * unit_;
    if (arriving_.size() < bytes) arriving_.resize(bytes);
    over.all_to_all({kind, leaving_.data(), out, arriving_.data(), in, unit_, out_begins, in_begins});
    arriving_.swap(arrived_);
  }

  std::int64_t node_number_ = 0;
  node_map map_;
  size node_ = 0, place_ = 0; // of this rank
  std::shared_ptr<communicator_backend> inside_;
  std::vector<std::vector<size>> carried_; // by each member, the same on all of them
  std::vector<load> loads_;
  std::vector<char> leaving_, arriving_, arrived_;
  size unit_ = 1, end_ = 0;
};

} // namespace detail

/// The same ranks, whose blocking all_to_all goes in two levels over every communicator, this one and what is split
/// from it, that has ranks on several nodes and several on one; over others nothing changes. `node` is any number,
/// equal on ranks of one node. The same bytes arrive. Exchanges that are started, and sums, go directly. Buffers lie in
/// host memory. Collective: one all-gather, one split.
///
/// counting(two_level(comm)) counts what the program addresses, as a plan predicts it; two_level(counting(comm)) what
/// is sent on each level, that inside the nodes of `name` as "name, inside a node".
inline communicator two_level(const communicator& comm, std::int64_t node) {
  return communicator(std::make_shared<detail::two_level_backend>(comm.backend(), node, "world"));
}

} // namespace switchyard
