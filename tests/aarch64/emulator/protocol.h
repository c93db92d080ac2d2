#pragma once

#include <cstdint>

/// What the emulator and the runner say to each other over two pipes; both are little-endian machines of 64 bits. A request is a
/// Request and `bytes` bytes, its answer an Answer and `bytes` bytes, which are the message where it failed.
namespace tenon::emulator {

/// The file that both map, as the runner finds it open.
constexpr int kSharedFile = 3;

enum class Ask : uint32_t {
  kTarget,  // → the features of codegen::cpu_target("host") there
  kLink,    // an object file behind its kernel's name and a null → number: the function's
  kMap,     // region a is [b, b + c) of the shared file
  kUnmap,   // region a
  kRun,     // function a with b bindings over [c, d): Places, then int64 dims → number: what it returned
};

struct Request {
  Ask ask;
  uint32_t bytes = 0;
  int64_t a = 0, b = 0, c = 0, d = 0;
};

struct Answer {
  int32_t failed = 0;
  int32_t number = 0;
  uint32_t bytes = 0;
};

struct Place {
  int64_t region, offset;
};

}  // namespace tenon::emulator
