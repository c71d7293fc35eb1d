// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "writer_impl.hpp"

std::vector<std::string> generate_example::write_f64(const train_example::settings& s,
                                                     const std::filesystem::path& checkpoint, const request& r) {
  return write_in<switchyard::uniform<double>>(s, checkpoint, r);
}
