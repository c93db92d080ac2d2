#include "backends/external/runner.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "support/checked.h"
#include "support/memory.h"

namespace tenon::backends::external {
using nlohmann::json;
namespace {

constexpr size_t kMaxMessageBytes = 4000, kMaxNameBytes = 200;

struct Kind {
  std::string_view name;
  Code code;
};
constexpr std::array kKinds = {
    Kind{"invalid_argument", Code::kInvalidArgument}, Kind{"invalid_model", Code::kInvalidModel},
    Kind{"not_found", Code::kNotFound},               Kind{"unsupported", Code::kUnsupported},
    Kind{"out_of_range", Code::kOutOfRange},          Kind{"resource_exhausted", Code::kResourceExhausted},
    Kind{"internal", Code::kInternal},
};

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Status error_of(const json& reply) {
  const auto found = reply.find("error");
  if (found == reply.end()) return {};
  if (!found->is_object()) return error(Code::kInternal, "the request failed without a reason");
  const std::string kind = text_of(*found, "kind");
  const auto row = std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& k) { return k.name == kind; });
  std::string what = printable(text_of(*found, "message"), kMaxMessageBytes, Keep::kStart);
  if (what.empty()) what = "the request failed without a reason";
  return Status(row != kKinds.end() ? row->code : Code::kInternal, std::move(what));
}

/// "name" of each object in a list.
Result<std::vector<std::string>> names_in(const json& reply, const char* key) {
  const auto found = reply.find(key);
  if (found == reply.end() || !found->is_array()) return error(Code::kInternal, "the answer to load has no list of {}", key);
  std::vector<std::string> names;
  for (const json& one : *found) {
    if (!one.is_object() || !one.contains("name") || !one["name"].is_string()) return error(Code::kInternal, "the answer to load has {} without names", key);
    names.push_back(one["name"].get<std::string>());
  }
  return names;
}

Message request(json header) { return {std::move(header), {}}; }

}  // namespace

Result<std::unique_ptr<Runner>> Runner::start(std::vector<std::string> command, size_t max_bytes, const Interrupt& interrupt) {
  std::unique_ptr<Runner> out(new Runner());
  out->max_bytes_ = max_bytes != 0 ? max_bytes : default_memory_limit();
  TENON_ASSIGN_OR_RETURN(out->process_, Process::start(std::move(command)));
  out->process_->limit_memory(default_memory_limit());
  TENON_ASSIGN_OR_RETURN(const Message reply, out->ask(request({{"op", "hello"}}), interrupt));
  const std::string runtime = text_of(reply.header, "runtime"), version = text_of(reply.header, "version");
  if (runtime.empty()) return out->process_->fail(error(Code::kInternal, "the answer to hello names no runtime"));
  out->runtime_ = printable(version.empty() ? runtime : runtime + " " + version, kMaxNameBytes, Keep::kStart);
  return out;
}

Status Runner::load(const LoadOptions& options, const Interrupt& interrupt) {
  json dims = json::object();
  for (const auto& [name, size] : options.dims) dims[name] = size;
  TENON_ASSIGN_OR_RETURN(const Message reply, ask(request({{"op", "load"},
                                                           {"model", options.model.string()},
                                                           {"threads", options.threads},
                                                           {"optimization", options.opt_level},
                                                           {"dims", std::move(dims)},
                                                           {"shapes", options.shapes},
                                                           {"temporary", options.temporary}}),
                                                  interrupt));
  const auto ms = reply.header.find("load_ms");
  if (ms == reply.header.end() || !ms->is_number() || !std::isfinite(ms->get<double>()) || ms->get<double>() < 0)
    return process_->fail(error(Code::kInternal, "the answer to load has no load_ms"));
  load_ms_ = ms->get<double>();
  for (auto [key, names] : {std::pair{"inputs", &inputs_}, std::pair{"outputs", &outputs_}}) {
    Result<std::vector<std::string>> read = names_in(reply.header, key);
    if (!read.ok()) return process_->fail(read.status());
    *names = std::move(*read);
  }
  process_->limit_memory(checked_add(process_->resident_bytes(), max_bytes_).value_or(0));
  return {};
}

Status Runner::bind(const std::vector<std::pair<std::string, HostValue>>& inputs, const Interrupt& interrupt) {
  Message message = request({{"op", "bind"}});
  json list = json::array();
  for (const auto& [name, value] : inputs) {
    Result<json> encoded = encode_value(value, message);
    if (!encoded.ok()) return std::move(encoded).status().at("input " + name);
    list.push_back({{"name", name}, {"value", std::move(*encoded)}});
  }
  message.header["inputs"] = std::move(list);
  return ask(message, interrupt).status();
}

Result<std::map<std::string, HostValue>> Runner::run(const Interrupt& interrupt) {
  TENON_ASSIGN_OR_RETURN(Message reply, ask(request({{"op", "run"}}), interrupt));
  last_run_ms_ = 0;
  if (const auto ms = reply.header.find("ms"); ms != reply.header.end()) {
    if (!ms->is_number() || !std::isfinite(ms->get<double>()) || ms->get<double>() < 0)
      return process_->fail(error(Code::kInternal, "the answer to run has an ms that is no time"));
    last_run_ms_ = ms->get<double>();
  }
  const auto list = reply.header.find("outputs");
  if (list == reply.header.end() || !list->is_array()) return process_->fail(error(Code::kInternal, "the answer to run has no list of outputs"));
  std::map<std::string, HostValue> outputs;
  for (const json& one : *list) {
    if (!one.is_object() || !one.contains("name") || !one["name"].is_string() || !one.contains("value"))
      return process_->fail(error(Code::kInternal, "the answer to run has an output without name or value"));
    const std::string name = one["name"].get<std::string>();
    Result<HostValue> value = decode_value(one["value"], reply);
    if (!value.ok()) return process_->fail(std::move(value).status().at("output " + name));
    outputs[name] = std::move(*value);
  }
  return outputs;
}

Result<std::vector<double>> Runner::time(const Repeat& repeat, const Interrupt& interrupt) {
  TENON_ASSIGN_OR_RETURN(const Message reply, ask(request({{"op", "time"}, {"runs", repeat.runs}, {"ms", repeat.ms}}), interrupt));
  if (reply.payloads.size() != 1 || reply.payloads[0]->size() % sizeof(double) != 0)
    return process_->fail(error(Code::kInternal, "the answer to time has no payload of samples"));
  std::vector<double> samples(reply.payloads[0]->size() / sizeof(double));
  if (!samples.empty()) std::memcpy(samples.data(), reply.payloads[0]->data(), reply.payloads[0]->size());
  const bool sane = std::all_of(samples.begin(), samples.end(), [](double ms) { return std::isfinite(ms) && ms >= 0; });
  if (!sane || samples.empty() || samples.size() < static_cast<size_t>(std::max(0, repeat.runs)))
    return process_->fail(error(Code::kInternal, "the answer to time has {} samples where {} were asked for, or some that are no times", samples.size(), repeat.runs));
  return samples;
}

Result<size_t> Runner::peak_resident_bytes(const Interrupt& interrupt) {
  TENON_ASSIGN_OR_RETURN(const Message reply, ask(request({{"op", "figures"}}), interrupt));
  const auto bytes = reply.header.find("peak_rss_bytes");
  if (bytes == reply.header.end() || !bytes->is_number_unsigned()) return process_->fail(error(Code::kInternal, "the answer to figures has no peak_rss_bytes"));
  const size_t peak = bytes->get<size_t>();
  if (peak > physical_memory())
    return process_->fail(error(Code::kInternal, "the answer to figures has a peak_rss_bytes of {}, more than the memory there is", peak));
  return peak;
}

Result<Message> Runner::ask(const Message& message, const Interrupt& given) {
  const Interrupt interrupt = given.or_after(kDefaultTimeLimit);
  TENON_ASSIGN_OR_RETURN(const std::string start, frame_start(message));
  TENON_RETURN_IF_ERROR(process_->write(std::as_bytes(std::span(start)), interrupt));
  for (const auto& payload : message.payloads) TENON_RETURN_IF_ERROR(process_->write({payload->data(), payload->size()}, interrupt));
  TENON_ASSIGN_OR_RETURN(Message reply, receive(interrupt));
  TENON_RETURN_IF_ERROR(error_of(reply.header));
  return reply;
}

Result<Message> Runner::receive(const Interrupt& interrupt) {
  FrameStart start{};
  TENON_RETURN_IF_ERROR(process_->read(std::as_writable_bytes(std::span(&start, 1)), interrupt));
  if (Status status = check_frame_start(start); !status.ok()) return process_->fail(std::move(status));
  std::vector<uint64_t> sizes(start.payloads);
  TENON_RETURN_IF_ERROR(process_->read(std::as_writable_bytes(std::span(sizes)), interrupt));
  uint64_t total = 0;
  for (uint64_t size : sizes) {
    const auto sum = checked_add(total, size);
    if (!sum || *sum > max_bytes_)
      return process_->fail(error(Code::kResourceExhausted, "the runner answers more than the {} MiB that it may", max_bytes_ >> 20));
    total = *sum;
  }
  std::string text(start.header_bytes, '\0');
  TENON_RETURN_IF_ERROR(process_->read(std::as_writable_bytes(std::span(text)), interrupt));
  Message message;
  Result<json> header = parse_header(text);
  if (!header.ok()) return process_->fail(header.status());
  message.header = std::move(*header);
  for (uint64_t size : sizes) {
    Result<std::shared_ptr<Buffer>> buffer = Buffer::allocate(static_cast<size_t>(size));
    if (!buffer.ok()) return process_->fail(buffer.status());
    TENON_RETURN_IF_ERROR(process_->read({(*buffer)->data(), (*buffer)->size()}, interrupt));
    message.payloads.push_back(std::move(*buffer));
  }
  return message;
}

}  // namespace tenon::backends::external
