// Moving runs of bytes between memory and registers. Gradients may overwrite logits of another type,
// which typed accesses would hide from the compiler; and it must see one access where one is meant.
#pragma once

#include <cstdint>
#include <cstring>

#include "arithmetic.cuh"

namespace perce {

// Reads kBytes, 2, 4 or 16, from an address that is a multiple of it.
template <int kBytes>
PERCE_FN void fetch(void* registers, const void* source) {
#ifdef __CUDACC__
  const std::size_t address = __cvta_generic_to_global(source);
  if constexpr (kBytes == 16) {
    std::uint32_t words[4];
    asm volatile("ld.global.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "l"(address)
                 : "memory");
    std::memcpy(registers, words, kBytes);
  } else if constexpr (kBytes == 4) {
    std::uint32_t word;
    asm volatile("ld.global.b32 %0, [%1];" : "=r"(word) : "l"(address) : "memory");
    std::memcpy(registers, &word, kBytes);
  } else {
    static_assert(kBytes == 2);
    std::uint16_t word;
    asm volatile("ld.global.b16 %0, [%1];" : "=h"(word) : "l"(address) : "memory");
    std::memcpy(registers, &word, kBytes);
  }
#else
  std::memcpy(registers, source, kBytes);
#endif
}

// Writes kBytes, 2, 4, 8 or 16, to an address that is a multiple of it.
template <int kBytes>
PERCE_FN void put(void* target, const void* registers) {
#ifdef __CUDACC__
  const std::size_t address = __cvta_generic_to_global(target);
  if constexpr (kBytes == 16) {
    std::uint32_t words[4];
    std::memcpy(words, registers, kBytes);
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};"
                 :
                 : "l"(address), "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3])
                 : "memory");
  } else if constexpr (kBytes == 8) {
    std::uint32_t words[2];
    std::memcpy(words, registers, kBytes);
    asm volatile("st.global.v2.b32 [%0], {%1, %2};"
                 :
                 : "l"(address), "r"(words[0]), "r"(words[1])
                 : "memory");
  } else if constexpr (kBytes == 4) {
    std::uint32_t word;
    std::memcpy(&word, registers, kBytes);
    asm volatile("st.global.b32 [%0], %1;" : : "l"(address), "r"(word) : "memory");
  } else {
    static_assert(kBytes == 2);
    std::uint16_t word;
    std::memcpy(&word, registers, kBytes);
    asm volatile("st.global.b16 [%0], %1;" : : "l"(address), "h"(word) : "memory");
  }
#else
  std::memcpy(target, registers, kBytes);
#endif
}

}  // namespace perce
