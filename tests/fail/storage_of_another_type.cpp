// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: (constraint|satisf).*storage_type|storage_type.*(constraint|satisf)
#include <switchyard/core/precision.hpp>

#ifdef CONTROL
using policy = switchyard::uniform<float>;
#else
using policy = switchyard::uniform<int>;
#endif
constexpr auto size = sizeof(policy);
