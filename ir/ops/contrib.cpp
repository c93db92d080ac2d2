#include "ir/ops/contrib.h"

#include <iterator>

namespace tenon::ir {

std::vector<OpDef> contrib_ops() {
  constexpr OpFamily kFamilies[] = {
      ms_activation_ops, ms_norm_ops,        ms_attention_common_ops, ms_attention_ops,
      ms_multihead_ops,  ms_group_query_ops, ms_nbits_ops,
      ms_qlinear_ops,    ms_generation_ops,
  };
  std::vector<OpDef> all;
  for (OpFamily family : kFamilies) {
    std::vector<OpDef> ops = family();
    all.insert(all.end(), std::make_move_iterator(ops.begin()), std::make_move_iterator(ops.end()));
  }
  return all;
}

}  // namespace tenon::ir
