#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/frontend/op_forms.h"

/// What a hostile or broken exporter would write: valid models, changed in one place.
namespace tenon::differential {

struct Mutation {
  std::string text;  // what changes, for messages
  std::function<void(frontend::testing::OpModel&)> apply;
  bool overflows = false;  // f32 leaves its range where the reference's f64 need not: values cannot be compared
};

/// Every change of the last node's attributes and operands, of the shapes and the contents of inputs and initializers: missing,
/// too many, empty, of rank 0, negative, extreme, NaN. Contents change both where the importer sees them and where only run time does.
std::vector<Mutation> mutations_of(const frontend::testing::OpModel& base);

}  // namespace tenon::differential
