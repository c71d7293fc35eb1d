// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "gate.hpp"

// Everything around the products of the layer of one GPU, and nothing else: the kernels whose compiled code is looked
// at (compiled_code.cmake).

using exec_space = Kokkos::Cuda;
using space = exec_space::memory_space;
using value = precision::value_type;
using real = precision::router_type;
using storage = precision::router_storage;
using engine = sy::gemm::portable_engine;
template <class T>
using matrix = Kokkos::View<T**, Kokkos::LayoutRight, space>;

void use_router(const exec_space& exec, const sy::router::problem& size, const sy::router::settings& set,
                const sy::router::padding<space>& pad, const sy::gemm::row_groups<space>& all,
                const sy::router::decision<real, space>& d, const sy::router::statistics<real, space>& s,
                const sy::router::split_weights<space>& pieces, const engine::packed<exec_space, real>& weight,
                const sy::router::slot_scratch<real, space>& scratch, const matrix<const value>& x,
                const matrix<real>& dq, const matrix<real>& dh) {
  sy::router::score<engine, storage, exec_space, value, engine::packed<exec_space, real>, real, space>(
      exec, size, set, pad, all, x, weight, pieces, d, s);
  sy::router::assign_slots(exec, size, set, pad, d, scratch);
  sy::router::gates<storage>(exec, set, d);
  sy::router::sum_groups(exec, size, set, pad, d, s);
  sy::router::losses(exec, size, set, s);
  sy::router::backward<exec_space, real, space>(exec, size, set, pad, d, s, 1, dq, dh);
}

void use_rows(const exec_space& exec, const sy::router::problem& size, const sy::router::settings& set,
              const sy::router::decision<real, space>& d, const sy::dispatch::assignment<space>& a,
              const sy::dispatch::slot_map<space>& map, const matrix<const value>& x, const matrix<value>& rows,
              const matrix<value>& y, const matrix<real>& dq) {
  sy::dispatch::list_rows(exec, size, set, d, a);
  sy::dispatch::fill_blocks<exec_space, value, real, space>(exec, size, set, d, map, x, rows);
  sy::combine::forward<exec_space, value, real, space>(exec, size, set, d, map, x, y);
  sy::combine::zero_dropped<exec_space, value, real, space>(exec, size, d, y);
  sy::combine::backward<exec_space, value, real, space>(exec, size, set, d, map, x, x, rows, dq);
}

/// The epilogues as a product's kernel calls them: with 8 sums in registers.
template <class Epilogue>
struct epilogue_rows {
  Epilogue epilogue;
  Kokkos::View<const real*, space> sums;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    real first[8], second[8];
    for (int j = 0; j < 8; ++j) {
      first[j] = sums(i + j);
      second[j] = sums(i - j);
    }
    if constexpr (Epilogue::paired)
      epilogue(i % 3, i, 8 * i, 8, first, second);
    else
      epilogue(i % 3, i, 8 * i, 8, first);
  }
};
template <class Epilogue>
void use_epilogue(const exec_space& exec, const Epilogue& epilogue) {
  Kokkos::parallel_for("epilogue", Kokkos::RangePolicy<exec_space, Kokkos::IndexType<std::int64_t>>(exec, 0, 1),
                       epilogue_rows<Epilogue>{epilogue, {}});
}
void use_epilogues(const exec_space& exec) {
  use_epilogue(exec, sy::experts::detail::hidden_epilogue<value, space>{});
  use_epilogue(exec, sy::experts::detail::gated_epilogue<value, space>{});
  use_epilogue(exec, sy::experts::detail::store_epilogue<value, space>{});
  use_epilogue(exec, sy::experts::detail::d_pre_epilogue<value, space>{});
  use_epilogue(exec, sy::detail::dx_epilogue<value, real, space>{});
}
