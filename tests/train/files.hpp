// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

namespace switchyard_test {

/// A folder of this test's own, gone with it.
class folder {
 public:
  explicit folder(const std::string& name)
      : root_(
            std::filesystem::temp_directory_path() /
            ("switchyard_" + name + "_" + std::to_string(std::hash<std::string>()(std::filesystem::current_path())))) {
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
  }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  ~folder() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }

  std::string path(const std::string& file) const { return (root_ / file).string(); }
  void write(const std::string& file, const std::string& bytes) const {
    std::filesystem::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file, std::ios::binary) << bytes;
  }

 private:
  std::filesystem::path root_;
};

} // namespace switchyard_test
