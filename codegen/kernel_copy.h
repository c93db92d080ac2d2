#pragma once

#include <span>
#include <vector>

#include "codegen/kernel_ir.h"

namespace tenon::kir {

/// Copies the instructions of a kernel through a builder, one after the other. A derived class writes some of them otherwise.
class KernelCopier {
 public:
  /// `to` is empty but for its buffers; its dims come with the instructions.
  KernelCopier(const Kernel& from, Kernel& to);
  virtual ~KernelCopier() = default;
  void run() { region(from_.body); }

 protected:
  /// Writes `inst`, whose operands are these now, and maps its results; false: it is copied as it is.
  virtual bool rewrite(const Inst& inst, std::span<const ValueId> operands) = 0;
  ValueId& map(ValueId v) { return map_[static_cast<size_t>(v)]; }

  const Kernel& from_;
  KernelBuilder b_;

 private:
  std::vector<ValueId> mapped(std::span<const ValueId> values);
  void region(const Region& r);
  void inst(const Inst& i);
  void loop(const Inst& i, std::span<const ValueId> o);
  std::vector<ValueId> map_;
};

/// What all copies share: name, buffers, lanes.
Kernel without_body(const Kernel& kernel);

}  // namespace tenon::kir
