#include "eval/compiled_model.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "backends/stateful/stateful.h"
#include "eval/interface.h"
#include "eval/model.h"
#include "eval/tuning_file.h"
#include "ir/parser.h"
#include "ir/weights.h"
#include "support/byte_io.h"
#include "support/log.h"

namespace tenon::eval {
namespace fs = std::filesystem;
namespace {

constexpr uint32_t kVersion = 1;  // of the entry's form

void write(const FileStamp& stamp, ByteWriter& out) {
  out.put(stamp.device);
  out.put(stamp.inode);
  out.put(stamp.size);
  out.put(stamp.modified_ns);
  out.put(stamp.changed_ns);
}

FileStamp read_stamp(ByteReader& in) {
  FileStamp out;
  out.device = in.get<uint64_t>();
  out.inode = in.get<uint64_t>();
  out.size = in.get<int64_t>();
  out.modified_ns = in.get<int64_t>();
  out.changed_ns = in.get<int64_t>();
  return out;
}

/// Whether the files are those that are written here.
bool same_files(ByteReader& in) {
  for (size_t left = in.count(sizeof(uint64_t)); left > 0; --left) {
    const fs::path file = in.text();
    const FileStamp then = read_stamp(in);
    if (!in.ok() || FileStamp::of(file) != then) return false;
  }
  return in.ok();
}

/// Writes the files as they are; false when one of them, or the link to it, may have changed since they were opened.
bool write_files(const std::vector<fs::path>& files, std::chrono::system_clock::time_point opened, ByteWriter& out) {
  out.put(uint64_t{files.size()});
  for (const fs::path& file : files) {
    const auto stamp = FileStamp::of(file), link = FileStamp::of_link(file);
    if (!stamp || !link || !stamp->settled_before(opened) || !link->settled_before(opened)) return false;
    out.put(fs::absolute(file).string());
    write(*stamp, out);
  }
  return !files.empty();
}

bool has_symbols(const ir::Graph& graph) {
  return std::ranges::any_of(graph.inputs(), [](const ir::Value* input) {
    return input->type().is_ranked_tensor() && std::ranges::any_of(*input->tensor().dims, [](const ir::Dim& dim) { return !dim.is_const(); });
  });
}

}  // namespace

/// What the executable depends on beside what the files hold. Empty: it cannot be kept.
std::string CompiledModel::key() const {
  if (request_.cache == nullptr || request_.states.any() || request_.import.ops != nullptr || request_.file.extension() == ".tir") return {};
  const auto backend = request_.backend->save_key(request_.compile);
  if (!backend) return {};
  ByteWriter out;
  out.put(kVersion);
  out.put(request_.backend->name());
  out.put(*backend);
  std::error_code ec;
  out.put(fs::absolute(request_.file, ec).string());
  out.put(request_.import.absent != nullptr);
  out.put(uint64_t{request_.import.dims.size()});
  for (const auto& [name, size] : request_.import.dims) {
    out.put(name);
    out.put(size);
  }
  out.put(uint64_t{request_.import.shapes.size()});
  for (const auto& [name, shape] : request_.import.shapes) {
    out.put(name);
    out.put(shape);
  }
  const auto bytes = out.written();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<CompiledModel> CompiledModel::open(ModelRequest request) {
  CompiledModel out(std::move(request));
  use_tuning(out.request_.file, *out.request_.backend, out.request_.compile);
  out.opened_ = std::chrono::system_clock::now();
  out.key_ = out.key();
  if (!out.restore()) TENON_RETURN_IF_ERROR(out.import_model());
  if (out.request_.states.any()) TENON_RETURN_IF_ERROR(out.find_states());
  return out;
}

bool CompiledModel::restore() {
  if (key_.empty()) return false;
  const auto found = request_.cache->find_mapped(key_);
  if (!found) return false;
  ByteReader in(found->value);
  if (!same_files(in)) return false;
  absent_ = in.texts();
  auto interface = ir::parse_text(in.text());
  const auto executable = in.bytes(in.count(1));
  if (!in.done() || !interface.ok()) return false;
  leave_out_absent();
  backends::CompileOptions compile = request_.compile;
  name_source(request_.file, request_.import, compile);
  if (!compile.reload && has_symbols(**interface)) return false;  // see compile()
  auto restored = request_.backend->restore(executable, found->body, **interface, compile);
  if (!restored.ok()) {
    log(LogLevel::kWarn, "what the cache has of {} cannot be used: {}", request_.file.string(), restored.status().to_string());
    return false;
  }
  executable_ = std::move(*restored);
  graph_ = std::move(*interface);
  from_cache_ = true;
  return true;
}

Status CompiledModel::import_model() {
  if (request_.imported != nullptr && !request_.imported->from_cache_) {
    graph_ = request_.imported->graph_->clone();
    files_ = request_.imported->files_;
    opened_ = request_.imported->opened_;
    stamp_ = request_.imported->stamp_;
    return {};
  }
  stamp_ = FileStamp::of(request_.file);
  frontend::ImportOptions import = request_.import;
  import.files = &files_;
  if (import.absent != nullptr) import.absent = &absent_;
  TENON_ASSIGN_OR_RETURN(graph_, load_model(request_.file, import));
  leave_out_absent();
  return {};
}

/// Dims that are given for a state say how it begins: what is compiled does not have them, nor what is looked for states, since nothing
/// is concatenated to an empty one.
Status CompiledModel::find_states() {
  const bool bound = !request_.import.dims.empty() || !request_.import.shapes.empty();
  if (bound) {
    frontend::ImportOptions import = request_.import;
    import.dims.clear();
    import.shapes.clear();
    TENON_ASSIGN_OR_RETURN(growing_, load_model(request_.file, import));
  }
  TENON_ASSIGN_OR_RETURN(states_, states_of(bound ? *growing_ : *graph_, request_.states, request_.import.interrupt));
  interface_ = without_states(*graph_, states_);
  if (!bound) return {};
  const frontend::ImportOptions kept = without_state_dims(*growing_, states_, request_.import);
  if (kept.dims == request_.import.dims && kept.shapes == request_.import.shapes) {
    growing_.reset();
    return {};
  }
  request_.import.dims = kept.dims;
  request_.import.shapes = kept.shapes;
  TENON_ASSIGN_OR_RETURN(growing_, load_model(request_.file, request_.import));
  return {};
}

void CompiledModel::leave_out_absent() {
  if (request_.import.absent != nullptr) *request_.import.absent = absent_;
  request_.import.absent = nullptr;
  const auto is_absent = [&](const auto& named) { return std::ranges::find(absent_, named.first) != absent_.end(); };
  std::erase_if(request_.import.dims, is_absent);
  std::erase_if(request_.import.shapes, is_absent);
}

Status CompiledModel::compile() {
  if (executable_ != nullptr) return {};
  backends::CompileOptions compile = request_.compile;
  name_source(request_.file, request_.import, compile);
  // Variants of an executable are compiled from the model's file; without that, from the graph, which the cache does not have.
  if (!compile.reload && has_symbols(*graph_)) key_.clear();
  compile.keep_code = !key_.empty();
  std::unique_ptr<ir::Graph> whole = std::exchange(graph_, ir::without_weights(*graph_));
  if (growing_ != nullptr) whole = std::move(growing_);
  TENON_ASSIGN_OR_RETURN(executable_, backends::compile_stateful(*request_.backend, std::move(whole), compile, states_));
  return {};
}

void CompiledModel::keep() {
  if (key_.empty() || from_cache_ || executable_ == nullptr) return;
  const std::string key = std::exchange(key_, {});
  ByteWriter out;
  if (FileStamp::of(request_.file) != stamp_ || !write_files(files_, opened_, out)) return;
  const auto interface = interface_text(*graph_);
  const auto saved = request_.backend->save(*executable_);
  if (!interface || !saved.ok()) return;
  out.put(absent_);
  out.put(*interface);
  out.put(uint64_t{saved->bytes.size()});
  out.bytes(saved->bytes);
  std::vector<DiskCache::Piece> pieces;
  for (const auto& piece : saved->weights.pieces) pieces.push_back({piece.offset, piece.bytes});
  const Status stored = request_.cache->store_mapped(key, out.written(), pieces);
  if (!stored.ok()) log(LogLevel::kInfo, "{} is not kept: {}", request_.file.string(), stored.to_string());
}

}  // namespace tenon::eval
