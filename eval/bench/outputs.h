#pragma once

#include <span>
#include <vector>

#include "support/tensor.h"

namespace tenon::eval {

/// Tensors for another process through a file descriptor; what is no tensor of numbers becomes nothing.
Status save_outputs(int fd, std::span<const HostValue> outputs);
/// From the beginning of the file.
Result<std::vector<HostValue>> load_outputs(int fd);

}  // namespace tenon::eval
