#include <string_view>

#include "ir/parser.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  (void)tenon::ir::parse_text({reinterpret_cast<const char*>(data), size});
  return 0;
}
