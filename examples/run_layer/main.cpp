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
#include <switchyard/config.hpp>
#include <switchyard/mesh/agree.hpp>
#if SWITCHYARD_HAS_MPI
#include <switchyard/mpi.hpp>
#endif

// One Switch layer, forward and backward, from a safetensors file into another: see README.md.

namespace {

struct request {
  std::string config, in, out;
  std::string mesh, layout, report;
  std::string precision_name = "f64";
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

run_layer::problem read(const request& r) {
  return read_tensors(read_config(r.config), r.in);
}
void write(const request& r, const run_layer::problem& p, const run_layer::answer& a) {
  const run_layer::output_tensors tensors(p, a, r.precision);
  switchyard::io::write_safetensors(r.out, tensors.views());
}

void work(const request& r) {
  const auto problem = read(r);
  const Kokkos::ScopeGuard kokkos(Kokkos::InitializationSettings().set_disable_warnings(true));
  write(r, problem, run_layer::run(problem, r.precision));
}

#if SWITCHYARD_HAS_MPI
/// Every rank reads, rank 0 writes. What is wrong for one of them is wrong for all.
void work_on_mesh(const request& r, const switchyard::communicator& world) {
  const auto where = run_layer::parse_placement(r.mesh, r.layout);
  run_layer::problem problem;
  std::string complaint;
  try {
    problem = read(r);
  } catch (const std::exception& e) {
    complaint = plain(e);
  }
  switchyard::agree(world, complaint);
  const Kokkos::ScopeGuard kokkos(Kokkos::InitializationSettings().set_disable_warnings(true));
  run_layer::traffic_report report;
  const auto answer = run_layer::run(problem, r.precision, where, world, report);
  if (world.rank() != 0) return;
  write(r, problem, answer);
  if (r.report.empty()) return;
  std::ofstream file(r.report, std::ios::binary);
  file << run_layer::report_text(where, r.precision_name, report) << std::flush;
  if (!file) run_layer::fail(r.report, ": cannot be written; check the path and its permissions");
}

int run_on_mesh(const request& r) {
  MPI_Init(nullptr, nullptr);
  int status = 0;
  {
    const auto world = switchyard::mpi(MPI_COMM_WORLD);
    try {
      work_on_mesh(r, world);
    } catch (const std::exception& problem) {
      if (world.rank() == 0) std::cerr << "run_layer: " << plain(problem) << '\n';
      status = 1;
    }
  }
  MPI_Finalize();
  return status;
}
#endif

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
  std::vector<std::string> names;
  for (const auto& [name, value] : precisions) names.push_back(name);
  app.add_option("--precision", r.precision_name, "types that the layer computes in")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  auto* mesh = app.add_option("--mesh", r.mesh, "ranks of a run under mpirun, data=<ranks>,model=<ranks>");
  auto* layout = app.add_option("--layout", r.layout,
                                "what is split over them: data, model, data_model, expert_data or expert_model_data");
  mesh->needs(layout);
  layout->needs(mesh);
  app.add_option("--report", r.report, "JSON file to write: bytes sent, per axis and collective")->needs(mesh);
  try {
    app.parse(count, arguments);
    r.precision = precisions.at(r.precision_name);
#if SWITCHYARD_HAS_MPI
    if (!r.mesh.empty()) return run_on_mesh(r);
#else
    if (!r.mesh.empty()) run_layer::fail("--mesh: this program was built without MPI");
#endif
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
