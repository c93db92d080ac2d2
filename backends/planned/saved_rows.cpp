#include "backends/planned/saved_rows.h"

namespace tenon::backends {

void write_rows(const std::vector<Placement>& rows, const CompileStats& stats, ByteWriter& out) {
  out.put(uint64_t{rows.size()});
  for (const Placement& row : rows) {
    out.put(row.node);
    out.put(row.op);
    out.put(row.kind);
    out.put(row.implementation);
    out.put(row.reason);
    out.put(row.covers);
  }
  out.put(stats.kernels);
  out.put(stats.dispatches);
}

void read_rows(ByteReader& in, std::vector<Placement>& rows, CompileStats& stats) {
  rows.resize(in.count(sizeof(uint64_t)));
  for (Placement& row : rows) {
    row.node = in.text();
    row.op = in.text();
    row.kind = in.get_enum(Placement::Kind::kFolded);
    row.implementation = in.text();
    row.reason = in.text();
    row.covers = in.texts();
  }
  stats = {};
  stats.kernels = stats.cached = in.get<int>();
  stats.dispatches = in.get<int>();
  stats.restored = true;
}

Status damaged_executable() {
  return Status(Code::kInvalidArgument, "the executable is damaged", {}, "compile the model again");
}

}  // namespace tenon::backends
