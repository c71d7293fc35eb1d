// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "config.hpp"
#include "run.hpp"
#include "tensors.hpp"
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <sys/wait.h>
#include <vector>

/// \file
/// Files for run_layer, and two ways through it: its parts in this process, and the program.

namespace exchange_test {

namespace fs = std::filesystem;
namespace io = switchyard::io;
using bytes = std::vector<std::byte>;

struct tensor {
  std::vector<std::int64_t> shape;
  std::vector<double> values;
  io::dtype type = io::dtype::f64;
};
using tensor_map = std::map<std::string, tensor>;

template <class T>
inline bytes bytes_of(const std::vector<double>& values) {
  std::vector<T> narrow;
  for (const double v : values) narrow.push_back(static_cast<T>(v));
  const auto all = std::as_bytes(std::span(narrow));
  return {all.begin(), all.end()};
}

/// A safetensors file, in memory.
inline bytes file_of(const tensor_map& tensors) {
  std::vector<bytes> data;
  data.reserve(tensors.size());
  std::vector<io::tensor_view> views;
  for (const auto& [name, t] : tensors) {
    data.push_back(t.type == io::dtype::f64   ? bytes_of<double>(t.values)
                   : t.type == io::dtype::f32 ? bytes_of<float>(t.values)
                                              : bytes_of<std::int32_t>(t.values));
    views.push_back({name, t.type, t.shape, data.back()});
  }
  return io::serialize_safetensors(views);
}

/// The same way as the program, without files and without another process.
inline bytes through_parts(const std::string& config, const bytes& in, run_layer::precision precision) {
  const auto problem = run_layer::read_problem(run_layer::parse_config(config), io::parse_safetensors(in));
  const run_layer::output_tensors out(problem, run_layer::run(problem, precision), precision);
  return io::serialize_safetensors(out.views());
}

/// Numbers and indices of an output file, all as doubles, with type and shape.
inline tensor_map tensors_of(const bytes& file) {
  const auto parsed = io::parse_safetensors(file);
  tensor_map result;
  for (const io::tensor_view& t : parsed.tensors()) {
    tensor& to = result[t.name];
    to = {t.shape, std::vector<double>(t.size()), t.type};
    parsed.copy_to<double>(t.name, to.values);
  }
  return result;
}

/// A folder of its own, gone at the end.
class folder {
 public:
  folder() {
    std::string name = (fs::temp_directory_path() / "run_layer_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a folder for the test");
    path_ = name;
  }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  ~folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }

  std::string at(const std::string& name) const { return (path_ / name).string(); }
  void write(const std::string& name, const bytes& content) const {
    std::ofstream(at(name), std::ios::binary)
        .write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
  }
  void write(const std::string& name, const std::string& content) const {
    write(name, bytes(std::as_bytes(std::span(content)).begin(), std::as_bytes(std::span(content)).end()));
  }
  std::string text(const std::string& name) const {
    std::ifstream file(at(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  bytes content(const std::string& name) const {
    const std::string all = text(name);
    return {std::as_bytes(std::span(all)).begin(), std::as_bytes(std::span(all)).end()};
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : fs::directory_iterator(path_)) all.push_back(entry.path().filename().string());
    return all;
  }

 private:
  fs::path path_;
};

struct finished {
  int status; // of exit; -1 where a signal ended the program
  std::string message;
};

/// Runs the program in the folder with these arguments, and without the setting that Kokkos warns about when missing.
inline finished run_program(const folder& where, const std::string& arguments) {
  const std::string command =
      "cd '" + where.at("") + "' && unset OMP_PROC_BIND && '" RUN_LAYER_PROGRAM "' " + arguments + " 2> stderr";
  const int result = std::system(command.c_str());
  finished f{WIFEXITED(result) ? WEXITSTATUS(result) : -1, where.text("stderr")};
  fs::remove(where.at("stderr"));
  return f;
}

} // namespace exchange_test
