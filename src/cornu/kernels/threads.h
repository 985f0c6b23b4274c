// Threads for programs that run outside of XLA.
#pragma once

#include "parallel.h"

namespace cornu {

// All processors that this process may use; the calling thread is one of the threads. Started when first asked for,
// and again in a process that was forked.
Pool own_threads();

}  // namespace cornu
