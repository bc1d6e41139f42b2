// The iteration, compiled for one number of CHANNELS.

#include "block.h"
#include "grid.h"
