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

constexpr uint32_t kVersion = 2;  // of the entry's form

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

void write_bound(const frontend::ImportOptions& import, ByteWriter& out) {
  out.put(uint64_t{import.dims.size()});
  for (const auto& [name, size] : import.dims) {
    out.put(name);
    out.put(size);
  }
  out.put(uint64_t{import.shapes.size()});
  for (const auto& [name, shape] : import.shapes) {
    out.put(name);
    out.put(shape);
  }
}

void read_bound(ByteReader& in, frontend::ImportOptions& import) {
  import.dims.resize(in.count(2 * sizeof(uint64_t)));
  for (auto& [name, size] : import.dims) {
    name = in.text();
    size = in.get<int64_t>();
  }
  import.shapes.resize(in.count(2 * sizeof(uint64_t)));
  for (auto& [name, shape] : import.shapes) {
    name = in.text();
    shape = in.list<int64_t>();
  }
}

void write(const std::vector<backends::StatePair>& pairs, ByteWriter& out) {
  out.put(uint64_t{pairs.size()});
  for (const backends::StatePair& pair : pairs) {
    out.put(pair.input);
    out.put(pair.output);
  }
}

std::vector<backends::StatePair> read_pairs(ByteReader& in) {
  std::vector<backends::StatePair> out(in.count(2 * sizeof(uint64_t)));
  for (backends::StatePair& pair : out) {
    pair.input = in.text();
    pair.output = in.text();
  }
  return out;
}

bool has_symbols(const ir::Graph& graph) {
  return std::ranges::any_of(graph.inputs(), [](const ir::Value* input) {
    return input->type().is_ranked_tensor() && std::ranges::any_of(*input->tensor().dims, [](const ir::Dim& dim) { return !dim.is_const(); });
  });
}

}  // namespace

/// What the executable depends on beside what the files hold. Empty: it cannot be kept.
std::string CompiledModel::key() const {
  if (request_.cache == nullptr || request_.import.ops != nullptr || request_.file.extension() == ".tir") return {};
  const auto backend = request_.backend->save_key(request_.compile);
  if (!backend) return {};
  ByteWriter out;
  out.put(kVersion);
  out.put(request_.backend->name());
  out.put(*backend);
  std::error_code ec;
  out.put(fs::absolute(request_.file, ec).string());
  out.put(request_.import.absent != nullptr);
  write_bound(request_.import, out);
  out.put(request_.states.automatic);
  write(request_.states.pairs, out);
  const auto bytes = out.written();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<CompiledModel> CompiledModel::open(ModelRequest request) {
  CompiledModel out(std::move(request));
  use_tuning(out.request_.file, *out.request_.backend, out.request_.compile);
  out.opened_ = std::chrono::system_clock::now();
  out.key_ = out.key();
  if (out.restore()) return out;
  TENON_RETURN_IF_ERROR(out.import_model());
  if (out.request_.states.any()) TENON_RETURN_IF_ERROR(out.find_states());
  return out;
}

bool CompiledModel::restore() {
  if (key_.empty()) return false;
  const auto found = request_.cache->find_mapped(key_);
  if (!found) return false;
  ByteReader in(found->value);
  if (!same_files(in)) return false;
  std::vector<std::string> absent = in.texts();
  auto interface = ir::parse_text(in.text());
  frontend::ImportOptions import = request_.import;
  read_bound(in, import);
  const std::vector<backends::StatePair> states = read_pairs(in);
  const auto executable = in.bytes(in.count(1));
  if (!in.done() || !interface.ok()) return false;
  backends::CompileOptions compile = request_.compile;
  name_source(request_.file, import, compile);
  if (!compile.reload && (!states.empty() || has_symbols(**interface))) return false;  // see compile()
  auto restored = states.empty() ? request_.backend->restore(executable, found->body, **interface, compile)
                                 : backends::restore_stateful(*request_.backend, executable, found->body, compile, states);
  if (!restored.ok()) {
    log(LogLevel::kWarn, "what the cache has of {} cannot be used: {}", request_.file.string(), restored.status().to_string());
    return false;
  }
  executable_ = std::move(*restored);
  graph_ = std::move(*interface);
  absent_ = std::move(absent);
  leave_out_absent();
  request_.import.dims = import.dims;
  request_.import.shapes = import.shapes;
  states_ = states;
  if (!states_.empty()) interface_ = without_states(*graph_, states_);
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

Status CompiledModel::find_states() {
  TENON_ASSIGN_OR_RETURN(FoundStates found, eval::find_states(request_.file, *graph_, request_.import, request_.states));
  states_ = std::move(found.pairs);
  growing_ = std::move(found.growing);
  request_.import = std::move(found.import);
  interface_ = without_states(*graph_, states_);
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
  if (!compile.reload && (!states_.empty() || has_symbols(*graph_))) key_.clear();
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
  const auto saved = backends::save_stateful(*request_.backend, *executable_);
  if (!interface || !saved.ok()) return;
  out.put(absent_);
  out.put(*interface);
  write_bound(request_.import, out);
  write(states_, out);
  out.put(uint64_t{saved->bytes.size()});
  out.bytes(saved->bytes);
  std::vector<DiskCache::Piece> pieces;
  for (const auto& piece : saved->weights.pieces) pieces.push_back({piece.offset, piece.bytes});
  const Status stored = request_.cache->store_mapped(key, out.written(), pieces);
  if (!stored.ok()) log(LogLevel::kInfo, "{} is not kept: {}", request_.file.string(), stored.to_string());
}

}  // namespace tenon::eval
