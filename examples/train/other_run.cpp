// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "other_run.hpp"
#include <fstream>
#include <iterator>

namespace train_example {
namespace {

std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw sy::file_error(path + ": cannot be read; the other run's tokenizer must be where it was");
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// Same numbers for the same text? Files of the same name are the same.
bool same_tokens(const std::string& a, const std::string& b) {
  return a == b || (!a.empty() && !b.empty() && bytes_of(a) == bytes_of(b));
}

} // namespace

std::string said_by(const std::exception& problem) {
  const std::string what = problem.what(), prefix = "switchyard: ";
  return what.starts_with(prefix) ? what.substr(prefix.size()) : what;
}

std::optional<other_run> find_other_run(const settings& s, const sy::communicator& world,
                                        const sy::transformer_config& here) {
  const std::string& folder = !s.distill.empty() ? s.distill : !s.upcycle.empty() ? s.upcycle : s.finetune;
  if (folder.empty()) return std::nullopt;
  const char* name = !s.distill.empty() ? "--distill" : !s.upcycle.empty() ? "--upcycle" : "--finetune";
  using sy::detail::require;
  other_run other{std::string(name) + " = " + folder, {}, {}, {}};
  sy::run_in_agreement(world, [&] {
    try {
      other.asked = settings_of_run(folder);
      require(same_tokens(other.asked.tokenizer, s.tokenizer), "it has ",
              other.asked.tokenizer.empty() ? "bytes for tokens" : "the tokenizer " + other.asked.tokenizer,
              "; give the same --tokenizer");
    } catch (const std::exception& problem) {
      throw sy::invalid_argument(other.option + ": " + said_by(problem));
    }
  });
  const auto path = sy::train::newest_checkpoint(world, folder);
  require(path.has_value(), other.option, ": has no complete checkpoint; train that run to its end");
  other.checkpoint = *path;
  other.model = model_of(other.asked);
  other.model.vocabulary = here.vocabulary;
  other.model.pad_token = here.pad_token;

  require((other.asked.precision == number_type::f64) == (s.precision == number_type::f64), other.option,
          ": its weights are in ", other.asked.precision == number_type::f64 ? "double" : "float",
          "; give the --precision of that run");
  const sy::transformer_config &a = other.model, &b = here;
  const auto sparse = [](const sy::transformer_config& c) { return c.sparse != sy::sparse_pattern::none; };
  if (!s.distill.empty()) {
    require(!sparse(b), other.option, ": this model has experts, but a dense one is distilled into; give --experts 0");
    require(a.has_encoder() == b.has_encoder(), other.option,
            ": of the two models one has an encoder, so they read text in different ways; give a --preset like its");
    const std::int64_t shares = mesh_of(s, world.size())[2];
    require(shares == 1, "--mesh = ", s.mesh, ": ", shares,
            " ranks share the vocabulary, but --distill wants all of it on each; use data or replica for them");
    return other;
  }
  const bool same = a.d_model == b.d_model && a.d_ff == b.d_ff && a.heads == b.heads && a.d_kv == b.d_kv &&
                    a.encoder_layers == b.encoder_layers && a.decoder_layers == b.decoder_layers &&
                    a.gated == b.gated && a.tied == b.tied;
  require(same, other.option, ": its model has other sizes than this one; give those options again, or --config ",
          folder, "/config.json");
  if (!s.upcycle.empty())
    require(!sparse(a) && sparse(b), other.option, ": must be a run of a dense model, and this one must have experts",
            sparse(a) ? "; to go on with that model use --finetune" : "; give --experts N");
  else
    require(a.sparse == b.sparse &&
                (!sparse(a) || (a.sparse_n == b.sparse_n && a.routing.experts == b.routing.experts)),
            other.option, ": its model has other experts than this one; give those options again, or --config ", folder,
            "/config.json");
  return other;
}

} // namespace train_example
