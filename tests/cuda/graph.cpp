// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <switchyard/switchyard.hpp>

#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

// forward and backward of the layer of one GPU, captured in a CUDA graph and replayed: capturing fails where anything
// waits for the host, and a replay must give the bytes of the plain calls, for the x of its own time.

namespace sy = switchyard;
using exec_space = Kokkos::Cuda;

namespace {

void succeed(cudaError_t result, const char* what) {
  if (result == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(result));
  std::exit(1);
}

template <class View>
void append_bytes(const exec_space& exec, const View& view, std::vector<std::byte>& to) {
  const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
  exec.fence("test: bytes are read");
  const auto* from = reinterpret_cast<const std::byte*>(host.data());
  to.insert(to.end(), from, from + host.size() * sizeof(typename View::value_type));
}

template <class P>
struct run {
  using layer_type = sy::switch_layer<exec_space, P>;
  using tokens = Kokkos::View<sy::value_of<P>***, Kokkos::LayoutRight, exec_space::memory_space>;

  exec_space exec;
  layer_type layer;
  std::int64_t groups, size;
  typename layer_type::packed_type packed;
  typename layer_type::gradients_type gradients;
  typename layer_type::tape_type tape;
  tokens x, dy, y, dx;

  run(const exec_space& e, const sy::switch_config& config, std::int64_t g, std::int64_t t)
      : exec(e), layer(config), groups(g), size(t), packed(layer.pack(exec, layer.init(exec, sy::seed{42}))),
        gradients(layer.zeros(exec)), tape(layer.make_tape(exec, groups, size)), x(make("x")), dy(make("dy")),
        y(make("y")), dx(make("dx")) {
    fill(dy, 7);
  }
  tokens make(const char* name) const {
    return tokens(name, static_cast<std::size_t>(groups), static_cast<std::size_t>(size),
                  static_cast<std::size_t>(layer.config().d_model));
  }
  void fill(const tokens& view, unsigned seed) const {
    const auto host = Kokkos::create_mirror_view(view);
    std::mt19937 source(seed);
    std::normal_distribution<float> draw;
    for (std::size_t i = 0; i < host.size(); ++i) host.data()[i] = sy::value_of<P>(draw(source));
    Kokkos::deep_copy(exec, view, host);
    exec.fence("test: numbers are on the device");
  }
  void pass() {
    layer.forward(exec, packed, x, y, tape);
    layer.backward(exec, packed, dy, dx, tape, gradients);
  }
  /// Of all that a pass makes; then they are no longer there.
  std::vector<std::byte> results() const {
    std::vector<std::byte> bytes;
    append_bytes(exec, y, bytes);
    append_bytes(exec, dx, bytes);
    append_bytes(exec, gradients.router, bytes);
    append_bytes(exec, gradients.wi, bytes);
    append_bytes(exec, gradients.wo, bytes);
    append_bytes(exec, tape.statistics.result, bytes);
    Kokkos::deep_copy(exec, y, sy::value_of<P>(9.0f)); // nvcc mangles loops over lists in braces
    Kokkos::deep_copy(exec, dx, sy::value_of<P>(9.0f));
    Kokkos::deep_copy(exec, gradients.wi, 9.0f);
    Kokkos::deep_copy(exec, gradients.wo, 9.0f);
    Kokkos::deep_copy(exec, gradients.router, 9.0f);
    Kokkos::deep_copy(exec, tape.statistics.result, 9.0);
    exec.fence("test: the next pass starts from nothing");
    return bytes;
  }
};

template <class P>
bool replays(const char* name, cudaStream_t stream, const sy::switch_config& config) {
  run<P> r(exec_space(stream), config, 2, 320);
  std::vector<std::vector<std::byte>> expected;
  for (const unsigned seed : {1u, 2u}) { // the first pass also takes what memory it needs
    r.fill(r.x, seed);
    r.pass();
    expected.push_back(r.results());
  }
  if (expected[0] == expected[1]) return std::fprintf(stderr, "%s: x makes no difference\n", name), false;

  cudaGraph_t graph = nullptr;
  cudaGraphExec_t ready = nullptr;
  succeed(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "begin capture");
  r.pass();
  succeed(cudaStreamEndCapture(stream, &graph), "end capture: something waited for the host");
  succeed(cudaGraphInstantiate(&ready, graph, 0), "instantiate");
  bool right = true;
  for (const unsigned seed : {1u, 2u, 1u}) {
    r.fill(r.x, seed);
    succeed(cudaGraphLaunch(ready, stream), "launch");
    const bool same = r.results() == expected[seed - 1];
    std::printf("%s, replay with x %u: %s\n", name, seed, same ? "the same bytes" : "OTHER BYTES");
    right = right && same;
  }
  succeed(cudaGraphExecDestroy(ready), "destroy");
  succeed(cudaGraphDestroy(graph), "destroy");
  return right;
}

} // namespace

int main(int count, char** arguments) {
  Kokkos::ScopeGuard kokkos(count, arguments);
  cudaStream_t stream = nullptr;
  succeed(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  using half_precision = sy::selective<sy::bfloat16>;
  const sy::switch_config switch_base{.d_model = 256, .d_ff = 512, .experts = 16};
  sy::switch_config noisy = switch_base, gated = switch_base, ragged = switch_base;
  noisy.jitter = 0.01;
  noisy.expert_dropout = 0.1;
  noisy.routing = sy::routing_policy::no_token_left_behind;
  gated.routing = sy::routing_policy::top_k;
  gated.k = 3;
  gated.activation = sy::activation_kind::silu;
  gated.gated = true;
  ragged.dropless = true;
  bool right = replays<half_precision>("top-1", stream, switch_base);
  right = replays<half_precision>("no token left behind", stream, noisy) && right;
  right = replays<half_precision>("top-3, gated", stream, gated) && right;
  right = replays<half_precision>("dropless", stream, ragged) && right;
  succeed(cudaStreamDestroy(stream), "destroy");
  return right ? 0 : 1;
}
