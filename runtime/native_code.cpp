#include "runtime/native_code.h"

#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

#include "runtime/relocation.h"
#include "support/checked.h"

namespace tenon::runtime {
namespace {

using Bytes = NativeCode::Object;

constexpr size_t kMaxAlignment = 4096, kMaxTotal = size_t{1} << 30;
#if defined(__x86_64__)
constexpr Machine kMachine = Machine::kX86_64;
#elif defined(__aarch64__)
constexpr Machine kMachine = Machine::kAarch64;
#else
constexpr Machine kMachine{};  // of no object
#endif

Status damaged(const char* what) { return Status(Code::kInvalidArgument, fmt::format("the object file {}", what)); }
Status unsupported(std::string what) { return Status(Code::kUnsupported, fmt::format("the object file {}", what)); }

template <class T>
std::optional<T> read(Bytes bytes, uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T out;
  std::memcpy(&out, bytes.data() + offset, sizeof(T));
  return out;
}

/// The text at `offset` of a string table; null when it does not end in it.
const char* text(Bytes table, uint64_t offset) {
  if (offset >= table.size() || std::memchr(table.data() + offset, 0, table.size() - offset) == nullptr) return nullptr;
  return reinterpret_cast<const char*>(table.data() + offset);
}

struct External {
  std::string_view name;
  uint64_t address;
};

template <class F>
External external(std::string_view name, F* function) {
  return {name, reinterpret_cast<uint64_t>(function)};
}

/// What compilers call for operations that the machine lacks, and for long copies.
std::optional<uint64_t> find_external(std::string_view name) {
  static const External kAll[] = {
      external("memcpy", &::memcpy),   external("memset", &::memset),   external("memmove", &::memmove),
      external("memcmp", &::memcmp),   external<double(double, double)>("fmod", &::fmod),
      external<float(float, float)>("fmodf", &::fmodf), external<double(double, double, double)>("fma", &::fma),
      external<float(float, float, float)>("fmaf", &::fmaf),
  };
  for (const External& e : kAll)
    if (e.name == name) return e.address;
  return std::nullopt;
}

/// One object on its way into memory. Offsets are from the beginning of the whole mapping.
class Linker {
 public:
  explicit Linker(Bytes object) : object_(object) {}

  /// Reads the object and gives its sections a place from `end` on.
  Status place(size_t& end);
  /// Copies the sections to `memory` and fills in addresses.
  Status write(std::byte* memory);
  template <class F>
  void each_function(F&& add) const;

 private:
  struct Section {
    Elf64_Shdr header{};
    std::optional<size_t> place;
  };

  Status read_sections();
  Status read_symbols();
  Result<Bytes> contents(const Elf64_Shdr& header) const;
  bool is_code_or_constants(const Section& section) const;
  Result<uint64_t> address(size_t symbol, std::byte* memory);
  Result<uint64_t> stub(size_t symbol, std::byte* memory);
  Status relocate(const Section& target, Bytes entries, std::byte* memory);
  Status relocate(const Elf64_Rela& entry, const Section& target, std::byte* memory);

  Bytes object_, names_, symbol_names_;
  std::vector<Section> sections_;
  std::vector<Elf64_Sym> symbols_;
  std::vector<std::optional<size_t>> stubs_;  // by symbol
  size_t stubs_begin_ = 0;
};

Result<Bytes> Linker::contents(const Elf64_Shdr& header) const {
  if (header.sh_offset > object_.size() || object_.size() - header.sh_offset < header.sh_size) return damaged("has a section beyond its end");
  return object_.subspan(header.sh_offset, header.sh_size);
}

Status Linker::read_sections() {
  const auto header = read<Elf64_Ehdr>(object_, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return damaged("is none");
  if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB || header->e_type != ET_REL ||
      header->e_machine != static_cast<Elf64_Half>(kMachine) || kMachine == Machine{} || header->e_shentsize != sizeof(Elf64_Shdr))
    return unsupported("is of another kind or machine");
  for (size_t i = 0; i < header->e_shnum; ++i) {
    const auto at = checked_add(uint64_t{header->e_shoff}, i * sizeof(Elf64_Shdr));
    const auto section = at ? read<Elf64_Shdr>(object_, *at) : std::nullopt;
    if (!section) return damaged("has a section header beyond its end");
    sections_.push_back({*section, std::nullopt});
  }
  if (header->e_shstrndx >= sections_.size()) return damaged("has no names of sections");
  TENON_ASSIGN_OR_RETURN(names_, contents(sections_[header->e_shstrndx].header));
  return {};
}

Status Linker::read_symbols() {
  for (const Section& section : sections_) {
    if (section.header.sh_type != SHT_SYMTAB) continue;
    if (!symbols_.empty() || section.header.sh_link >= sections_.size()) return damaged("has bad symbols");
    TENON_ASSIGN_OR_RETURN(const Bytes table, contents(section.header));
    TENON_ASSIGN_OR_RETURN(symbol_names_, contents(sections_[section.header.sh_link].header));
    symbols_.resize(table.size() / sizeof(Elf64_Sym));
    std::memcpy(symbols_.data(), table.data(), symbols_.size() * sizeof(Elf64_Sym));
  }
  stubs_.resize(symbols_.size());
  return {};
}

// Unwinding tables serve exceptions, which kernels do not throw.
bool Linker::is_code_or_constants(const Section& section) const {
  const Elf64_Shdr& h = section.header;
  if ((h.sh_flags & SHF_ALLOC) == 0 || h.sh_size == 0) return false;
  const char* name = text(names_, h.sh_name);
  return name == nullptr || std::strcmp(name, ".eh_frame") != 0;
}

Status Linker::place(size_t& end) {
  TENON_RETURN_IF_ERROR(read_sections());
  TENON_RETURN_IF_ERROR(read_symbols());
  for (Section& section : sections_) {
    if (!is_code_or_constants(section)) continue;
    const Elf64_Shdr& h = section.header;
    if (h.sh_type != SHT_PROGBITS || (h.sh_flags & SHF_WRITE) != 0) return unsupported("has data that can be written");
    TENON_RETURN_IF_ERROR(contents(h).status());
    const uint64_t alignment = std::max<uint64_t>(h.sh_addralign, 1);
    if (!std::has_single_bit(alignment) || alignment > kMaxAlignment) return damaged("has an impossible alignment");
    section.place = (end + alignment - 1) / alignment * alignment;
    end = *section.place + h.sh_size;
    if (end > kMaxTotal) return unsupported("is too large");
  }
  stubs_begin_ = (end + kStubBytes - 1) / kStubBytes * kStubBytes;
  end = stubs_begin_;
  for (const Elf64_Sym& symbol : symbols_) end += symbol.st_shndx == SHN_UNDEF ? kStubBytes : 0;
  return {};
}

/// A jump to a function of the C library.
Result<uint64_t> Linker::stub(size_t symbol, std::byte* memory) {
  const char* name = text(symbol_names_, symbols_[symbol].st_name);
  const auto target = name == nullptr ? std::nullopt : find_external(name);
  if (!target) return unsupported(fmt::format("calls {}", name == nullptr ? "nothing" : name));
  if (!stubs_[symbol]) {
    stubs_[symbol] = stubs_begin_;
    stubs_begin_ += kStubBytes;
    write_stub(kMachine, memory + *stubs_[symbol], *target);
  }
  return reinterpret_cast<uint64_t>(memory + *stubs_[symbol]);
}

Result<uint64_t> Linker::address(size_t symbol, std::byte* memory) {
  if (symbol >= symbols_.size()) return damaged("refers to no symbol");
  const Elf64_Sym& s = symbols_[symbol];
  if (s.st_shndx == SHN_UNDEF) return stub(symbol, memory);
  if (s.st_shndx >= sections_.size() || !sections_[s.st_shndx].place) return unsupported("refers to a section that is not loaded");
  const Section& section = sections_[s.st_shndx];
  if (s.st_value > section.header.sh_size) return damaged("has a symbol outside its section");
  return reinterpret_cast<uint64_t>(memory + *section.place) + s.st_value;
}

Status Linker::relocate(const Elf64_Rela& entry, const Section& target, std::byte* memory) {
  const uint64_t size = target.header.sh_size;
  if (entry.r_offset > size) return damaged("patches outside its section");
  const std::span<std::byte> at(memory + *target.place + entry.r_offset, size - entry.r_offset);
  TENON_ASSIGN_OR_RETURN(const uint64_t symbol, address(ELF64_R_SYM(entry.r_info), memory));
  return apply_relocation(kMachine, static_cast<uint32_t>(ELF64_R_TYPE(entry.r_info)), at, reinterpret_cast<uint64_t>(at.data()),
                          symbol + static_cast<uint64_t>(entry.r_addend));
}

Status Linker::relocate(const Section& target, Bytes entries, std::byte* memory) {
  for (size_t at = 0; entries.size() - at >= sizeof(Elf64_Rela); at += sizeof(Elf64_Rela))
    TENON_RETURN_IF_ERROR(relocate(*read<Elf64_Rela>(entries, at), target, memory));
  return {};
}

Status Linker::write(std::byte* memory) {
  for (const Section& section : sections_)
    if (section.place) std::memcpy(memory + *section.place, object_.data() + section.header.sh_offset, section.header.sh_size);
  for (const Section& section : sections_) {
    const Elf64_Shdr& h = section.header;
    if (h.sh_type == SHT_REL) return unsupported("has relocations of another form");
    if (h.sh_type != SHT_RELA || h.sh_info >= sections_.size() || !sections_[h.sh_info].place) continue;
    TENON_ASSIGN_OR_RETURN(const Bytes entries, contents(h));
    TENON_RETURN_IF_ERROR(relocate(sections_[h.sh_info], entries, memory));
  }
  return {};
}

template <class F>
void Linker::each_function(F&& add) const {
  for (const Elf64_Sym& s : symbols_) {
    if (ELF64_ST_BIND(s.st_info) != STB_GLOBAL || ELF64_ST_TYPE(s.st_info) != STT_FUNC || s.st_shndx >= sections_.size()) continue;
    const Section& section = sections_[s.st_shndx];
    const char* name = text(symbol_names_, s.st_name);
    const bool code = section.place && (section.header.sh_flags & SHF_EXECINSTR) != 0 && s.st_value < section.header.sh_size;
    if (code && name != nullptr) add(name, *section.place + s.st_value);
  }
}

}  // namespace

Result<std::shared_ptr<const NativeCode>> NativeCode::link(std::span<const Object> objects) {
  std::vector<Linker> linkers;
  size_t end = 0;
  for (Object object : objects) TENON_RETURN_IF_ERROR(linkers.emplace_back(object).place(end));
  std::shared_ptr<NativeCode> out(new NativeCode);
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t size = (std::max<size_t>(end, 1) + page - 1) / page * page;
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return error(Code::kResourceExhausted, "out of memory: {} bytes of code", size);
  out->memory_ = static_cast<std::byte*>(memory);
  out->size_ = size;
  for (Linker& linker : linkers) {
    TENON_RETURN_IF_ERROR(linker.write(out->memory_));
    linker.each_function([&](const char* name, size_t place) {
      out->functions_.emplace(name, reinterpret_cast<KernelFn>(out->memory_ + place));
    });
  }
  __builtin___clear_cache(static_cast<char*>(memory), static_cast<char*>(memory) + size);
  if (::mprotect(memory, size, PROT_READ | PROT_EXEC) != 0) return Status(Code::kUnsupported, "this system allows no new code");
  return std::shared_ptr<const NativeCode>(std::move(out));
}

NativeCode::~NativeCode() {
  if (memory_ != nullptr) ::munmap(memory_, size_);
}

KernelFn NativeCode::find(std::string_view name) const {
  const auto found = functions_.find(name);
  return found == functions_.end() ? nullptr : found->second;
}

}  // namespace tenon::runtime
