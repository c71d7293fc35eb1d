// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/model/detail/embedding_kernels.hpp>

/// \file
/// Token embedding:  forward  x_t = T(D ∘ E[token_t])    backward  dE[v] (=|+=) sum over t with token_t = v of D ∘ dx_t
///
/// A token outside of [0, vocabulary) reads zeros and gives no gradient: it never becomes an index. The sum runs over
/// t = 0, 1, 2, ...: a task owns some columns of some rows of E and walks all tokens, so there is nothing atomic. With
/// tied embeddings E is also the projection of the loss, whose gradient comes first; this one is then added.
///
/// Where several ranks share the vocabulary, each has the rows of E from `first_token` on: x is then a part of a sum,
/// in which all but one rank have zeros (so D comes after it), and the gradient is that of the rows here.

namespace switchyard::model {

/// table [vocabulary here, M], tokens [rows] -> x [rows, M].
template <class Exec, class Table, class Tokens, class Real, class X>
void embed(const Exec& exec, const Table& table, const Tokens& tokens, const dropout<Real>& drop, const X& x,
           std::int64_t first_token = 0) {
  using T = typename X::non_const_value_type;
  using kernel = detail::embed_kernel<T, typename Table::non_const_value_type, typename Exec::memory_space>;
  for_each_index("switchyard::model::embed", exec, detail::extent(x, 0), kernel{table, tokens, drop, x, first_token});
}

/// dx [rows, M], tokens [rows] -> gradient [vocabulary here, M], all of it written or (accumulate) added to.
template <class Exec, class Tokens, class DX, class Real, class Gradient>
void embed_backward(const Exec& exec, const Tokens& tokens, const DX& dx, const dropout<Real>& drop,
                    const Gradient& gradient, bool accumulate, std::int64_t first_token = 0) {
  using T = typename DX::non_const_value_type;
  using kernel = detail::embed_gradient_kernel<T, typename Gradient::value_type, typename Exec::memory_space>;
  const std::int64_t pieces = (detail::extent(dx, 1) + kernel::Width - 1) / kernel::Width;
  for_each_index("switchyard::model::embed_backward", exec, pieces * kernel::Ranges,
                 kernel{tokens, dx, drop, gradient, accumulate, pieces, first_token});
}

} // namespace switchyard::model
