#include "eval/bench/trust.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace tenon::eval {
namespace {

// From where on a cause is worth a warning.
constexpr double kShortest = 0.5;       // seconds: processor times come in ticks of 10 ms
constexpr double kOtherCores = 0.1;     // busy with something else
constexpr double kStolenCores = 0.02;
constexpr double kIdleCores = 0.05;
constexpr double kSlowerClock = 0.9;    // of the clock before
constexpr double kWideInterval = 0.05;  // half of it, relative
constexpr double kDrift = 0.05;         // first to last third of the rounds
constexpr double kDriftP = 0.01;
constexpr double kLaunchSpread = 0.1;
constexpr size_t kFewRounds = 5;

double percent(double share) { return 100 * share; }

std::vector<double> in_order(const Launches& launches) {
  std::vector<double> out;
  for (const auto& launch : round_medians(launches)) out.insert(out.end(), launch.begin(), launch.end());
  return out;
}

void doubt_conditions(const Conditions& c, int cores, std::vector<Doubt>& out) {
  if (c.seconds < kShortest) return;
  if (c.other_cores > kOtherCores)
    out.push_back({"load", c.other_cores, fmt::format("other processes kept {:.2f} of {} cores busy: end them, or measure when the machine is quiet", c.other_cores, cores)});
  if (c.stolen_cores > kStolenCores)
    out.push_back({"stolen", c.stolen_cores, fmt::format("the hypervisor gave {:.2f} cores to other machines: this one is shared, raise --rounds", c.stolen_cores)});
  if (c.idle_cores > kIdleCores)
    out.push_back({"spinning", c.idle_cores, fmt::format("backends whose turn it was not kept {:.2f} cores busy: their threads spin, measure them one by one", c.idle_cores)});
  if (c.throttles > 0) out.push_back({"heat", static_cast<double>(c.throttles), fmt::format("heat slowed the processors down {} times: cool them, or measure for a shorter time", c.throttles)});
  else if (c.mhz_before > 0 && c.mhz_after > 0 && c.mhz_after < kSlowerClock * c.mhz_before)
    out.push_back({"clock", c.mhz_before - c.mhz_after, fmt::format("the clock fell from {:.0f} to {:.0f} MHz: fix it, or warm the machine up first", c.mhz_before, c.mhz_after)});
}

void doubt_subject(const std::string& name, const Measurement& m, std::vector<Doubt>& out) {
  const std::vector<double> rounds = in_order(m.samples);
  if (rounds.size() < kFewRounds)
    out.push_back({"rounds", -static_cast<double>(rounds.size()), fmt::format("{} has {} rounds: too few to say how much it varies, raise --rounds", name, rounds.size())});
  if (!m.settled) out.push_back({"warm-up", 1, fmt::format("{} still got faster when its warm-up ended: raise --warmup-ms", name)});
  const Ratio interval = median_interval(m.samples);
  const double half = interval.median > 0 && interval.has_interval() ? (interval.high - interval.low) / 2 / interval.median : 0;
  std::vector<double> launches;
  for (const auto& launch : m.samples) {
    std::vector<double> all;
    for (const auto& round : launch) all.insert(all.end(), round.begin(), round.end());
    if (!all.empty()) launches.push_back(median(std::move(all)));
  }
  const size_t third = rounds.size() / 3;
  const double first = median({rounds.begin(), rounds.begin() + static_cast<std::ptrdiff_t>(third)});
  const double last = median({rounds.end() - static_cast<std::ptrdiff_t>(third), rounds.end()});
  const bool drifts = third > 0 && first > 0 && std::abs(last / first - 1) > kDrift && trend(rounds).p < kDriftP;
  const double spread = launches.size() > 1 ? *std::max_element(launches.begin(), launches.end()) / *std::min_element(launches.begin(), launches.end()) - 1 : 0;
  if (drifts)
    out.push_back({"drift", std::abs(last / first - 1), fmt::format("{} became {:.0f} % {} from the first to the last rounds: {}", name, percent(std::abs(last / first - 1)), last > first ? "slower" : "faster",
                              last > first ? "the machine heats up or another load began" : "it was not warm, or another load ended")});
  else if (spread > kLaunchSpread)
    out.push_back({"launches", spread, fmt::format("launches of {} differ by {:.0f} %: where its memory lies matters, or the machine changed in between; raise --launches", name, percent(spread))});
  else if (rounds.size() >= kFewRounds && half > kWideInterval)
    out.push_back({"noise", half, fmt::format("the median of {} is uncertain by {:.0f} %: rounds vary, raise --rounds or --round-ms", name, percent(half))});
}

}  // namespace

std::vector<Doubt> doubts(std::span<const Subject> subjects, const GroupMeasurement& measured, int cores) {
  std::vector<Doubt> out;
  std::set<int> crowded;
  for (size_t i = 0; i < subjects.size(); ++i)
    if (subjects[i].threads > cores && crowded.insert(subjects[i].threads).second)
      out.push_back({"threads", subjects[i].threads / static_cast<double>(cores), fmt::format("{} threads share {} cores: give --threads {} or less", subjects[i].threads, cores, cores)});
  doubt_conditions(measured.conditions, cores, out);
  for (size_t i = 0; i < subjects.size(); ++i) {
    const Measurement& m = measured.subjects[i];
    if (!m.status.ok()) continue;
    const std::string name(subjects[i].backend->name());
    doubt_subject(name, m, out);
    if (!m.taken_over_by.empty())
      out.push_back({"taken over", 1, fmt::format("{} failed and {} took over: the figures are not those of {}, see the messages for the cause", name, m.taken_over_by, name)});
    if (!m.outputs_agree)
      out.push_back({"outputs", m.max_abs.value_or(0), fmt::format("outputs of {} differ from those of {} by up to {:.3g}: the ratio compares programs that compute different things (tenon compare shows where)",
                                name, subjects[0].backend->name(), m.max_abs.value_or(0))});
  }
  return out;
}

std::vector<Doubt> machine_doubts(const nlohmann::json& context) {
  std::vector<Doubt> out;
  if (const auto governor = context.find("governor"); governor != context.end() && *governor != "performance")
    out.push_back({"governor", 1, fmt::format("the clock follows the load (governor {}): set it to performance for figures that repeat", governor->get<std::string>())});
  return out;
}

}  // namespace tenon::eval
