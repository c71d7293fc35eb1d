// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

// System calls that fail, or kill, when a test wants it: the program that links system_calls.cpp has its own open,
// write, fsync ..., which the library then uses. Only calls of threads that have armed a plan are counted.

namespace system_calls {

enum class action {
  count,     ///< only count
  fail,      ///< return -1 with `code` in errno
  kill,      ///< SIGKILL before the call is made
  misbehave, ///< this and all later writes move one byte at most, every other one is interrupted
};

struct plan {
  action what = action::count;
  long call = 0; ///< of this thread, counted from 0 when the plan is armed
  int code = 0;
};

void arm(const plan& p); ///< for this thread
long disarm();           ///< for this thread; how many calls it has made since

} // namespace system_calls
