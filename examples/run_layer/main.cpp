// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "config.hpp"
#include "run.hpp"
#include "tensors.hpp"
#include <CLI/CLI.hpp>
#include <Kokkos_Core.hpp>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>

// One Switch layer, forward and backward, from a safetensors file into another: see README.md.

namespace {

struct request {
  std::string config, in, out;
  run_layer::precision precision = run_layer::precision::f64;
};

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file.is_open() || file.bad()) run_layer::fail("cannot be read; check the path and its permissions");
  return text;
}

/// What went wrong, without the library's name in front: the message starts with that of the program.
std::string plain(const std::exception& problem) {
  constexpr std::string_view prefix = "switchyard: ";
  const std::string what = problem.what();
  return what.starts_with(prefix) ? what.substr(prefix.size()) : what;
}

switchyard::switch_config read_config(const std::string& path) {
  try {
    return run_layer::parse_config(read_text(path));
  } catch (const std::exception& problem) {
    run_layer::fail(path, ": ", plain(problem));
  }
}

run_layer::problem read_tensors(const switchyard::switch_config& config, const std::string& path) {
  const auto file = switchyard::io::read_safetensors(path); // its messages have the path
  try {
    return run_layer::read_problem(config, file);
  } catch (const std::exception& problem) {
    run_layer::fail(path, ": ", plain(problem));
  }
}

void work(const request& r) {
  const auto problem = read_tensors(read_config(r.config), r.in);
  const Kokkos::ScopeGuard kokkos(Kokkos::InitializationSettings().set_disable_warnings(true));
  const run_layer::output_tensors tensors(problem, run_layer::run(problem, r.precision), r.precision);
  switchyard::io::write_safetensors(r.out, tensors.views());
}

} // namespace

int main(int count, char** arguments) {
  request r;
  CLI::App app("One Switch (Mixture-of-Experts) layer, forward and backward, between safetensors files.", "run_layer");
  app.add_option("--config", r.config, "JSON file: the policies of the layer")->required();
  app.add_option("--in", r.in, "safetensors file: x and the weights, dy for the backward, mask for padding")
      ->required();
  app.add_option("--out", r.out, "safetensors file to write")->required();
  const std::map<std::string, run_layer::precision> precisions{{"f64", run_layer::precision::f64},
                                                               {"f32", run_layer::precision::f32},
                                                               {"bf16", run_layer::precision::bf16},
                                                               {"f16", run_layer::precision::f16}};
  std::string precision = "f64";
  std::vector<std::string> names;
  for (const auto& [name, value] : precisions) names.push_back(name);
  app.add_option("--precision", precision, "types that the layer computes in")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  try {
    app.parse(count, arguments);
    r.precision = precisions.at(precision);
    work(r);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& problem) {
    std::cerr << "run_layer: " << problem.what() << "; see run_layer --help\n";
    return 1;
  } catch (const std::exception& problem) {
    std::cerr << "run_layer: " << plain(problem) << '\n';
    return 1;
  }
  return 0;
}
