// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <switchyard/mesh/einsum.hpp>
#include <switchyard/mesh/elementwise.hpp>
#include <switchyard/mesh/reshard.hpp>

#include "gate.hpp"

// The tensor algebra on a mesh of GPUs: each of its kernels, and all movements.

namespace dims = sy::dims;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
using plane = sy::mesh<sy::axis<data>, sy::axis<model>>;
using value = sy::value_of<precision>;
template <class A, class B, class... D>
using tensor = sy::tensor<value, plane, sy::dimensions<D...>, sy::placements<A, B>, Kokkos::Cuda::memory_space>;

struct relu {
  template <class R>
  KOKKOS_FUNCTION R operator()(R x) const {
    return x > 0 ? x : 0;
  }
};
struct running_sum {
  template <class X, class Y>
  KOKKOS_FUNCTION void operator()(const X& x, const Y& y) const {
    for (std::int64_t i = 0; i < x.size(); ++i) y[i] = x[i];
  }
};

auto use_algebra(const Kokkos::Cuda& exec, const plane& mesh) {
  using group = sy::S<dims::group>;
  using experts = sy::S<dims::experts>;
  using d_ff = sy::S<dims::d_ff>;
  const tensor<group, sy::R, dims::group, dims::experts, dims::d_model> x(mesh, {2, 2, 2});
  const tensor<experts, d_ff, dims::experts, dims::d_model, dims::d_ff> wi(mesh, {2, 2, 2});
  const tensor<experts, d_ff, dims::experts, dims::d_ff, dims::d_model> wo(mesh, {2, 2, 2});
  auto arriving = sy::start_reshard<sy::placements<experts, sy::R>>(exec, x);
  const auto xe = std::move(arriving).wait(exec);
  const auto h = sy::map(exec, relu(), sy::einsum<dims::group, dims::experts, dims::d_ff>(exec, xe, wi));
  static_assert(sy::staged<Kokkos::View<value*, Kokkos::Cuda::memory_space>>::memory == sy::buffer_memory::device);
  auto o = sy::einsum<dims::group, dims::experts, dims::d_model>(exec, sy::add(exec, h, h), wo);
  return sy::along<dims::d_model>(exec, running_sum(), sy::reshard<sy::placements<group, sy::R>>(exec, std::move(o)));
}
