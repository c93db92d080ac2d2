#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "backends/stateful/stateful.h"
#include "runtime/observer.h"
#include "tests/backends/graphs.h"

/// Steps with states beside steps whose outputs are passed on by hand.
namespace tenon::backends {

inline bool same(const HostValue& a, const HostValue& b) {
  const Tensor &x = std::get<Tensor>(a), &y = std::get<Tensor>(b);
  return x.dtype() == y.dtype() && x.shape() == y.shape() && std::memcmp(x.data(), y.data(), x.bytes()) == 0;
}

/// A model with and without states on one backend.
class Pair {
 public:
  Pair(const Graph& graph, std::vector<StatePair> pairs, std::string_view backend = "cpu", CompileOptions options = {}) : pairs_(std::move(pairs)) {
    const Backend& b = *find_backend(backend);
    for (const ir::Value* input : graph->inputs()) inputs_.push_back(input->name());
    for (size_t o = 0; o < graph->outputs().size(); ++o) outputs_.push_back(graph->output_name(static_cast<int>(o)));
    plain_ = *b.compile(*graph, options);
    auto made = compile_stateful(b, graph->clone(), options, pairs_);
    EXPECT_TRUE(made.ok()) << made.status().to_string();
    stateful = *made;
    by_hand_ = *plain_->create_session({});
    session = *stateful->create_session({});
  }

  /// Begins again; `past` by state.
  void begin(std::vector<Tensor> past, bool set) {
    past_ = std::move(past);
    session->states()->reset();
    for (size_t s = 0; set && s < past_.size(); ++s) ASSERT_TRUE(session->states()->set(s, past_[s]).ok());
  }

  /// One step of both; `given` by name.
  void step(const std::map<std::string, Tensor>& given) {
    std::vector<HostValue> all, own;
    for (const std::string& name : inputs_) {
      const int s = find(&StatePair::input, name);
      all.emplace_back(s < 0 ? given.at(name) : past_[static_cast<size_t>(s)]);
      if (s < 0) own.push_back(all.back());
    }
    const auto wanted = by_hand_->run(all);
    const auto got = session->run(own);
    ASSERT_TRUE(wanted.ok()) << wanted.status().to_string();
    ASSERT_TRUE(got.ok()) << got.status().to_string();
    size_t next = 0;
    for (size_t o = 0; o < outputs_.size(); ++o) {
      const int s = find(&StatePair::output, outputs_[o]);
      if (s >= 0) {
        past_[static_cast<size_t>(s)] = std::get<Tensor>((*wanted)[o]);
        const auto now = session->states()->get(static_cast<size_t>(s));
        ASSERT_TRUE(now.ok()) << now.status().to_string();
        EXPECT_TRUE(same(*now, (*wanted)[o])) << "state " << outputs_[o];
      } else {
        EXPECT_TRUE(same((*got)[next++], (*wanted)[o])) << "output " << outputs_[o];
      }
    }
    EXPECT_EQ(got->size(), next);
  }

  std::shared_ptr<const Executable> stateful;
  std::unique_ptr<Session> session;

 private:
  int find(std::string StatePair::*name, const std::string& text) const {
    for (size_t s = 0; s < pairs_.size(); ++s)
      if (pairs_[s].*name == text) return static_cast<int>(s);
    return -1;
  }
  std::vector<StatePair> pairs_;
  std::vector<std::string> inputs_, outputs_;
  std::shared_ptr<const Executable> plain_;
  std::unique_ptr<Session> by_hand_;
  std::vector<Tensor> past_;
};

/// Bytes that a run writes.
struct Writes : runtime::Observer {
  size_t bytes = 0;
  void on_step(const runtime::StepEvent& event) override { bytes += event.written_bytes; }
};

}  // namespace tenon::backends
