#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "backends/stateful/share.h"

namespace tenon::backends {

/// What sessions of a stateful executable share. The graph is gone; the context that its dims lie in is kept.
struct StatefulModel {
  std::shared_ptr<const Executable> inner;
  SharedGraph shared;
  std::vector<std::pair<std::string, ir::Type>> inner_inputs;
  std::shared_ptr<ir::DimContext> dims;
  int num_symbols = 0;
  std::vector<StateInfo> infos;  // of shared.states
};

/// As errors call it.
inline std::string name_of(const SharedState& state) { return fmt::format("state {}", state.info.pair.input); }

/// Runs an inner session over states that it owns.
class StatefulSession final : public Session, public States {
 public:
  StatefulSession(std::shared_ptr<const StatefulModel> model, std::unique_ptr<Session> session, size_t max_bytes);

  Result<std::vector<HostValue>> run(std::span<const HostValue> inputs, const Interrupt& interrupt) override;
  /// Each run begins with the states as they are now, which they are again afterwards.
  Result<std::vector<double>> time(std::span<const HostValue> inputs, const Repeat& repeat, const Interrupt& interrupt) override;
  const std::vector<Placement>* last_placement() const override { return session_->last_placement(); }
  size_t arena_bytes() const override { return session_->arena_bytes(); }
  std::string_view taken_over_by() const override { return session_->taken_over_by(); }
  Result<std::optional<ProcessFigures>> process() override { return session_->process(); }
  States* states() override { return this; }

  std::span<const StateInfo> list() const override { return model_->infos; }
  void reset() override;
  Result<Tensor> get(size_t state) const override;
  Status set(size_t state, const Tensor& value) override;
  Status rewind(int64_t length) override;

 private:
  /// Of a state that grows in place, `length` of the places along its axis are in use.
  struct Memory {
    Tensor tensor;          // undefined before the first run
    int64_t length = 0;
    Tensor begin;           // of a state that runs do not make longer: what rewind() goes back to; of one that runs write to, bytes of its own
    bool spoilt = false;    // a run that failed may have written to it
    size_t bytes() const { return tensor.bytes() + (begin.data() == tensor.data() ? 0 : begin.bytes()); }
  };
  const SharedState& state(size_t s) const { return model_->shared.states[s]; }
  bool grows(size_t s) const { return state(s).info.axis >= 0; }
  bool updated(size_t s) const { return state(s).updated; }
  bool overwritten(size_t s) const { return state(s).overwritten(); }
  bool lengthens(size_t s) const;
  int64_t length_of(size_t s) const;
  Status bind(std::span<const HostValue> inputs);
  Status bind_length(size_t group);
  Status check_lengths(size_t s, const Shape& shape) const;
  Result<Shape> beginning(size_t s) const;
  Status make_room(size_t group);
  bool has_room(size_t group, int64_t needed) const;
  Result<Shape> shape_with_room(size_t s, int64_t room) const;
  Status give_room(size_t s, int64_t room);
  Result<size_t> bytes_with_room(size_t group, int64_t room) const;
  size_t free_bytes() const;
  void clear_growth();
  Result<Tensor> present(size_t s) const;
  Result<std::vector<HostValue>> run_inner(std::span<const HostValue> inputs, const Interrupt& interrupt);
  Result<bool> give_back_room();
  Status give(std::span<const HostValue> inputs);
  Status take(std::vector<HostValue>& outputs);
  void spoil();
  Result<std::vector<Memory>> snapshot() const;
  Status go_back(const std::vector<Memory>& before);

  std::shared_ptr<const StatefulModel> model_;
  std::unique_ptr<Session> session_;
  size_t max_bytes_;
  std::vector<Memory> memories_;
  std::vector<int64_t> room_, growth_;                // by group
  std::vector<std::optional<int64_t>> symbols_;       // of the run in progress
  std::vector<HostValue> given_;                      // to the inner session
};

}  // namespace tenon::backends
