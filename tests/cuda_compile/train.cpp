// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <switchyard/train.hpp>

#include "gate.hpp"

// The kernels of training, without the model's, which model.cpp has.

using space = Kokkos::Cuda::memory_space;
using weights_type = sy::transformer_parameters<precision::weight_type, space>;
using gradients_type = sy::transformer_parameters<precision::gradient_type, space>;
using value = sy::value_of<precision>;
using acc = sy::accumulate_t<value>;

void use_training(const Kokkos::Cuda& exec, sy::train::optimizer<Kokkos::Cuda, gradients_type>& optimizer,
                  sy::train::norm_of_gradients<Kokkos::Cuda, gradients_type>& norm, const weights_type& weights,
                  const gradients_type& gradients) {
  optimizer.update(exec, {}, weights, gradients);
  norm(exec, sy::self(), gradients, 1);
  sy::train::copy_parameters(exec, weights, weights);
  const Kokkos::RangePolicy<Kokkos::Cuda, Kokkos::IndexType<std::int64_t>> rows(exec, 0, 1);
  Kokkos::parallel_for("sequence_loss", rows, sy::train::detail::sequence_loss_kernel<space>{});
  Kokkos::parallel_for("soft_loss", rows, sy::train::detail::soft_loss_kernel<acc, space>{});
  Kokkos::parallel_for("soft_gradient", rows, sy::train::detail::soft_gradient_kernel<value, space>{});
}
