#include <algorithm>
#include <cstdlib>
#include <exception>
#include <new>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "eval/tasks/object_reader.h"
#include "tools/common.h"
#include "tools/option_rules.h"

namespace {

/// "; did you mean 'X'?", where a name is near enough to be meant.
std::string meant(std::string_view wanted, std::span<const std::string> names) {
  const std::string name = tenon::eval::nearest(wanted, names);
  return name.empty() ? std::string() : fmt::format("; did you mean '{}'?", name);
}

std::string unknown_command(const CLI::App& app, const std::string& wanted) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) names.push_back(command->get_name());
  return fmt::format("there is no command '{}'{}", wanted, meant(wanted, names));
}

/// Of what a command has not taken, the first option, else the first word.
std::string unknown_argument(const CLI::App& command) {
  const std::vector<std::string> rest = command.remaining();
  const auto option = std::ranges::find_if(rest, [](const std::string& word) { return word.starts_with('-'); });
  if (option == rest.end()) return fmt::format("'{}' is one argument too many", rest.front());
  const std::string wanted = option->substr(0, option->find('='));
  std::vector<std::string> names, others;
  for (const CLI::Option* known : command.get_options())
    for (const std::string& name : known->get_lnames()) names.push_back("--" + name);
  for (const CLI::App* other : command.get_parent()->get_subcommands([](const CLI::App*) { return true; }))
    if (wanted.starts_with("--") && other->get_option_no_throw(wanted) != nullptr) others.push_back(other->get_name());
  if (!others.empty()) return fmt::format("{} has no option '{}', unlike {}", command.get_name(), wanted, fmt::join(others, ", "));
  return fmt::format("there is no option '{}'{}", wanted, meant(wanted, names));
}

int run(int argc, char** argv) {
  using namespace tenon::tools;
  CLI::App app("Tenon compiles ONNX models and runs them.", "tenon");
  app.set_version_flag("--version", std::string("tenon ") + TENON_VERSION);
  app.option_defaults()->always_capture_default();
  app.require_subcommand(1);
  app.footer("Exit status: 0 success, 1 the thing checked does not hold, 2 usage or input error.\n"
             "`tenon COMMAND --help` has examples.");
  int status = kSuccess;
  add_inspect(app, status);
  add_check(app, status);
  add_optimize(app, status);
  add_compile(app, status);
  add_run(app, status);
  add_verify(app, status);
  add_bench(app, status);
  add_eval(app, status);
  add_compare(app, status);
  add_debug(app, status);
  add_profile(app, status);
  add_report(app, status);
  add_ops(app, status);
  add_metrics(app, status);
  add_data(app, status);
  add_devices(app, status);
  tenon::Status ineffective;
  for (CLI::App* command : app.get_subcommands({}))
    command->parse_complete_callback([command, &ineffective] {
      ineffective = check_options(*command);
      if (!ineffective.ok()) throw CLI::RuntimeError(kFailure);
    });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (!ineffective.ok()) return report(ineffective);
    if (e.get_exit_code() == 0) return app.exit(e);
    const auto chosen = app.get_subcommands();
    std::string what = e.what();
    if (chosen.empty() && argc > 1 && argv[1][0] != '-') what = unknown_command(app, argv[1]);
    if (!chosen.empty() && !chosen.front()->remaining().empty()) what = unknown_argument(*chosen.front());
    const std::string help = chosen.empty() ? "tenon --help" : "tenon " + chosen.front()->get_name() + " --help";
    fmt::print(stderr, "error: {} (command line): see {}\n", what, help);
    return kFailure;
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    fmt::print(stderr, "error: cannot write the output (stdout): check where it goes and the space left\n");
    return kFailure;
  }
  return status;
}

constexpr const char* kOutOfMemory = "error: out of memory (tenon): give it more, or smaller inputs\n";

// An exception of a thread, or where none may pass.
[[noreturn]] void terminated() {
  try {
    if (const auto current = std::current_exception()) std::rethrow_exception(current);
  } catch (const std::bad_alloc&) {
    std::fputs(kOutOfMemory, stderr);
    std::_Exit(tenon::tools::kFailure);
  } catch (...) {
  }
  std::abort();
}

}  // namespace

int main(int argc, char** argv) {
  std::set_terminate(terminated);
  try {
    return run(argc, argv);
  } catch (const std::system_error& e) {
    fmt::print(stderr, "error: {} (tenon): check the files named and the space left\n", e.what());
  } catch (const std::bad_alloc&) {
    std::fputs(kOutOfMemory, stderr);
  } catch (const std::exception& e) {
    fmt::print(stderr, "error: {} (tenon): this is a defect; please report it with the command\n", e.what());
  }
  return tenon::tools::kFailure;
}
