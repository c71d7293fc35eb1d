// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "harness.hpp"
#include "support.hpp"
#include <algorithm>
#include <switchyard/model/generate.hpp>

// What decoding with a cache writes is what the model, reading all of it at once, finds most likely.

using namespace switchyard_test;

namespace {

using P = sy::uniform<double>;
using generator_type = sy::text_generator<Exec, P>;
constexpr std::int64_t length = 9;

struct writer {
  Exec exec{};
  model_job job;
  sy::transformer<Exec, P> model;
  generator_type text;
  sy::transformer<Exec, P>::packed_type packed;

  explicit writer(const model_job& j)
      : job(j), model(j.config), text(exec, j.config, j.batch, j.source_length, length),
        packed(model.pack(exec, model.init(exec, sy::seed{j.seed}))) {}

  static generator_type::tokens_view view(const std::vector<std::int32_t>& tokens, std::int64_t batch) {
    const auto columns = tokens.size() / static_cast<std::size_t>(batch);
    const generator_type::result_view to("tokens", static_cast<std::size_t>(batch), columns);
    const auto host = Kokkos::create_mirror_view(to);
    std::copy(tokens.begin(), tokens.end(), host.data());
    Kokkos::deep_copy(to, host);
    return to;
  }
  std::vector<std::int32_t> write(const sy::generation_options& options, const std::vector<std::int32_t>& prompt = {}) {
    const auto source = job.config.has_encoder() ? view(job.source, job.batch) : generator_type::tokens_view();
    const auto from = prompt.empty() ? generator_type::tokens_view() : view(prompt, job.batch);
    const auto tokens = text.generate(exec, packed, source, from, options);
    const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), tokens);
    return {host.data(), host.data() + host.size()};
  }
};

model_job job_of(bool encoder) {
  model_job j = small_job();
  j.config.routing.dropless = true;
  if (!encoder) j.config.encoder_layers = 0;
  j.training = j.backward = false;
  j.target_length = length;
  return j;
}

const model_subject* in_double() {
  for (const model_subject& s : model_subjects())
    if (s.unit_roundoff < 1e-15) return &s;
  return nullptr;
}

} // namespace

TEST_CASE("generate: greedy tokens are those that the whole forward finds most likely", "[model]") {
  if (in_double() == nullptr) return;
  for (const bool encoder : {true, false})
    for (const std::uint64_t seed : {5u, 6u, 7u}) {
      model_job j = job_of(encoder);
      j.seed = seed;
      writer w(j);
      sy::generation_options options;
      options.end_token = -1;
      j.target = w.write(options);
      CHECK(w.write(options) == j.target); // the cache of the first call is no part of the second
      const auto o = in_double()->run(j);
      INFO((encoder ? "encoder and decoder" : "decoder") << ", seed " << seed << ", " << o.targets << " tokens");
      CHECK(o.accuracy == (o.targets > 0 ? 1 : 0));
      j.target[0] = j.target[0] % 10 + 1; // the control: another first token is less likely
      CHECK(in_double()->run(j).accuracy < 1);
    }
}

TEST_CASE("generate: prompts, ends, draws", "[model]") {
  model_job j = job_of(true);
  writer w(j);
  sy::generation_options options;
  options.temperature = 2;
  options.end_token = -1;
  const auto drawn = w.write(options);
  CHECK(w.write(options) == drawn);
  options.seed = 1;
  CHECK(w.write(options) != drawn);
  options.temperature = 1e-6;
  const auto cold = w.write(options);
  options.temperature = 0;
  CHECK(w.write(options) == cold);

  const auto prompted = w.write(options, {3, 4, 5, 6}); // two tokens of each of two sequences
  CHECK((prompted[0] == 3 && prompted[1] == 4 && prompted[length] == 5 && prompted[length + 1] == 6));
  options.end_token = 4;
  const auto ended = w.write(options, {3, 4, 4, 6});
  CHECK((ended[0] == 3 && ended[1] == 4 && ended[length] == 4));
  CHECK(std::all_of(ended.begin() + 2, ended.begin() + length, [](std::int32_t t) { return t == 0; }));
  CHECK(std::all_of(ended.begin() + length + 1, ended.end(), [](std::int32_t t) { return t == 0; }));

  options.temperature = -1;
  CHECK_THROWS_AS(w.write(options), sy::invalid_argument);
  j.config.routing.routing = sy::routing_policy::expert_choice;
  CHECK_THROWS_AS(generator_type(w.exec, j.config, 2, 5, 4), sy::invalid_argument);
}
