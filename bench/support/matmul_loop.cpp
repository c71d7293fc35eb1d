// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support/matmul_loop.hpp"
#include <algorithm>
#include <switchyard/config.hpp>

#if SWITCHYARD_HAS_ONEDNN
#include <oneapi/dnnl/dnnl.hpp>

namespace bench {
namespace {

using dnnl::memory;

/// One product of one expert: c = a b.
struct call {
  dnnl::matmul primitive;
  memory a, b, c;
};

memory::data_type type_of(number n) {
  return n == number::fp32 ? memory::data_type::f32 : memory::data_type::bf16;
}

} // namespace

struct matmul_loop::parts {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  mutable dnnl::stream stream{engine};
  memory::data_type type;
  std::int64_t m, f;
  std::vector<std::int64_t> offset;
  std::vector<call> up, down, d_hidden, d_input, d_wi, d_wo; // of the experts that have rows
  std::vector<std::int64_t> first;                           // first row of each of them
  std::vector<std::size_t> expert;

  memory::desc plain(std::int64_t rows, std::int64_t columns) const {
    return {{rows, columns}, type, memory::format_tag::ab};
  }

  /// a [rows, k] b [k, n], b from `weights`, which holds b or, `turned`, b transposed.
  call product(std::int64_t rows, std::int64_t k, std::int64_t n, const float* weights, bool turned, bool relu) {
    dnnl::primitive_attr attributes;
    if (relu) {
      dnnl::post_ops after;
      after.append_eltwise(dnnl::algorithm::eltwise_relu, 0, 0);
      attributes.set_post_ops(after);
    }
    const memory::desc any({k, n}, type, memory::format_tag::any);
    const dnnl::matmul::primitive_desc what(engine, plain(rows, k), any, plain(rows, n), attributes);
    const memory from({{k, n}, memory::data_type::f32, turned ? memory::format_tag::ba : memory::format_tag::ab},
                      engine, const_cast<float*>(weights));
    memory packed(what.weights_desc(), engine);
    memory source = from;
    dnnl::reorder(source, packed).execute(stream, source, packed);
    stream.wait();
    return {dnnl::matmul(what), memory(what.src_desc(), engine, nullptr), packed,
            memory(what.dst_desc(), engine, nullptr)};
  }

  /// a^T b into float, a [rows, k], b [rows, n].
  call gradient(std::int64_t rows, std::int64_t k, std::int64_t n) {
    const memory::desc a({k, rows}, type, memory::format_tag::ba), b = plain(rows, n);
    const memory::desc c({k, n}, memory::data_type::f32, memory::format_tag::ab);
    const dnnl::matmul::primitive_desc what(engine, a, b, c);
    return {dnnl::matmul(what), memory(a, engine, nullptr), memory(b, engine, nullptr), memory(c, engine, nullptr)};
  }

  void run(const call& one, const void* a, const void* b, void* c) const {
    one.a.set_data_handle(const_cast<void*>(a));
    if (b != nullptr) one.b.set_data_handle(const_cast<void*>(b));
    one.c.set_data_handle(c);
    one.primitive.execute(stream, {{DNNL_ARG_SRC, one.a}, {DNNL_ARG_WEIGHTS, one.b}, {DNNL_ARG_DST, one.c}});
  }
  /// Row `row` of a matrix of so many columns.
  template <class P>
  P* at(P* base, std::int64_t row, std::int64_t columns) const {
    using byte = std::conditional_t<std::is_const_v<P>, const char, char>;
    return static_cast<byte*>(base) + static_cast<std::size_t>(row * columns) * memory::data_type_size(type);
  }
};

matmul_loop::matmul_loop(number n, std::int64_t d_model, std::int64_t d_ff, const std::vector<std::int64_t>& offset,
                         const float* wi, const float* wo, bool backward)
    : parts_(std::make_unique<parts>()) {
  auto& p = *parts_;
  p.type = type_of(n);
  p.m = d_model;
  p.f = d_ff;
  p.offset = offset;
  for (std::size_t e = 0; e + 1 < offset.size(); ++e) {
    const std::int64_t rows = offset[e + 1] - offset[e];
    if (rows == 0) continue;
    const float* up = wi + static_cast<std::int64_t>(e) * d_model * d_ff;
    const float* down = wo + static_cast<std::int64_t>(e) * d_model * d_ff;
    p.first.push_back(offset[e]);
    p.expert.push_back(e);
    p.up.push_back(p.product(rows, d_model, d_ff, up, false, true));
    p.down.push_back(p.product(rows, d_ff, d_model, down, false, false));
    if (!backward) continue;
    p.d_hidden.push_back(p.product(rows, d_model, d_ff, down, true, false));
    p.d_input.push_back(p.product(rows, d_ff, d_model, up, true, false));
    p.d_wi.push_back(p.gradient(rows, d_model, d_ff));
    p.d_wo.push_back(p.gradient(rows, d_ff, d_model));
  }
}

matmul_loop::matmul_loop(number n, std::int64_t k, std::int64_t columns, const std::vector<std::int64_t>& offset,
                         const float* w)
    : parts_(std::make_unique<parts>()) {
  auto& p = *parts_;
  p.type = type_of(n);
  p.m = k;
  p.f = columns;
  p.offset = offset;
  for (std::size_t e = 0; e + 1 < offset.size(); ++e) {
    const std::int64_t rows = offset[e + 1] - offset[e];
    if (rows == 0) continue;
    p.first.push_back(offset[e]);
    p.expert.push_back(e);
    p.up.push_back(p.product(rows, k, columns, w + static_cast<std::int64_t>(e) * k * columns, false, false));
    p.d_wi.push_back(p.gradient(rows, k, columns));
  }
}

matmul_loop::~matmul_loop() = default;

bool matmul_loop::available(number n) {
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const memory::desc some({16, 16}, type_of(n), memory::format_tag::ab);
  return dnnl::matmul::primitive_desc(engine, some, some, some, {}, true /* or empty */).get(true) != nullptr;
}

void matmul_loop::product(const void* rows, void* c) const {
  const auto& p = *parts_;
  for (std::size_t i = 0; i < p.up.size(); ++i)
    p.run(p.up[i], p.at(rows, p.first[i], p.m), nullptr, p.at(c, p.first[i], p.f));
  p.stream.wait();
}

void matmul_loop::gradient(const void* rows, const void* d, float* dw) const {
  const auto& p = *parts_;
  const std::size_t size = static_cast<std::size_t>(p.m * p.f);
  std::size_t next = 0;
  for (std::size_t i = 0; i < p.d_wi.size(); ++i, ++next) {
    for (; next < p.expert[i]; ++next) std::fill_n(dw + next * size, size, 0.0f); // nobody came
    p.run(p.d_wi[i], p.at(rows, p.first[i], p.m), p.at(d, p.first[i], p.f), dw + next * size);
  }
  for (; next + 1 < p.offset.size(); ++next) std::fill_n(dw + next * size, size, 0.0f);
  p.stream.wait();
}

void matmul_loop::forward(const void* rows, void* hidden, void* o) const {
  const auto& p = *parts_;
  for (std::size_t i = 0; i < p.up.size(); ++i) {
    p.run(p.up[i], p.at(rows, p.first[i], p.m), nullptr, p.at(hidden, p.first[i], p.f));
    p.run(p.down[i], p.at(hidden, p.first[i], p.f), nullptr, p.at(o, p.first[i], p.m));
  }
  p.stream.wait();
}

void matmul_loop::d_hidden(const void* d_o, void* d_hidden) const {
  const auto& p = *parts_;
  for (std::size_t i = 0; i < p.d_hidden.size(); ++i)
    p.run(p.d_hidden[i], p.at(d_o, p.first[i], p.m), nullptr, p.at(d_hidden, p.first[i], p.f));
  p.stream.wait();
}

void matmul_loop::backward(const void* rows, const void* hidden, const void* d_o, const void* d_pre, void* dx,
                           float* dwi, float* dwo) const {
  const auto& p = *parts_;
  const std::size_t size = static_cast<std::size_t>(p.m * p.f);
  std::size_t next = 0;
  for (std::size_t i = 0; i < p.d_input.size(); ++i) {
    const auto row = p.first[i];
    for (; next < p.expert[i]; ++next) { // nobody came: the gradient is zero
      std::fill_n(dwi + next * size, size, 0.0f);
      std::fill_n(dwo + next * size, size, 0.0f);
    }
    next = p.expert[i] + 1;
    p.run(p.d_input[i], p.at(d_pre, row, p.f), nullptr, p.at(dx, row, p.m));
    p.run(p.d_wi[i], p.at(rows, row, p.m), p.at(d_pre, row, p.f), dwi + p.expert[i] * size);
    p.run(p.d_wo[i], p.at(hidden, row, p.f), p.at(d_o, row, p.m), dwo + p.expert[i] * size);
  }
  for (; next + 1 < p.offset.size(); ++next) {
    std::fill_n(dwi + next * size, size, 0.0f);
    std::fill_n(dwo + next * size, size, 0.0f);
  }
  p.stream.wait();
}

} // namespace bench

#else

namespace bench {

struct matmul_loop::parts {};
matmul_loop::matmul_loop(number, std::int64_t, std::int64_t, const std::vector<std::int64_t>&, const float*,
                         const float*, bool) {}
matmul_loop::matmul_loop(number, std::int64_t, std::int64_t, const std::vector<std::int64_t>&, const float*) {}
matmul_loop::~matmul_loop() = default;
bool matmul_loop::available(number) {
  return false;
}
void matmul_loop::product(const void*, void*) const {}
void matmul_loop::gradient(const void*, const void*, float*) const {}
void matmul_loop::forward(const void*, void*, void*) const {}
void matmul_loop::d_hidden(const void*, void*) const {}
void matmul_loop::backward(const void*, const void*, const void*, const void*, void*, float*, float*) const {}

} // namespace bench

#endif
