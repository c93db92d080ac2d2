#pragma once

#include <algorithm>

#include "runtime/prepare.h"

namespace tenon::runtime {

inline constexpr int32_t kEntry = -1;  // the date of what is known before the first step

template <class T>
bool in_range(T index, size_t count) {
  return index >= 0 && static_cast<size_t>(index) < count;
}

template <class... Args>
Status bad_plan(fmt::format_string<Args...> format, Args&&... args) {
  return Status(Code::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...), "plan",
                "compile the model again");
}

/// A body, `depth` deep.
Result<std::shared_ptr<const PreparedPlan>> prepare_nested(std::shared_ptr<const Plan> plan, int depth);

/// prepare() of one plan: checks it (prepare_check.cpp) and finds what its runs need (prepare.cpp).
class Preparer {
 public:
  Preparer(std::shared_ptr<const Plan> plan, int depth) : out_(std::make_shared<PreparedPlan>()), depth_(depth) {
    out_->plan = std::move(plan);
  }

  Result<std::shared_ptr<const PreparedPlan>> run() {
    TENON_RETURN_IF_ERROR(check_dims());
    TENON_RETURN_IF_ERROR(check_values());
    for (size_t s = 0; s < plan().steps.size(); ++s) TENON_RETURN_IF_ERROR(check_step(s));
    TENON_RETURN_IF_ERROR(find_roots());
    find_updated();
    TENON_RETURN_IF_ERROR(check_io());
    date_dims();
    find_live_ranges();
    find_final_values();
    make_phases();
    TENON_RETURN_IF_ERROR(check_order());
    find_dispatch_runs();
    return std::shared_ptr<const PreparedPlan>(out_);
  }

 private:
  const Plan& plan() const { return *out_->plan; }
  const PlanValue& value(ValueIdx v) const { return plan().values[static_cast<size_t>(v)]; }
  ValueIdx root(ValueIdx v) const { return out_->root[static_cast<size_t>(v)]; }
  bool is_value(ValueIdx v) const { return in_range(v, plan().values.size()); }
  bool is_dim(DimId d) const { return in_range(d, plan().dims.insts.size()); }

  static bool is_order(const PlanValue& value);
  Status check_dims();
  Status check_values();
  Status check_step(size_t index);
  Status check_dispatch(const Step& step);
  Status check_sub_plans(const Step& step, size_t index);
  Status find_roots();
  void find_updated();
  Status check_io();
  void date_dims();
  void find_live_ranges();
  void find_final_values();
  void make_phases();
  size_t phase_at(int32_t after_step);
  Status check_order();
  void find_dispatch_runs();
  int32_t date(DimId d) const { return date_[static_cast<size_t>(d)]; }
  int32_t date_of(ValueIdx v) const {
    int32_t latest = kEntry;
    for (DimId d : value(v).dims) latest = std::max(latest, date(d));
    return latest;
  }

  std::shared_ptr<PreparedPlan> out_;
  int depth_;
  std::vector<int32_t> date_;  // by dim: the step after which it is known
};

}  // namespace tenon::runtime
