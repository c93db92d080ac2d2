#pragma once

#include <string_view>
#include <utility>

#include "codegen/kernel_ir.h"

/// Words of the text form, by the enums' values, for its printer and its parser.
namespace tenon::kir {

inline constexpr std::string_view kLoopNames[] = {"serial", "unroll", "vector"};
inline constexpr std::string_view kSpaceNames[] = {"binding", "local", "lane", "tile"};
inline constexpr std::pair<std::string_view, Combiner> kCombiners[] = {
    {"add", Combiner::kAdd}, {"mul", Combiner::kMul}, {"min", Combiner::kMin},
    {"max", Combiner::kMax}, {"and", Combiner::kAnd}, {"or", Combiner::kOr},
};

}  // namespace tenon::kir
