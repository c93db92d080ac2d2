#include "support/build_id.h"

#include <elf.h>
#include <link.h>

#include <cstring>

#include <fmt/format.h>

namespace tenon {
namespace {

struct Search {
  uintptr_t address;
  std::string id;
};

bool holds(const dl_phdr_info& object, uintptr_t address) {
  for (int i = 0; i < object.dlpi_phnum; ++i) {
    const ElfW(Phdr)& p = object.dlpi_phdr[i];
    if (p.p_type == PT_LOAD && address - (object.dlpi_addr + p.p_vaddr) < p.p_memsz) return true;
  }
  return false;
}

std::string find_note(const char* at, size_t bytes) {
  const auto padded = [](size_t n) { return (n + 3) / 4 * 4; };
  while (bytes >= sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) note;
    std::memcpy(&note, at, sizeof note);
    const size_t size = sizeof note + padded(note.n_namesz) + padded(note.n_descsz);
    if (size > bytes) break;
    const auto* content = reinterpret_cast<const unsigned char*>(at + sizeof note + padded(note.n_namesz));
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(at + sizeof note, "GNU", 4) == 0) {
      std::string id;
      for (size_t i = 0; i < note.n_descsz; ++i) id += fmt::format("{:02x}", content[i]);
      return id;
    }
    at += size;
    bytes -= size;
  }
  return {};
}

int look(dl_phdr_info* object, size_t, void* context) {
  auto& search = *static_cast<Search*>(context);
  if (!holds(*object, search.address)) return 0;
  for (int i = 0; i < object->dlpi_phnum && search.id.empty(); ++i) {
    const ElfW(Phdr)& p = object->dlpi_phdr[i];
    if (p.p_type == PT_NOTE) search.id = find_note(reinterpret_cast<const char*>(object->dlpi_addr + p.p_vaddr), p.p_filesz);
  }
  return 1;
}

}  // namespace

const std::string& build_id() {
  static const std::string id = [] {
    Search search{reinterpret_cast<uintptr_t>(&look), {}};
    ::dl_iterate_phdr(look, &search);
    return search.id;
  }();
  return id;
}

}  // namespace tenon
