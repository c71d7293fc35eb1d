// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <switchyard/mesh/name.hpp>

namespace {

namespace sy = switchyard;

struct data : sy::name<"data"> {};
struct same_text : sy::name<"data"> {};
struct empty : sy::name<""> {};
struct spaced : sy::name<"rows of a field"> {};
struct not_a_name {};
struct wrong_label {
  static constexpr int label() { return 0; }
};

static_assert(data::label() == "data");
static_assert(data::label().size() == 4); // without the terminating zero
static_assert(empty::label().empty());
static_assert(spaced::label() == "rows of a field");
static_assert(!std::same_as<data, same_text>); // the type is the name, its text a label
static_assert(data::label() == same_text::label());
static_assert(std::is_empty_v<data>);

static_assert(sy::named<data>);
static_assert(sy::named<const data>);
static_assert(!sy::named<not_a_name>);
static_assert(!sy::named<wrong_label>);
static_assert(!sy::named<int>);
static_assert(!sy::named<void>);

template <class... D>
constexpr bool all_named = (sy::named<D> && ...);
static_assert(all_named<sy::dims::group, sy::dims::token, sy::dims::experts, sy::dims::capacity, sy::dims::d_model,
                        sy::dims::d_ff, sy::dims::heads, sy::dims::vocab>);
static_assert(sy::dims::d_model::label() == "d_model" && sy::dims::d_ff::label() == "d_ff");

} // namespace
