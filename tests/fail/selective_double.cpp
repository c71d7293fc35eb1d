// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: selective<double> does not exist; use uniform<double>
#include <switchyard/core/precision.hpp>

#ifdef CONTROL
template struct switchyard::uniform<double>;
#else
template struct switchyard::selective<double>;
#endif
