#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "ir/graph.h"

namespace tenon::vulkan_test {

/// Sets an environment variable for a scope.
class Environment {
 public:
  Environment(std::string name, const std::string& value) : name_(std::move(name)) {
    if (const char* old = std::getenv(name_.c_str())) old_ = old, had_ = true;
    ::setenv(name_.c_str(), value.c_str(), 1);
  }
  ~Environment() { had_ ? ::setenv(name_.c_str(), old_.c_str(), 1) : ::unsetenv(name_.c_str()); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::string name_, old_;
  bool had_ = false;
};

/// From .tir text, which must parse.
std::unique_ptr<ir::Graph> parse(const std::string& text);
/// Numbers that differ from element to element and from `seed` to `seed`.
Tensor numbers(Shape shape, int seed);
/// What the reference makes of it.
std::vector<HostValue> expected(const ir::Graph& graph, const std::vector<HostValue>& inputs);
/// Whether outputs agree to a few roundings.
void expect_equal(const std::vector<HostValue>& want, const Result<std::vector<HostValue>>& got);
/// Why tests with a device cannot run here; empty: they can.
std::string no_device();

}  // namespace tenon::vulkan_test
