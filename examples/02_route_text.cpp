// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "02_route_text.hpp"
#include <CLI/CLI.hpp>
#include <switchyard/switchyard.hpp>

// A Switch layer routes a real text, byte by byte, forward and backward.
//
// Each byte becomes a vector: a fixed random embedding of itself with a little of the two before it. The layer learns,
// by plain SGD, to say which byte comes next (its embedding, in the least-squares sense), while the load-balancing loss
// keeps the experts evenly busy. What the router does with the text is shown before and after.

namespace sy = switchyard;
using namespace route_text;

namespace {

using exec_type = Kokkos::DefaultExecutionSpace;
using layer_type = sy::switch_layer<exec_type>; // selective<bfloat16>, one process
using space = layer_type::space;
using tokens_view = Kokkos::View<layer_type::value***, Kokkos::LayoutRight, space>; // [group, token, d_model]
using bytes_view = Kokkos::View<std::uint8_t*, space>;
using table_view = Kokkos::View<float**, Kokkos::LayoutRight, space>; // [256, d_model]
using range = Kokkos::RangePolicy<exec_type, Kokkos::IndexType<std::int64_t>>;

constexpr std::int64_t d_model = 64, d_ff = 128;
constexpr std::int64_t groups = 32, group_size = 1024, batch = groups * group_size; // bytes that are routed together
constexpr std::int64_t before = 2, after = 1;                                       // neighbours of a batch in the text

/// x_t = (E[b_t] + E[b_t-1] / 2 + E[b_t-2] / 4) / norm.
struct embed {
  bytes_view bytes; // [before + batch + after]
  table_view table;
  tokens_view x;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const std::int64_t t = before + i / d_model, m = i % d_model;
    const float sum = table(bytes(t), m) + 0.5f * table(bytes(t - 1), m) + 0.25f * table(bytes(t - 2), m);
    x.data()[i] = sy::bfloat16(sum * 0.87287156f); // 1 / sqrt(1 + 1/4 + 1/16)
  }
};

/// sum (=) of (y - E[next byte])^2, and dy = scale * (y - E[next byte]).
struct next_byte_error {
  bytes_view bytes;
  table_view table;
  tokens_view y, dy;
  float scale;
  KOKKOS_FUNCTION void operator()(std::int64_t i, double& sum) const {
    const float error = float(y.data()[i]) - table(bytes(before + i / d_model + 1), i % d_model);
    sum += double(error) * double(error);
    dy.data()[i] = sy::bfloat16(scale * error);
  }
};

/// w -= rate * g.
struct descend {
  float* weight;
  const float* gradient;
  float rate;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const { weight[i] -= rate * gradient[i]; }
};

/// The layer, its weights, and memory for one batch.
class router_of_text {
 public:
  router_of_text(const exec_type& exec, const std::string& text, const sy::switch_config& config)
      : exec_(exec), text_(text), layer_(config), weights_(layer_.init(exec, sy::seed{42})),
        gradients_(layer_.zeros(exec)), packed_(layer_.pack(exec, weights_)),
        tape_(layer_.make_tape(exec, groups, group_size)) {
    const auto host = Kokkos::create_mirror_view(table_);
    const sy::generator draw(sy::seed{7}, sy::stream::user);
    for (std::size_t i = 0; i < host.size(); ++i) host.data()[i] = static_cast<float>(draw.normal(i, 0));
    Kokkos::deep_copy(exec_, table_, host);
    exec_.fence("the embedding is complete");
  }

  std::int64_t batches() const { return (static_cast<std::int64_t>(text_.size()) - before - after) / batch; }
  /// Spent in the passes of training.
  double forward_seconds() const { return forward_seconds_; }
  double backward_seconds() const { return backward_seconds_; }

  /// The whole text through the layer as it is.
  routing route() {
    routing r(static_cast<std::size_t>(layer_.config().experts));
    for (std::int64_t b = 0; b < batches(); ++b) {
      forward(b, false);
      const auto s = layer_.summary(exec_, tape_);
      r.load_balance += s.load_balance / static_cast<double>(batches());
      r.entropy += s.entropy / static_cast<double>(batches());
      r.confidence += s.confidence / static_cast<double>(batches());
      r.error += error() / static_cast<double>(batches());
      count(b, r);
    }
    return r;
  }

  /// One step of SGD on one batch; the router learns at a rate of its own.
  routing step(std::int64_t number, double rate, double router_rate) {
    const std::int64_t b = number % batches();
    forward(b, true, static_cast<std::uint32_t>(number));
    routing r(static_cast<std::size_t>(layer_.config().experts));
    r.error = error();
    r.load_balance = layer_.summary(exec_, tape_).load_balance;
    count(b, r);
    const Kokkos::Timer timer;
    layer_.backward(exec_, packed_, dy_, dx_, tape_, gradients_);
    exec_.fence("the backward is timed");
    backward_seconds_ += timer.seconds();
    update(weights_.router, gradients_.router, router_rate);
    update(weights_.wi, gradients_.wi, rate);
    update(weights_.wo, gradients_.wo, rate);
    layer_.pack(exec_, weights_, packed_);
    return r;
  }

  void start_timing() { forward_seconds_ = backward_seconds_ = 0; }

 private:
  void forward(std::int64_t b, bool training, std::uint32_t step = 0) {
    const auto host = Kokkos::create_mirror_view(bytes_);
    std::copy_n(text_.begin() + b * batch, batch + before + after, host.data());
    Kokkos::deep_copy(exec_, bytes_, host);
    Kokkos::parallel_for("embed", range(exec_, 0, batch * d_model), embed{bytes_, table_, x_});
    exec_.fence("the forward is timed");
    sy::forward_options<space> options;
    options.training = training;
    options.step = step;
    const Kokkos::Timer timer;
    layer_.forward(exec_, packed_, x_, y_, tape_, options);
    exec_.fence("the forward is timed");
    forward_seconds_ += timer.seconds();
  }

  /// Mean squared error per element, 1 for an answer of zero; leaves dy.
  double error() {
    double sum = 0;
    Kokkos::parallel_reduce("error", range(exec_, 0, batch * d_model),
                            next_byte_error{bytes_, table_, y_, dy_, 1.0f / static_cast<float>(batch)}, sum);
    return sum / static_cast<double>(batch * d_model);
  }

  /// Which byte went where.
  void count(std::int64_t b, routing& r) {
    const auto choice = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), tape_.decision.choice);
    const auto slot = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), tape_.decision.slot);
    for (std::int64_t t = 0; t < batch; ++t) {
      const auto expert = static_cast<std::size_t>(choice(t, 0));
      ++r.bytes[expert][static_cast<std::uint8_t>(text_[static_cast<std::size_t>(b * batch + before + t)])];
      if (slot(t, 0) >= 0) ++r.kept[expert];
    }
  }

  template <class View>
  void update(const View& weight, const View& gradient, double rate) {
    Kokkos::parallel_for("update", range(exec_, 0, static_cast<std::int64_t>(weight.size())),
                         descend{weight.data(), gradient.data(), static_cast<float>(rate)});
  }

  exec_type exec_;
  const std::string& text_;
  layer_type layer_;
  layer_type::weights_type weights_;
  layer_type::gradients_type gradients_;
  layer_type::packed_type packed_;
  layer_type::tape_type tape_;
  bytes_view bytes_{"bytes", before + batch + after};
  table_view table_{"embedding", 256, d_model};
  tokens_view x_{"x", groups, group_size, d_model}, y_{"y", groups, group_size, d_model};
  tokens_view dx_{"dx", groups, group_size, d_model}, dy_{"dy", groups, group_size, d_model};
  double forward_seconds_ = 0, backward_seconds_ = 0;
};

void run(const text& t, const sy::switch_config& config, std::int64_t steps, double rate, double router_rate) {
  const exec_type exec;
  router_of_text layer(exec, t.bytes, config);
  const std::int64_t routed = layer.batches() * batch;
  std::printf("  text    %d files, %.1f MB; %lld groups of %lld bytes are routed, each byte is a token\n", t.files,
              static_cast<double>(t.bytes.size()) / 1e6, static_cast<long long>(routed / group_size),
              static_cast<long long>(group_size));
  std::printf("  layer   %lld experts, d_model %lld, d_ff %lld, top-1, capacity factor %g, selective<bfloat16>\n",
              static_cast<long long>(config.experts), static_cast<long long>(config.d_model),
              static_cast<long long>(config.d_ff), config.capacity_factor);
  std::printf("  space   Kokkos::%s, concurrency %d\n\n", exec.name(), exec.concurrency());

  std::printf(
      "Every byte goes to one expert. An expert that is full drops what comes after: zeros, for the residual to fill.\n"
      "\nBefore training\n");
  print(layer.route());
  layer.start_timing();

  std::printf("\n%lld steps of SGD on %lld bytes each: which byte comes next? (error 1: no idea)\n",
              static_cast<long long>(steps), static_cast<long long>(batch));
  for (std::int64_t s = 0; s < steps; ++s) {
    const routing r = layer.step(s, rate, router_rate);
    if (s % std::max<std::int64_t>(1, steps / 6) == 0 || s + 1 == steps) {
      std::printf("  step %4lld   error %.3f   load-balance loss %.3f   dropped %4.1f %%\n", static_cast<long long>(s),
                  r.error, r.load_balance, 100 * r.dropped());
      std::fflush(stdout);
    }
  }
  const double trained = static_cast<double>(steps * batch) / 1e6;
  const double forward = trained / layer.forward_seconds(), backward = trained / layer.backward_seconds();

  std::printf("\nAfter training\n");
  print(layer.route());
  if (steps > 0)
    std::printf("\nSpeed: forward %.2f million tokens/s, backward %.2f million tokens/s\n", forward, backward);
}

} // namespace

int main(int count, char** arguments) {
  std::vector<std::string> files;
  double megabytes = 1, rate = 0.2, router_rate = 0.02;
  std::int64_t steps = 40;
  sy::switch_config config{.d_model = d_model, .d_ff = d_ff, .experts = 8, .load_balance = 8};
  config.init_scale = 1;

  CLI::App app{"A Switch layer routes a real text, byte by byte, forward and backward."};
  app.add_option("files", files, "Text files; without any, the licences and copyright notices of a Debian machine");
  app.add_option("--experts", config.experts, "Number of experts")->capture_default_str();
  app.add_option("--capacity-factor", config.capacity_factor, "Room per expert over an even share")
      ->capture_default_str();
  app.add_option("--load-balance", config.load_balance, "Coefficient of the loss")->capture_default_str();
  app.add_option("--megabytes", megabytes, "Read no more text than this")->capture_default_str();
  app.add_option("--steps", steps, "Steps of training")->capture_default_str();
  app.add_option("--rate", rate, "Learning rate of the experts")->capture_default_str();
  app.add_option("--router-rate", router_rate, "Learning rate of the router")->capture_default_str();
  CLI11_PARSE(app, count, arguments);

  if (files.empty()) files = text_of_this_machine();
  const text t = read(files, static_cast<std::size_t>(megabytes * 1e6));
  if (t.unreadable > 0) std::printf("(%d files could not be read)\n", t.unreadable);
  if (static_cast<std::int64_t>(t.bytes.size()) < batch + before + after) {
    std::fprintf(stderr, "02_route_text: %zu bytes of text: needs at least %lld; name more or larger files\n",
                 t.bytes.size(), static_cast<long long>(batch + before + after));
    return 1;
  }
  std::printf("A Switch layer routes a text\n");
  const Kokkos::ScopeGuard kokkos;
  try {
    run(t, config, steps, rate, router_rate);
  } catch (const sy::error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
