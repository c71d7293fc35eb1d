// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "writer.hpp"
#include <CLI/CLI.hpp>
#include <Kokkos_Core.hpp>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <switchyard/train/checkpoint.hpp>
#include <unistd.h>

// Talks to a trained model: the gaps of a text, or its end, as the model would write them. generate --help.

namespace {

namespace fs = std::filesystem;
using generate_example::request;

std::vector<std::string> write(const train_example::settings& s, const fs::path& checkpoint, const request& r) {
  return s.precision == train_example::number_type::f64 ? generate_example::write_f64(s, checkpoint, r)
                                                        : generate_example::write_f32(s, checkpoint, r);
}

/// Bytes that are no UTF-8 become question marks: models of bytes write such.
std::string readable(const std::string& text) {
  using nlohmann::json;
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace)).get<std::string>();
}

} // namespace

int main(int count, char** arguments) {
  std::string run, checkpoint, json_file;
  request r;
  CLI::App app("Writes text with a model that train has trained. A text with ___ in it has its gaps filled in; a model "
               "that is a decoder alone goes on with it.",
               "generate");
  app.add_option("--run", run, "folder of a run, the --out of train")->required();
  app.add_option("--checkpoint", checkpoint, "another checkpoint than the run's newest");
  app.add_option("--length", r.length, "bytes to write, at most")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--temperature", r.temperature, "0: the likeliest; 1: as the model has learned")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--seed", r.seed, "of the draws")->capture_default_str();
  app.add_option("--json", json_file, "file for what was written: [{\"prompt\": ..., \"text\": ...}, ...]");
  app.add_option("text", r.texts, "texts; without any, lines that are typed in");
  try {
    app.parse(count, arguments);
    const auto s = train_example::settings_of_run(run);
    const auto newest = switchyard::train::newest_checkpoint(fs::path(run));
    if (checkpoint.empty() && !newest) throw std::runtime_error(run + " has no complete checkpoint; train to its end");
    const fs::path from = checkpoint.empty() ? *newest : fs::path(checkpoint);
    const Kokkos::ScopeGuard kokkos(Kokkos::InitializationSettings().set_disable_warnings(true));
    if (r.texts.empty()) {
      const bool asks = isatty(STDIN_FILENO) == 1;
      for (std::string line; (asks ? std::cout << "> " << std::flush : std::cout) && std::getline(std::cin, line);) {
        if (line.empty()) continue;
        r.texts = {line};
        std::cout << readable(write(s, from, r).at(0)) << '\n';
      }
      return 0;
    }
    const auto written = write(s, from, r);
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < written.size(); ++i) {
      std::cout << readable(written[i]) << '\n';
      all.push_back({{"prompt", readable(r.texts[i])}, {"text", readable(written[i])}});
    }
    if (!json_file.empty()) {
      std::ofstream file(json_file);
      file << all.dump(1) << '\n' << std::flush;
      if (!file) throw std::runtime_error(json_file + " cannot be written; name another file");
    }
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& problem) {
    std::cerr << "generate: " << problem.what() << "; see generate --help\n";
    return 1;
  } catch (const std::exception& problem) {
    std::cerr << "generate: " << problem.what() << '\n';
    return 1;
  }
  return 0;
}
