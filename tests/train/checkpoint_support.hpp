// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <switchyard/train/checkpoint.hpp>
#include <unistd.h>
#include <vector>

// Tensors to be saved, cut in many ways, and an oracle that knows nothing of boxes: every element by its global index.

namespace checkpoints {

namespace fs = std::filesystem;
namespace io = switchyard::io;
namespace train = switchyard::train;
using extents = std::vector<std::int64_t>;

/// A folder that is gone after the test.
class folder {
 public:
  folder() {
    // Memory where there is some: fsync costs nothing there, and what it is for, no test can show.
    const bool has_memory = ::access("/dev/shm", W_OK) == 0;
    std::string name = ((has_memory ? fs::path("/dev/shm") : fs::temp_directory_path()) / "switchyard-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  ~folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }
  fs::path operator/(const std::string& name) const { return path_ / name; }

 private:
  fs::path path_;
};

inline std::string load(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void store(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}
/// Names in a folder, sorted.
inline std::vector<std::string> names_in(const fs::path& path) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(path))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

struct global_tensor {
  std::string name;
  io::dtype type{};
  extents shape;
};

/// Every dtype, ranks 0 to 3, extents that no number of ranks divides, and none at all.
inline std::vector<global_tensor> every_kind() {
  std::vector<global_tensor> all;
  for (const auto& row : io::detail::dtype_table)
    all.push_back({"of." + std::string(row.name), *io::find_dtype(row.name), {5, 7}});
  all.push_back({"scalar", io::dtype::f64, {}});
  all.push_back({"empty", io::dtype::f32, {0, 3}});
  all.push_back({"vector", io::dtype::f32, {11}});
  all.push_back({"experts", io::dtype::bf16, {4, 3, 6}});
  all.push_back({"\u00e4 \"quoted\"\n", io::dtype::i64, {2}});
  return all;
}
/// Little enough to be damaged byte by byte.
inline std::vector<global_tensor> few() {
  return {{"w", io::dtype::f32, {3, 4}}, {"b", io::dtype::bf16, {5}}, {"n", io::dtype::i64, {}}};
}

/// Any bits: the byte `i` of a tensor at a step.
inline std::byte byte_of(const std::string& name, std::int64_t step, std::size_t i) {
  std::uint64_t x =
      std::hash<std::string>{}(name) + static_cast<std::uint64_t>(step) * 0x9e3779b97f4a7c15u + i * 0xd1342543de82ef95u;
  x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u;
  return static_cast<std::byte>(x >> 56);
}

enum class cut {
  dealt,       ///< whole tensors, dealt out to ranks in turn
  rows,        ///< the first dimension in ranges
  columns,     ///< the last dimension in ranges
  interleaved, ///< every n-th index of the first dimension, each a box of its own
  replicated,  ///< every rank has everything, owners in turn
};
inline constexpr cut every_cut[] = {cut::dealt, cut::rows, cut::columns, cut::interleaved, cut::replicated};

/// What a rank holds of tensors, and its memory.
class holding {
 public:
  holding(const std::vector<global_tensor>& tensors, int rank, int ranks, cut how) {
    std::int64_t turn = 0;
    for (const global_tensor& t : tensors) {
      const bool my_turn = turn++ % ranks == rank;
      const extents zero(t.shape.size(), 0);
      if (t.shape.empty() || how == cut::replicated || t.shape[0] == 0) {
        add(t, zero, t.shape, my_turn);
      } else if (how == cut::dealt) {
        if (my_turn) add(t, zero, t.shape, true);
      } else if (how == cut::interleaved) {
        for (std::int64_t i = rank; i < t.shape[0]; i += ranks) {
          extents offset = zero, extent = t.shape;
          offset[0] = i;
          extent[0] = 1;
          add(t, offset, extent, true);
        }
      } else {
        const std::size_t d = how == cut::rows ? 0 : t.shape.size() - 1;
        extents offset = zero, extent = t.shape;
        offset[d] = t.shape[d] * rank / ranks;
        extent[d] = t.shape[d] * (rank + 1) / ranks - offset[d];
        add(t, offset, extent, true);
      }
    }
    for (std::size_t i = 0; i < slices_.size(); ++i) slices_[i].bytes = memory_[i];
  }
  holding(const holding&) = delete;
  holding& operator=(const holding&) = delete;

  std::vector<train::tensor_slice>& slices() { return slices_; }

  void fill(std::int64_t step) {
    for_each_byte(
        [step](const std::string& name, std::size_t global, std::byte& b) { b = byte_of(name, step, global); });
  }
  void clear() {
    for_each_byte([](const std::string& name, std::size_t global, std::byte& b) { b = ~byte_of(name, 0, global); });
  }
  bool holds(std::int64_t step) {
    bool same = true;
    for_each_byte([&](const std::string& name, std::size_t global, const std::byte& b) {
      same = same && b == byte_of(name, step, global);
    });
    return same;
  }

 private:
  void add(const global_tensor& t, const extents& offset, const extents& extent, bool owned) {
    std::size_t size = io::dtype_size(t.type);
    for (const std::int64_t e : extent) size *= static_cast<std::size_t>(e);
    memory_.emplace_back(size);
    slices_.push_back({t.name, t.type, t.shape, offset, extent, {}, owned});
  }
  /// f(name, index of the byte in the global tensor, byte here)
  template <class F>
  void for_each_byte(const F& f) {
    for (std::size_t s = 0; s < slices_.size(); ++s) {
      const train::tensor_slice& slice = slices_[s];
      const std::size_t size = io::dtype_size(slice.type), elements = memory_[s].size() / size;
      for (std::size_t i = 0; i < elements; ++i) {
        std::size_t rest = i, global = 0, stride = 1;
        for (std::size_t d = slice.shape.size(); d-- > 0;) {
          const auto extent = static_cast<std::size_t>(slice.extent[d]);
          global += (rest % extent + static_cast<std::size_t>(slice.offset[d])) * stride;
          stride *= static_cast<std::size_t>(slice.shape[d]);
          rest /= extent;
        }
        for (std::size_t k = 0; k < size; ++k) f(slice.name, global * size + k, memory_[s][i * size + k]);
      }
    }
  }

  std::vector<std::vector<std::byte>> memory_;
  std::vector<train::tensor_slice> slices_;
};

inline io::state_map state_of(std::int64_t step) {
  io::state_map state;
  state.set("position", step * 1000 + 7);
  state.set("seed", ~std::uint64_t{0} - static_cast<std::uint64_t>(step));
  state.set("rate", 0.1 / static_cast<double>(step + 1));
  state.set("name", "a \"name\"\n");
  state.set("fine", true);
  return state;
}

/// Saves what a rank holds at that step.
inline train::saved_checkpoint save(const switchyard::communicator& comm, const fs::path& where, std::int64_t step,
                                    const std::vector<global_tensor>& tensors, cut how,
                                    const train::save_options& options = {}) {
  holding mine(tensors, comm.rank(), comm.size(), how);
  mine.fill(step);
  return train::save_checkpoint(comm, where, step, mine.slices(), state_of(step), options);
}

/// Throws where a checkpoint is not, to the byte, what was saved at that step.
inline void require_step(const switchyard::communicator& comm, const fs::path& path, std::int64_t step,
                         const std::vector<global_tensor>& tensors, cut how) {
  holding mine(tensors, comm.rank(), comm.size(), how);
  mine.clear();
  const auto loaded = train::load_checkpoint(comm, path, mine.slices());
  if (loaded.step != step) throw std::runtime_error("step " + std::to_string(loaded.step));
  if (!(loaded.state == state_of(step))) throw std::runtime_error("another state");
  if (!mine.holds(step)) throw std::runtime_error("other bytes");
}

} // namespace checkpoints
