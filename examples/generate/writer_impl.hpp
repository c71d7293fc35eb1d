// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "writer.hpp"
#include <algorithm>
#include <switchyard/model.hpp>
#include <switchyard/train/checkpoint.hpp>
#include <switchyard/train/checkpoint_views.hpp>

namespace generate_example {

/// The weights of a checkpoint, of any number of ranks; what else it has stays there.
template <class Exec, class Model>
typename Model::weights_type load_weights(const Exec& exec, const Model& model, const std::filesystem::path& path) {
  const auto weights = model.init(exec, {}); // every element is written to
  switchyard::train::views_to_save views;
  for_each_parameter([&](const std::string& name, const auto& view) { views.add(name, view); }, weights);
  switchyard::train::load_checkpoint(switchyard::self(), path, views.slices(), {.allow_extra = true});
  views.from_host();
  return weights;
}

template <switchyard::precision P>
std::vector<std::string> write_in(const train_example::settings& s, const std::filesystem::path& checkpoint,
                                  const request& r) {
  namespace sy = switchyard;
  using exec_type = Kokkos::DefaultExecutionSpace;
  using model_type = sy::transformer<exec_type, P>;
  const exec_type exec;
  const auto tokenizer = train_example::make_tokenizer(s.tokenizer);
  sy::transformer_config sizes = train_example::model_of(s);
  sizes.vocabulary = tokenizer.special().vocabulary;
  sizes.pad_token = tokenizer.special().pad;
  const model_type model(sizes);
  const bool has_encoder = model.config().has_encoder();
  const auto packed = model.pack(exec, load_weights(exec, model, checkpoint));

  std::vector<std::vector<std::int32_t>> texts;
  std::size_t longest = 1;
  for (const std::string& text : r.texts) {
    texts.push_back(encode(tokenizer, text, has_encoder));
    longest = std::max(longest, texts.back().size());
  }
  std::vector<std::string> written;
  for (std::size_t i = 0; i < texts.size(); ++i) { // one by one: prompts of a decoder differ in length
    const std::size_t read = has_encoder ? longest : texts[i].size();
    const typename sy::text_generator<exec_type, P>::result_view tokens("switchyard::generate::tokens", 1, read);
    const auto host = Kokkos::create_mirror_view(tokens); // zero: padding
    std::copy(texts[i].begin(), texts[i].end(), host.data());
    Kokkos::deep_copy(tokens, host);
    const auto prompt = has_encoder ? 0 : static_cast<std::int64_t>(read);
    sy::text_generator<exec_type, P> generator(exec, model.config(), 1, static_cast<std::int64_t>(read),
                                               prompt + r.length);
    const typename model_type::tokens_view source = tokens, nothing;
    const auto result =
        generator.generate(exec, packed, has_encoder ? source : nothing, has_encoder ? nothing : source,
                           {.temperature = r.temperature, .end_token = tokenizer.special().eos, .seed = r.seed + i});
    const auto back = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), result);
    const std::vector<std::int32_t> result_tokens(back.data() + prompt, back.data() + back.size());
    written.push_back(decode(tokenizer, r.texts[i], result_tokens, has_encoder));
  }
  return written;
}

} // namespace generate_example
