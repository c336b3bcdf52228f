// A CUDA driver of this test's making: its device is this processor, its kernels are the host build of
// the row body. What loads it as libcuda.so.1 can be tested whole without a GPU. The environment says
// what goes wrong (PERCE_FAKE_FAIL: a function that fails) and what it claims to be; every call is
// appended to the file PERCE_FAKE_LOG.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "arguments.cuh"

extern "C" int perce_host_run(const char* name, const perce::Arguments* arguments, int threads);

namespace {

constexpr int kFailure = 999;

int number(const char* variable, int otherwise) {
  const char* const value = std::getenv(variable);
  return value == nullptr ? otherwise : std::atoi(value);
}

int called(const std::string& line) {
  if (const char* const path = std::getenv("PERCE_FAKE_LOG")) {
    if (std::FILE* const file = std::fopen(path, "a")) {
      std::fprintf(file, "%s\n", line.c_str());
      std::fclose(file);
    }
  }
  const char* const failing = std::getenv("PERCE_FAKE_FAIL");
  return failing != nullptr && line.substr(0, line.find(' ')) == failing ? kFailure : 0;
}

// Handles are addresses of what they stand for.
std::map<std::string, int> kernels;
int context_object;
int library_object;

}  // namespace

extern "C" {

int cuInit(unsigned) { return called("cuInit"); }

int cuDriverGetVersion(int* version) {
  *version = number("PERCE_FAKE_VERSION", 13000);
  return called("cuDriverGetVersion");
}

int cuGetErrorName(int error, const char** name) {
  *name = error == kFailure ? "CUDA_ERROR_UNKNOWN" : nullptr;
  return error == kFailure ? 0 : 1;
}

int cuDeviceGetCount(int* count) {
  *count = number("PERCE_FAKE_DEVICES", 1);
  return called("cuDeviceGetCount");
}

int cuDeviceGet(int* device, int index) {
  *device = index;
  return called("cuDeviceGet");
}

int cuDeviceGetAttribute(int* value, int attribute, int) {
  const int capability = number("PERCE_FAKE_CAPABILITY", 90);
  if (attribute == 16) *value = 2;
  if (attribute == 75) *value = capability / 10;
  if (attribute == 76) *value = capability % 10;
  return called("cuDeviceGetAttribute");
}

int cuDevicePrimaryCtxRetain(void** context, int) {
  *context = &context_object;
  return called("cuDevicePrimaryCtxRetain");
}

int cuCtxPushCurrent_v2(void*) { return called("cuCtxPushCurrent"); }

int cuCtxPopCurrent_v2(void**) { return called("cuCtxPopCurrent"); }

int cuLibraryLoadData(void** library, const void* code, int*, void**, unsigned, int*, void**, unsigned) {
  // A fatbin begins with its magic number.
  std::uint32_t magic;
  std::memcpy(&magic, code, sizeof magic);
  *library = &library_object;
  const int result = called("cuLibraryLoadData");
  return magic == 0xBA55ED50u && reinterpret_cast<std::uintptr_t>(code) % 16 == 0 ? result : kFailure;
}

int cuLibraryGetKernel(void** kernel, void*, const char* name) {
  *kernel = const_cast<char*>(kernels.try_emplace(name).first->first.c_str());
  return called("cuLibraryGetKernel");
}

int cuKernelGetFunction(void** function, void* kernel) {
  *function = kernel;
  return called("cuKernelGetFunction");
}

int cuFuncLoad(void*) { return called("cuFuncLoad"); }

int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void*, int, std::size_t) {
  *blocks = 2;
  return called("cuOccupancyMaxActiveBlocksPerMultiprocessor");
}

int cuLaunchKernel(void* function, unsigned blocks, unsigned, unsigned, unsigned threads, unsigned, unsigned,
                   unsigned, void* stream, void** parameters, void**) {
  const char* const name = static_cast<const char*>(function);
  char line[200];
  std::snprintf(line, sizeof line, "cuLaunchKernel %s blocks=%u threads=%u stream=%zu", name, blocks, threads,
                reinterpret_cast<std::size_t>(stream));
  const int result = called(line);
  if (result != 0) return result;
  return perce_host_run(name, static_cast<const perce::Arguments*>(parameters[0]), 1) == 0 ? 0 : kFailure;
}

}  // extern "C"
