// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <switchyard/mesh/mesh.hpp>

namespace {

namespace sy = switchyard;

struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
struct pipe : sy::name<"pipe"> {};

// ---- axes and meshes ----
static_assert(sy::axis<data>::extent == sy::run_time);
static_assert(sy::axis<data, 4>::extent == 4);
static_assert(std::same_as<sy::axis<data, 4>::id, data>);

using alone = sy::mesh<>;
using line = sy::mesh<sy::axis<data>>;
using plane = sy::mesh<sy::axis<data, 4>, sy::axis<model, 2>>;
using mixed = sy::mesh<sy::axis<data>, sy::axis<model, 2>>;

static_assert(alone::rank == 0 && line::rank == 1 && plane::rank == 2);
static_assert(plane::has<data> && plane::has<model> && !plane::has<pipe>);
static_assert(!alone::has<data>);
static_assert(plane::index<data> == 0 && plane::index<model> == 1);
static_assert(plane::index<pipe> == plane::rank); // no such axis
static_assert(alone::index<data> == 0);

static_assert(std::is_default_constructible_v<alone>);
static_assert(!std::is_default_constructible_v<line>); // needs a communicator
static_assert(std::is_constructible_v<plane, sy::communicator>);
static_assert(std::is_constructible_v<line, sy::communicator, std::array<std::int64_t, 1>>);
static_assert(!std::is_constructible_v<line, sy::communicator, std::array<std::int64_t, 2>>);
static_assert(std::is_constructible_v<mixed, sy::communicator, std::array<std::int64_t, 2>>);
static_assert(!std::is_convertible_v<sy::communicator, line>); // explicit
static_assert(std::is_copy_constructible_v<plane>);            // a cheap handle, held by value

// ---- part r of n things in p parts: start = r (n / p) + min(r, n mod p) ----
constexpr bool is(sy::part p, std::int64_t begin, std::int64_t count) {
  return p.begin == begin && p.count == count;
}
static_assert(is(sy::part_of(8, 4, 0), 0, 2) && is(sy::part_of(8, 4, 3), 6, 2));
static_assert(is(sy::part_of(7, 3, 0), 0, 3) && is(sy::part_of(7, 3, 1), 3, 2) && is(sy::part_of(7, 3, 2), 5, 2));
static_assert(is(sy::part_of(2, 4, 0), 0, 1) && is(sy::part_of(2, 4, 1), 1, 1));
static_assert(is(sy::part_of(2, 4, 2), 2, 0) && is(sy::part_of(2, 4, 3), 2, 0));
static_assert(is(sy::part_of(0, 3, 2), 0, 0));
static_assert(is(sy::part_of(5, 1, 0), 0, 5));
static_assert(is(sy::part_of((std::int64_t{1} << 40) + 1, 2, 1), (std::int64_t{1} << 39) + 1, std::int64_t{1} << 39));

/// Parts follow one another without gaps, cover everything, and differ by at most one, the larger ones first.
constexpr bool parts_tile(std::int64_t things, std::int64_t parts) {
  std::int64_t next = 0, before = sy::part_of(things, parts, 0).count;
  for (std::int64_t r = 0; r < parts; ++r) {
    const sy::part p = sy::part_of(things, parts, r);
    if (p.begin != next || p.count > before || p.count < things / parts || p.count > things / parts + 1) return false;
    next = p.begin + p.count;
    before = p.count;
  }
  return next == things;
}
constexpr bool all_tile() {
  for (std::int64_t things = 0; things < 40; ++things)
    for (std::int64_t parts = 1; parts < 20; ++parts)
      if (!parts_tile(things, parts)) return false;
  return true;
}
static_assert(all_tile());

} // namespace
