// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "gemm_checks.hpp"
#include "tensor_machine.hpp"
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <switchyard/gemm/detail/between_kernels.hpp>
#include <switchyard/gemm/detail/cuda_pack.hpp>
#include <switchyard/gemm/detail/tensor_gradient.hpp>
#include <switchyard/gemm/detail/tensor_product.hpp>
#include <tuple>

// The kernels for tensor cores, without a GPU: every index, every barrier and every wait of them, on the machine of
// tensor_machine.hpp.

namespace {

using namespace gemm_checks;
using switchyard::bfloat16; // but not half: CUDA has a ::half
using tensor_machine::moment;
namespace detail = switchyard::gemm::detail;
using exec_space = Kokkos::DefaultHostExecutionSpace;

struct conditions {
  std::int64_t blocks = 3; // fewer than there is work
  moment copies = moment::last, products = moment::last;
  unsigned seed = 1;
} now;

/// An engine as tensor_engine of gemm/cuda.hpp is one.
template <template <class> class Math>
struct engine_on_the_machine {
  template <class T>
  struct packed_columns {
    using value_type = T;
    Kokkos::View<T*, Kokkos::HostSpace> all;
    extent k_stride = 0, groups = 0, rows = 0, columns = 0;
    bool paired = false;
  };
  template <class Exec, class T>
  using packed = packed_columns<T>;

  template <class Exec, class T>
  static packed<Exec, T> allocate(const Exec&, extent groups, extent rows, extent columns, bool paired = false) {
    const extent stride = detail::ceil_div(rows, 8) * 8;
    // In the middle of NaN: nothing outside is to be read. A whole number of chunks, so that it is aligned.
    const auto size = static_cast<std::size_t>((paired ? 2 : 1) * groups * columns * stride);
    return {Kokkos::View<T*, Kokkos::HostSpace>("columns", size), stride, groups, rows, columns, paired};
  }
  template <class Exec, class T, class View>
  static void pack(const Exec& exec, const packed<Exec, T>& to, const View& weight, gemm::orientation how,
                   extent row_begin = 0, int half_of_pair = 0) {
    detail::pack_columns<T>(exec, weight, how, to.all, to.groups, to.columns, to.k_stride, row_begin, to.paired ? 2 : 1,
                            half_of_pair);
    exec.fence("test: weights are packed");
  }
  template <class A>
  static bool direct(const gemm::rows<A, Kokkos::HostSpace>& a) {
    return reinterpret_cast<std::uintptr_t>(a.values.data()) % 16 == 0 && a.values.stride(0) * sizeof(A) % 16 == 0;
  }
  template <class Kernel>
  static void run(const Kernel& kernel, extent work) {
    if (work == 0) return;
    tensor_machine::run(kernel, std::min(work, now.blocks), now.copies, now.products, now.seed);
  }

  template <class Exec, class A, class T, class Epilogue>
  static void product(const Exec&, const gemm::row_groups<Kokkos::HostSpace>& groups,
                      const gemm::rows<A, Kokkos::HostSpace>& a, const packed<Exec, T>& b, const Epilogue& epilogue) {
    const auto with = [&]<bool Direct>() {
      using kernel = detail::tensor_product<Math<T>, A, Kokkos::HostSpace, Epilogue, Direct>;
      const extent tiles = detail::tile_bound(groups, Math<T>::rows),
                   panels = detail::ceil_div(b.columns, kernel::Width);
      run(kernel{groups, a, b.all, b.rows, b.columns, b.k_stride, tiles, panels, tiles * panels, epilogue},
          tiles * panels);
    };
    if (std::same_as<A, T> && direct(a))
      return with.template operator()<true>();
    else
      with.template operator()<false>();
  }
  template <class Exec, class A, class D, class T, class View>
  static void weight_gradient(const Exec&, const gemm::row_groups<Kokkos::HostSpace>& groups,
                              const gemm::rows<A, Kokkos::HostSpace>& a, const gemm::rows<D, Kokkos::HostSpace>& d,
                              const packed<Exec, T>&, const View& gradient, bool accumulate) {
    const auto with = [&]<bool Direct>() {
      using kernel = detail::tensor_gradient<Math<T>, A, D, Kokkos::HostSpace, Direct>;
      const extent k_tiles = detail::ceil_div(a.columns(), extent{Math<T>::rows}),
                   n_tiles = detail::ceil_div(d.columns(), extent{Math<T>::columns}),
                   work = groups.groups() * k_tiles * n_tiles;
      run(kernel{groups, a, d, gradient, a.columns(), d.columns(), k_tiles, n_tiles, work, accumulate}, work);
    };
    if (direct(a) && direct(d))
      with.template operator()<true>();
    else
      with.template operator()<false>();
  }
};

template <template <class> class Math, class T>
struct with {
  using engine = engine_on_the_machine<Math>;
  using type = T;
};
using subjects = std::tuple<with<detail::warp_math, bfloat16>, with<detail::warpgroup_math, bfloat16>,
                            with<detail::scalar_loads_math, switchyard::half>>;

} // namespace

TEMPLATE_LIST_TEST_CASE("tensor cores: products, rows at any address", "", subjects) {
  using engine = typename TestType::engine;
  using T = typename TestType::type;
  now = {};
  CHECK(product_error<engine, exec_space, T, T>({5, 0, 1, 129}, 70, 100, shape::plain, true, true) == 0);
  CHECK(product_error<engine, exec_space, T, T>({0, 19}, 100, 3, shape::stacked, true, true) == 0);
  CHECK(product_error<engine, exec_space, T, T>({9, 2}, 17, 70, shape::paired, true, true) == 0);
  CHECK(product_error<engine, exec_space, T, T>({1, 7, 0}, 1, 1, shape::transposed, true, true) == 0);
  CHECK(product_error<engine, exec_space, T, T>({30, 41}, 129, 33, shape::plain, false, false) < 16);
}

TEMPLATE_LIST_TEST_CASE("tensor cores: products, whole chunks, copies and products early and late", "", subjects) {
  using engine = typename TestType::engine;
  using T = typename TestType::type;
  for (const moment copies : {moment::first, moment::last}) {
    CAPTURE(static_cast<int>(copies));
    now = {2, copies, copies == moment::first ? moment::last : moment::first, 5};
    // Seven steps: every stage, and again.
    CHECK(product_error<engine, exec_space, T, T>({3, 0, 131, 2}, 400, 40, shape::plain, true, true, true) == 0);
    CHECK(product_error<engine, exec_space, T, T>({3, 0, 1, 70}, 396, 130, shape::paired, true, true, true) == 0);
    CHECK(product_error<engine, exec_space, T, T>({1, 7}, 44, 300, shape::stacked, false, true, true) == 0);
  }
}

TEMPLATE_LIST_TEST_CASE("tensor cores: weight gradients", "", subjects) {
  using engine = typename TestType::engine;
  using T = typename TestType::type;
  for (const moment copies : {moment::first, moment::last}) {
    CAPTURE(static_cast<int>(copies));
    now = {2, copies, copies == moment::first ? moment::last : moment::first, 9};
    CHECK(gradient_error<engine, exec_space, T, T, T>({70, 0, 1, 400}, 100, 18, false, true, true) == 0);
    CHECK(gradient_error<engine, exec_space, T, T, T>({3, 0, 18}, 130, 41, true, true, true) == 0);
  }
  now = {};
  CHECK(gradient_error<engine, exec_space, T, T, T>({3, 70}, 130, 40, true, true) == 0);
  CHECK(gradient_error<engine, exec_space, T, T, T>({0, 0}, 70, 130, false, false) == 0);
  CHECK(gradient_error<engine, exec_space, T, T, T>({200, 3}, 20, 300, false, false, true) < 16);
}

// ---- around a BLAS ------------------------------------------------------------------------------------

namespace {

/// What cuBLAS does with a batched_call, by the manual: everything is column-major.
template <class T>
void call(const detail::batched_call& c, const T* left, const T* right, double* sums, bool add) {
  for (extent i = 0; i < c.count; ++i)
    for (extent row = 0; row < c.m; ++row)
      for (extent column = 0; column < c.n; ++column) {
        double& sum = sums[i * c.stride + column * c.pitch + row];
        double all = add ? sum : 0;
        for (extent k = 0; k < c.k; ++k)
          all += left[i * c.left_stride + (c.left_transposed ? row * c.left_pitch + k : k * c.left_pitch + row)] *
                 right[i * c.right_stride +
                       (c.right_transposed ? k * c.right_pitch + column : column * c.right_pitch + k)];
        sum = all;
      }
}

/// basic_cublas_engine of gemm/cublas.hpp with that in the place of cuBLAS, and room for seven rows.
struct engine_on_a_blas {
  template <class Exec, class T>
  using packed = engine_on_the_machine<detail::warp_math>::packed<Exec, T>;

  template <class Exec, class T>
  static packed<Exec, T> allocate(const Exec&, extent groups, extent rows, extent columns, bool paired = false) {
    const auto size = static_cast<std::size_t>((paired ? 2 : 1) * groups * columns * rows);
    return {Kokkos::View<T*, Kokkos::HostSpace>("columns", size), rows, groups, rows, columns, paired};
  }
  template <class Exec, class T, class View>
  static void pack(const Exec& exec, const packed<Exec, T>& to, const View& weight, gemm::orientation how,
                   extent row_begin = 0, int half_of_pair = 0) {
    engine_on_the_machine<detail::warp_math>::pack<Exec, T>(exec, to, weight, how, row_begin, half_of_pair);
  }

  static constexpr extent room = 7;
  static extent each(const gemm::row_groups<Kokkos::HostSpace>& groups) { return groups.offset(1); }
  template <class T>
  static std::vector<T> line_up(const gemm::rows<T, Kokkos::HostSpace>& from, extent each,
                                const detail::pieces_of_groups::piece& piece) {
    std::vector<T> to(static_cast<std::size_t>(piece.groups * piece.rows * from.columns()));
    const detail::line_up_kernel<T, T, Kokkos::HostSpace> kernel{from, to.data(), each, piece};
    for (extent i = 0; i < static_cast<extent>(to.size()); ++i) kernel(i);
    return to;
  }

  template <class Exec, class A, class T, class Epilogue>
  static void product(const Exec&, const gemm::row_groups<Kokkos::HostSpace>& groups,
                      const gemm::rows<A, Kokkos::HostSpace>& a, const packed<Exec, T>& b, const Epilogue& epilogue) {
    const extent width = (Epilogue::paired ? 2 : 1) * b.columns;
    detail::pieces_of_groups(groups.groups(), each(groups), room, 1).for_each([&](const auto& piece) {
      const extent rows = piece.groups * piece.rows;
      if (rows > room) throw std::runtime_error("more rows than there is room for");
      const auto left = line_up(a, each(groups), piece);
      std::vector<double> sums(static_cast<std::size_t>(rows * width), std::numeric_limits<double>::quiet_NaN());
      call(detail::product_call(piece.groups, piece.rows, width, b.rows, b.k_stride, b.rows, piece.rows * b.rows),
           b.all.data() + piece.group * width * b.k_stride, left.data(), sums.data(), false);
      const detail::epilogue_kernel<double, Epilogue> kernel{sums.data(), each(groups), b.columns, piece, epilogue};
      for (extent i = 0; i < rows * detail::ceil_div(b.columns, 8); ++i) kernel(i);
    });
  }
  template <class Exec, class A, class D, class T, class View>
  static void weight_gradient(const Exec&, const gemm::row_groups<Kokkos::HostSpace>& groups,
                              const gemm::rows<A, Kokkos::HostSpace>& a, const gemm::rows<D, Kokkos::HostSpace>& d,
                              const packed<Exec, T>&, const View& gradient, bool accumulate) {
    const extent k = a.columns(), n = d.columns();
    detail::pieces_of_groups(groups.groups(), each(groups), room, 1).for_each([&](const auto& piece) {
      const auto left = line_up(a, each(groups), piece), right = line_up(d, each(groups), piece);
      call(detail::gradient_call(piece.groups, piece.rows, k, n, k, piece.rows * k, n, piece.rows * n), right.data(),
           left.data(), gradient.data() + piece.group * k * n, accumulate || piece.row > 0);
    });
  }
};

} // namespace

TEST_CASE("a BLAS is told the right matrices, in pieces of equal groups") {
  using engine = engine_on_a_blas;
  for (const std::vector<extent>& sizes : {std::vector<extent>{5}, {3, 3, 3, 3, 3}, {9, 9}, {23}, {1, 1, 1}}) {
    CAPTURE(sizes);
    CHECK(product_error<engine, exec_space, double, double>(sizes, 6, 11, shape::plain, true, true) == 0);
    CHECK(product_error<engine, exec_space, double, double>(sizes, 5, 8, shape::stacked, false, true) == 0);
    CHECK(product_error<engine, exec_space, double, double>(sizes, 3, 17, shape::paired, true, true) == 0);
    CHECK(gradient_error<engine, exec_space, double, double, double>(sizes, 5, 9, false, true) == 0);
    CHECK(gradient_error<engine, exec_space, double, double, double>(sizes, 4, 3, true, true) == 0);
  }
}
