#include "backends/vulkan/session_device.h"

#include <algorithm>
#include <cstring>

#include "backends/vulkan/index_width.h"

namespace tenon::backends::vulkan {

namespace {

constexpr uint64_t kBufferAlignment = 16;  // of what kernels read several elements of at once

bool narrow(const runtime::DeviceCall& call, std::span<const runtime::DeviceValue> values) {
  return is_narrow(call.grid) && std::ranges::all_of(call.dims, is_narrow) &&
         std::ranges::all_of(call.values, [&](int32_t v) { return has_narrow_indices(values[static_cast<size_t>(v)].bytes.size()); });
}

}  // namespace

/// A recording and where its moving values are.
class SessionDevice::Program final : public runtime::DeviceProgram {
 public:
  struct Moving {
    size_t bytes = 0;
    uint64_t address = 0;
    std::vector<size_t> bindings;           // of the recording
    std::unique_ptr<Memory> place;          // where the bytes go that lie in no region
  };

  std::span<const double> times_ns() override { return times; }

  std::unique_ptr<Recording> recording;
  std::unique_ptr<AccessLog> log;           // of checked kernels
  std::vector<Moving> moving;
  std::vector<double> times;
  bool timed = false;
  SessionDevice* owner = nullptr;

  ~Program() override {
    if (owner != nullptr) std::erase(owner->ran_, this);
  }
};

Result<std::shared_ptr<SessionDevice>> SessionDevice::create(std::shared_ptr<const Loaded> loaded) {
  std::shared_ptr<SessionDevice> made(new SessionDevice());
  made->regions_ = std::make_shared<Regions>(loaded->device);
  TENON_ASSIGN_OR_RETURN(made->check_code_, loaded->device->allocate(sizeof(int32_t), MemoryKind::kHost));
  std::memset(made->check_code_->host(), 0, sizeof(int32_t));
  TENON_ASSIGN_OR_RETURN(made->stream_, Stream::create(loaded->device));
  made->loaded_ = std::move(loaded);
  return made;
}

Result<std::shared_ptr<Buffer>> SessionDevice::allocate(size_t bytes) {
  TENON_RETURN_IF_ERROR(loaded_->device->status());
  return regions_->allocate(bytes);
}

Status SessionDevice::fetch(std::span<const std::byte> bytes) {
  const Regions::Place place = regions_->find(bytes.data());
  if (!staged() || place.region == nullptr || bytes.empty()) return {};
  return stream_->download(*place.region->memory, place.offset, {place.region->host + place.offset, bytes.size()});
}

Status SessionDevice::wrote(std::span<const std::byte> bytes) {
  const Regions::Place place = regions_->find(bytes.data());
  if (!staged() || place.region == nullptr || bytes.empty()) return {};
  return stream_->upload(bytes, *place.region->memory, place.offset);
}

// Of devices that are slow for their kind. It only decides where a submission is split: parts of a fast device's dispatch must still fill it.
double SessionDevice::expected_ns(const runtime::DeviceCall& call, std::span<const runtime::DeviceValue> values) const {
  const DeviceInfo& info = loaded_->device->info();
  const bool discrete = info.type == "discrete";
  const double operations_a_ns = info.is_cpu ? 1 : discrete ? 5000 : 200, bytes_a_ns = info.is_cpu ? 2 : discrete ? 200 : 20;
  double bytes = 0;
  for (int32_t v : call.values) bytes += static_cast<double>(values[static_cast<size_t>(v)].bytes.size());
  return std::max(static_cast<double>(std::max<int64_t>(call.work, 0)) / operations_a_ns, bytes / bytes_a_ns);
}

Result<uint64_t> SessionDevice::address_of(const runtime::DeviceValue& value, Program& program) {
  if (value.constant) {
    if (const uint64_t address = loaded_->constants->find(value.bytes)) return address;
    TENON_ASSIGN_OR_RETURN(auto memory, loaded_->device->allocate(value.bytes.size()));
    if (staged()) TENON_RETURN_IF_ERROR(stream_->upload(value.bytes, *memory, 0));
    else if (!value.bytes.empty()) std::memcpy(memory->host(), value.bytes.data(), value.bytes.size());
    late_.push_back(std::move(memory));
    return late_.back()->address();
  }
  const Regions::Place place = regions_->find(value.bytes.data());
  if (!value.moves) return place.region != nullptr ? place.address() : check_code_->address();  // of no bytes at all
  Program::Moving& moving = program.moving.emplace_back();
  moving.bytes = value.bytes.size();
  if (place.region != nullptr) return moving.address = place.address();
  TENON_ASSIGN_OR_RETURN(moving.place, loaded_->device->allocate(moving.bytes));
  return moving.address = moving.place->address();
}

Result<std::unique_ptr<runtime::DeviceProgram>> SessionDevice::record(std::span<const runtime::DeviceValue> values, std::span<const runtime::DeviceCall> calls,
                                                                      bool timed, std::unique_ptr<runtime::DeviceProgram> old) {
  std::unique_ptr<Program> program(static_cast<Program*>(old.release()));
  if (program == nullptr) program = std::make_unique<Program>();
  program->owner = this;
  program->moving.clear();
  program->times.clear();
  program->timed = timed;
  if (program->recording == nullptr) {
    TENON_ASSIGN_OR_RETURN(program->recording, Recording::create(loaded_->device));
  }
  std::vector<uint64_t> addresses;
  std::vector<int32_t> moving_of;
  for (const runtime::DeviceValue& value : values) {
    TENON_ASSIGN_OR_RETURN(const uint64_t address, address_of(value, *program));
    addresses.push_back(address);
    moving_of.push_back(value.moves ? static_cast<int32_t>(program->moving.size()) - 1 : -1);
  }
  const bool checked = !loaded_->sites.empty();
  if (checked) {
    TENON_ASSIGN_OR_RETURN(program->log, AccessLog::create(*loaded_->device, calls, values, loaded_->sites));
  }
  size_t count = 0;
  for (const runtime::DeviceCall& call : calls) count += call.values.size() + (checked ? 1 : 0);
  std::vector<Binding> bindings;
  bindings.reserve(count);  // dispatches point into them
  std::vector<Dispatch> dispatches;
  for (const runtime::DeviceCall& call : calls) {
    const size_t first = bindings.size();
    const auto kernel = static_cast<size_t>(call.kernel);
    for (size_t b = 0; b < call.values.size(); ++b) {
      const auto v = static_cast<size_t>(call.values[b]);
      if (moving_of[v] >= 0) program->moving[static_cast<size_t>(moving_of[v])].bindings.push_back(bindings.size());
      bindings.push_back({addresses[v], values[v].bytes.size(), (*loaded_->kernels)[kernel].access[b]});
    }
    if (checked) bindings.push_back(program->log->binding(dispatches.size()));
    const Pipeline* pipeline = loaded_->pipelines[kernel].get();
    if (!narrow(call, values)) {
      TENON_ASSIGN_OR_RETURN(pipeline, pipeline->wide());
    }
    dispatches.push_back({pipeline, std::span(bindings).subspan(first), checked ? program->log->dims(dispatches.size()) : call.dims, call.grid, expected_ns(call, values)});
  }
  TENON_RETURN_IF_ERROR(program->recording->record(dispatches, check_code_->address(), timed));
  ++figures_.recordings;
  figures_.barriers = program->recording->barriers();
  return std::unique_ptr<runtime::DeviceProgram>(std::move(program));
}

Status SessionDevice::run(runtime::DeviceProgram& given, std::span<const std::byte* const> moving, const Interrupt& interrupt) {
  auto& program = static_cast<Program&>(given);
  TENON_RETURN_IF_ERROR(loaded_->device->status());
  for (size_t i = 0; i < program.moving.size(); ++i) {
    Program::Moving& one = program.moving[i];
    Regions::Place place = regions_->find(moving[i]);
    // A caller may give a part of an output back; kernels take several elements at once where a buffer begins at a multiple of them.
    if (place.region != nullptr && place.address() % kBufferAlignment != 0) place = {};
    uint64_t address = place.region != nullptr ? place.address() : 0;
    if (place.region == nullptr) {
      if (one.place == nullptr) {
        TENON_ASSIGN_OR_RETURN(one.place, loaded_->device->allocate(one.bytes));
      }
      address = one.place->address();
      const std::span<const std::byte> bytes(moving[i], moving[i] == nullptr ? 0 : one.bytes);
      if (staged()) TENON_RETURN_IF_ERROR(stream_->upload(bytes, *one.place, 0));
      else if (!bytes.empty()) std::memcpy(one.place->host(), bytes.data(), bytes.size());
    }
    if (address == one.address) continue;
    one.address = address;
    for (size_t binding : one.bindings) program.recording->move(binding, address);
  }
  ++figures_.runs;
  TENON_RETURN_IF_ERROR(program.recording->enqueue(*stream_, interrupt));
  if (program.timed || program.log != nullptr) ran_.push_back(&program);
  return {};
}

Result<int32_t> SessionDevice::finish() {
  TENON_RETURN_IF_ERROR(stream_->wait());
  Status violation;
  for (Program* program : std::exchange(ran_, {})) {
    if (program->timed) {
      TENON_ASSIGN_OR_RETURN(const auto times, program->recording->times_ns());
      program->times.assign(times.begin(), times.end());
    }
    if (program->log == nullptr) continue;
    Status found = program->log->take();
    if (violation.ok()) violation = std::move(found);
  }
  int32_t code = 0;
  std::memcpy(&code, check_code_->host(), sizeof code);
  if (code != 0) std::memset(check_code_->host(), 0, sizeof code);
  TENON_RETURN_IF_ERROR(std::move(violation));
  return code;
}

SessionFigures SessionDevice::figures() const {
  SessionFigures out = figures_;
  out.submissions = stream_->submissions();
  return out;
}

}  // namespace tenon::backends::vulkan
