#include "eval/tuning_file.h"

#include <fstream>
#include <iterator>

#include <nlohmann/json.hpp>

#include "codegen/target_identity.h"
#include "support/log.h"

namespace tenon::eval {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr size_t kMaxBytes = 4 << 20;
constexpr int64_t kMaxNumber = 1 << 20;
constexpr int kVersion = 1;

Status bad(std::string what) { return Status(Code::kInvalidArgument, std::move(what), "tuning", "delete the file, or make it again with tenon compile --tune"); }

/// A member from -1 to kMaxNumber; 0 when it is not there, nullopt when it is something else.
std::optional<int64_t> number(const json& choice, const char* name) {
  const auto found = choice.find(name);
  if (found == choice.end()) return 0;
  if (!found->is_number_integer()) return std::nullopt;
  const auto value = found->get<int64_t>();
  return value >= -1 && value <= kMaxNumber ? std::optional(value) : std::nullopt;
}

}  // namespace

fs::path tuning_path(const fs::path& model) { return model.string() + ".tuning.json"; }

Result<codegen::Tuning> parse_tuning(std::string_view text, std::string_view target) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object() || document.value("kind", json()) != "tuning") return bad("is no JSON object of kind \"tuning\"");
  if (document.value("version", json()) != kVersion) return bad(fmt::format("is not of version {}", kVersion));
  if (document.value("target", json()) != target) return Status(Code::kUnsupported, "was measured on another processor", "tuning", "tune on this one");
  codegen::Tuning out;
  const json choices = document.value("choices", json());
  if (!choices.is_array()) return bad("has no list \"choices\"");
  for (const json& choice : choices) {
    if (!choice.is_object() || !choice.value("what", json()).is_string()) return bad("has a choice without \"what\"");
    const auto rows = number(choice, "rows"), vectors = number(choice, "vectors"), m_block = number(choice, "m_block"), winograd = number(choice, "winograd");
    if (!rows || !vectors || !m_block || !winograd) return bad("has a choice whose numbers are none");
    out[choice["what"].get<std::string>()] = {.rows = *rows, .vectors = *vectors, .m_block = *m_block, .winograd = static_cast<int>(*winograd)};
  }
  return out;
}

std::string tuning_text(const codegen::Tuning& tuning, std::string_view target, int threads) {
  json choices = json::array();
  for (const auto& [what, choice] : tuning) {
    json one = {{"what", what}};
    for (const auto& [name, value] : {std::pair("rows", choice.rows), std::pair("vectors", choice.vectors), std::pair("m_block", choice.m_block), std::pair("winograd", int64_t{choice.winograd})})
      if (value != 0) one[name] = value;
    choices.push_back(std::move(one));
  }
  return json{{"kind", "tuning"}, {"version", kVersion}, {"target", target}, {"threads", threads}, {"choices", std::move(choices)}}.dump(1) + "\n";
}

void use_tuning(const fs::path& model, const backends::Backend& backend, backends::CompileOptions& compile) {
  if (compile.tuning != nullptr || !backend.takes_tuning()) return;
  const fs::path path = tuning_path(model);
  std::error_code ec;
  if (const auto size = fs::file_size(path, ec); ec || size > kMaxBytes) return;
  const auto target = codegen::cpu_target(compile.target.empty() ? "host" : compile.target);
  if (!target.ok()) return;
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  auto tuning = parse_tuning(text, codegen::identity(*target));
  if (tuning.ok()) compile.tuning = std::make_shared<codegen::Tuning>(std::move(*tuning));
  else log_once(LogLevel::kWarn, "{} is not used: {}", path.string(), tuning.status().to_string());
}

}  // namespace tenon::eval
