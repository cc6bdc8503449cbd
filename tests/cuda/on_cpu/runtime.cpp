// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime.hpp"

#include "cuda_on_cpu.hpp"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <sys/mman.h>

#include "races.hpp"

// The part of CUDA's runtime that the library calls. Device memory is memory.

using Work = std::function<void(CUstream_st&)>;

struct CUgraph_st {
  int device;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread = std::this_thread::get_id();
  std::vector<Work> work = {};
  bool valid = true;
};
struct CUgraphExec_st {
  int device;
  std::vector<Work> work;
};
struct CUstream_st {
  int device;
  std::deque<Work> queue = {};
  std::size_t begun = 0;  // pieces of work that have left the queue
  std::unique_ptr<CUgraph_st> recording = {};
  // Addresses to order by: of what the host has done, of the work that is done, and of the kernel that is.
  char queued = 0, done = 0, kernel = 0;
  cuda_on_cpu::Identity self = {};  // who does its copies
  std::deque<Work> past = {};       // kept until the host may touch it again
  [[nodiscard]] std::size_t end() const { return begun + queue.size(); }
};
struct CUevent_st {
  int device;
  CUstream_st* stream = nullptr;
  std::size_t end = 0;                                          // the work of the stream up to it
  std::shared_ptr<char> reached = std::make_shared<char>('0');  // address to order by: outlives it in the streams
};

namespace {

constexpr std::size_t page = 4096;

struct Memory {
  std::size_t bytes;
  int device;
};

int current_device = 0;
std::vector<CUstream_st> default_streams = [] {
  std::vector<CUstream_st> streams;
  for (int device = 0; device < static_cast<int>(cuda_on_cpu::devices.size()); ++device)
    streams.push_back({.device = device});
  return streams;
}();
std::set<CUstream_st*> made_streams;
std::set<CUstream_st*> destroyed_streams;  // whose work is done all the same, when the device is waited for
std::map<std::byte*, Memory> memory_of_devices;
std::map<std::pair<const void*, int>, int> allowed_shared;  // bytes, of a kernel on a device

bool is_device(int device) { return device >= 0 && device < static_cast<int>(cuda_on_cpu::devices.size()); }

cuda_on_cpu::Device& properties(int device) { return cuda_on_cpu::devices[static_cast<std::size_t>(device)]; }

CUstream_st* find(cudaStream_t stream) {
  if (stream == nullptr) return &default_streams[static_cast<std::size_t>(current_device)];
  return made_streams.contains(stream) ? stream : nullptr;
}

/// The stream for what must be on the current device; null if it is another's, or none.
CUstream_st* find_here(cudaStream_t stream) {
  CUstream_st* const found = find(stream);
  return found != nullptr && found->device == current_device ? found : nullptr;
}

void add(CUstream_st& stream, Work work) {
  if (stream.recording) {
    stream.recording->work.push_back(std::move(work));
    return;
  }
  stream.queue.push_back(std::move(work));
  cuda_on_cpu::release(&stream.queued);
}

/// Does something in the order of a stream, as the stream.
void as_stream(CUstream_st& here, const std::function<void()>& work) {
  cuda_on_cpu::Identity host = cuda_on_cpu::Identity::current();
  here.self.become();
  cuda_on_cpu::acquire(&here.queued);
  cuda_on_cpu::acquire(&here.done);
  work();
  cuda_on_cpu::release(&here.done);
  host.become();
}

/// Adds what a copy engine does.
void add_copy(CUstream_st& stream, std::function<void()> copy) {
  add(stream, [copy = std::move(copy)](CUstream_st& here) { as_stream(here, copy); });
}

/// Does the work of a stream up to `end`. The host has not waited for it.
void run(CUstream_st& stream, std::size_t end) {
  while (stream.begun < end) {
    stream.past.push_back(std::move(stream.queue.front()));
    stream.queue.pop_front();
    ++stream.begun;
    stream.past.back()(stream);
  }
}
/// The same for the host, which waits.
void finish(CUstream_st& stream, std::size_t end) {
  run(stream, end);
  cuda_on_cpu::acquire(&stream.done);
  stream.past.clear();
}
void finish(CUstream_st& stream) { finish(stream, stream.end()); }

void finish_device(int device) {
  finish(default_streams[static_cast<std::size_t>(device)]);
  for (const auto* const streams : {&made_streams, &destroyed_streams})
    for (CUstream_st* const stream : *streams)
      if (stream->device == device) finish(*stream);
}

thread_local cudaStreamCaptureMode capture_mode = cudaStreamCaptureModeGlobal;

/// What may wait for the device spoils what this thread records, and what another records that does not bear it, but
/// where this thread has said that it knows (CUDA's documentation of cudaThreadExchangeStreamCaptureMode).
bool spoils_recording() {
  bool any = false;
  for (CUstream_st* const stream : made_streams) {
    if (!stream->recording) continue;
    CUgraph_st& graph = *stream->recording;
    const bool own = graph.thread == std::this_thread::get_id() && graph.mode != cudaStreamCaptureModeRelaxed &&
                     capture_mode != cudaStreamCaptureModeRelaxed;
    const bool other = graph.mode == cudaStreamCaptureModeGlobal && capture_mode == cudaStreamCaptureModeGlobal;
    if (!own && !other) continue;
    graph.valid = false;
    any = true;
  }
  return any;
}

enum class Place { host, pinned, device, outside };

std::map<std::byte*, std::size_t> pinned_memory;  // of the host, and its bytes

/// Where `rows` of `bytes` lie. `outside`: they begin in device memory, and do not end in it.
Place place_of(const void* pointer, std::size_t pitch, std::size_t bytes, std::size_t rows) {
  auto* const first = const_cast<std::byte*>(static_cast<const std::byte*>(pointer));
  if (auto pinned = pinned_memory.upper_bound(first); pinned != pinned_memory.begin())
    if (--pinned; first < pinned->first + pinned->second) return Place::pinned;
  auto found = memory_of_devices.upper_bound(first);
  if (found == memory_of_devices.begin()) return Place::host;
  --found;
  const std::byte* const end = found->first + found->second.bytes;
  if (first >= end) return Place::host;
  return first + (rows - 1) * pitch + bytes <= end ? Place::device : Place::outside;
}

bool is_memory_of(int device, const void* pointer) {
  auto found = memory_of_devices.upper_bound(const_cast<std::byte*>(static_cast<const std::byte*>(pointer)));
  return found != memory_of_devices.begin() && (--found)->second.device == device;
}

/// While it lives, the memory of other devices is not there: a kernel that touches it ends the program by SIGSEGV.
class OtherDevicesHidden {
 public:
  explicit OtherDevicesHidden(int device) : device_(device) { protect(PROT_NONE); }
  OtherDevicesHidden(const OtherDevicesHidden&) = delete;
  OtherDevicesHidden& operator=(const OtherDevicesHidden&) = delete;
  ~OtherDevicesHidden() { protect(PROT_READ | PROT_WRITE); }

 private:
  void protect(int access) const {
    for (const auto& [memory, what] : memory_of_devices)
      if (what.device != device_ && mprotect(memory, what.bytes, access) != 0) std::abort();
  }

  int device_;
};

struct Rows {
  std::byte* data;
  std::size_t pitch;
};
void copy_rows(const Rows& to, const Rows& from, std::size_t bytes, std::size_t rows) {
  for (std::size_t i = 0; i < rows; ++i) std::memmove(to.data + i * to.pitch, from.data + i * from.pitch, bytes);
}

/// Refuses what the driver's documentation does, and boxes that the machine does not know.
CUresult encode_tiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* data,
                      const cuuint64_t* extents, const cuuint64_t* row_bytes, const cuuint32_t* box,
                      const cuuint32_t* steps, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                      CUtensorMapL2promotion, CUtensorMapFloatOOBfill fill) {
  const bool known = rank == 2 &&
                     (type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 || type == CU_TENSOR_MAP_DATA_TYPE_FLOAT16) &&
                     interleave == CU_TENSOR_MAP_INTERLEAVE_NONE && swizzle == CU_TENSOR_MAP_SWIZZLE_128B &&
                     fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE && steps[0] == 1 && steps[1] == 1;
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  if (!known || address % 16 != 0 || reinterpret_cast<std::uintptr_t>(map) % 64 != 0 || row_bytes[0] % 16 != 0 ||
      row_bytes[0] >= std::uint64_t{1} << 40 || 2 * box[0] > 128 || 2 * box[0] % 16 != 0 || box[1] < 1 ||
      box[1] > 256 || extents[0] < 1 || extents[1] < 1 || extents[0] > std::uint64_t{1} << 32 ||
      extents[1] > std::uint64_t{1} << 32)
    return CUDA_ERROR_INVALID_VALUE;
  const cuda_on_cpu::TensorMap tensor{
      static_cast<const std::byte*>(data), extents[0], extents[1], row_bytes[0], box[0], box[1]};
  std::memcpy(map, &tensor, sizeof(tensor));
  return CUDA_SUCCESS;
}

}  // namespace

namespace cuda_on_cpu {

cudaError_t allow_shared(const void* kernel, int bytes) {
  if (bytes < 0 || bytes > (properties(current_device).major == 9 ? 227 : 99) << 10) return cudaErrorInvalidValue;
  allowed_shared[{kernel, current_device}] = bytes;
  return cudaSuccess;
}

cudaError_t start(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> thread) {
  const dim3 blocks = config.gridDim;
  const auto threads = static_cast<int>(config.blockDim.x);
  if (blocks.x == 0 || blocks.y == 0 || blocks.z == 0 || blocks.x > 0x7fffffffu || blocks.y > 0xffffu ||
      blocks.z > 0xffffu || threads <= 0 || threads > 1024)
    return cudaErrorInvalidConfiguration;
  CUstream_st* const found = find_here(config.stream);
  if (found == nullptr) return cudaErrorInvalidResourceHandle;
  const auto allowed = allowed_shared.find({kernel, current_device});
  if (config.dynamicSmemBytes > static_cast<std::size_t>(allowed == allowed_shared.end() ? 48 << 10 : allowed->second))
    return cudaErrorInvalidValue;
  Device& device = properties(found->device);
  bool dependent = false;
  unsigned cluster = 1;
  for (unsigned i = 0; i < config.numAttrs; ++i)
    if (config.attrs[i].id == cudaLaunchAttributeProgrammaticStreamSerialization)
      dependent = config.attrs[i].val.programmaticStreamSerializationAllowed != 0;
    else if (config.attrs[i].id == cudaLaunchAttributeClusterDimension)
      cluster = config.attrs[i].val.clusterDim.x;
  if (cluster < 1 || cluster > 8 || blocks.x % cluster != 0) return cudaErrorInvalidClusterSize;
  if (dependent) ++device.dependent_launches;
  const bool can_wait = device.ptx_version >= 90;
  add(*found,
      [=, shared_bytes = static_cast<int>(config.dynamicSmemBytes), body = std::move(thread)](CUstream_st& here) {
        if (on_kernel) on_kernel(here.device);
        const OtherDevicesHidden hidden(here.device);
        run_grid({here.device, blocks, threads, shared_bytes, static_cast<int>(cluster), dependent, can_wait,
                  &here.queued, &here.done, &here.kernel},
                 body);
        Identity host = Identity::current();
        here.self.become();
        acquire(&here.kernel);
        release(&here.done);
        host.become();
      });
  return cudaSuccess;
}

cudaError_t describe(cudaFuncAttributes& attributes, bool hopper) {
  attributes = {};
  attributes.sharedSizeBytes = hopper && properties(current_device).major != 9 ? 0 : 1;
  attributes.ptxVersion = properties(current_device).ptx_version;
  attributes.binaryVersion = 10 * properties(current_device).major;
  return cudaSuccess;
}

}  // namespace cuda_on_cpu

extern "C" {

cudaError_t CUDARTAPI cudaGetDeviceCount(int* count) {
  *count = static_cast<int>(cuda_on_cpu::devices.size());
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaSetDevice(int device) {
  if (!is_device(device)) return cudaErrorInvalidDevice;
  current_device = device;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (!is_device(device)) return cudaErrorInvalidDevice;
  if (attribute == cudaDevAttrComputeCapabilityMajor)
    *value = properties(device).major;
  else if (attribute == cudaDevAttrMultiProcessorCount)
    *value = 4;
  else
    return cudaErrorInvalidValue;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGetDeviceProperties(cudaDeviceProp* found, int device) {
  if (!is_device(device)) return cudaErrorInvalidDevice;
  *found = {};
  std::strcpy(found->name, "a GPU on the CPU");
  found->major = properties(device).major;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaDeviceCanAccessPeer(int* possible, int device, int other) {
  if (!is_device(device) || !is_device(other)) return cudaErrorInvalidDevice;
  *possible = device != other && properties(device).reaches_peers ? 1 : 0;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaDeviceEnablePeerAccess(int other, unsigned flags) {
  static std::set<std::pair<int, int>> enabled;
  if (!is_device(other)) return cudaErrorInvalidDevice;
  if (flags != 0 || other == current_device) return cudaErrorInvalidValue;
  if (!properties(current_device).reaches_peers) return cudaErrorPeerAccessUnsupported;
  if (enabled.contains({current_device, other})) return cudaErrorPeerAccessAlreadyEnabled;
  if (properties(current_device).most_peers == 0) return cudaErrorTooManyPeers;
  --properties(current_device).most_peers;
  enabled.insert({current_device, other});
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaDeviceSynchronize() {
  if (spoils_recording()) return cudaErrorStreamCaptureUnsupported;
  finish_device(current_device);
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaMalloc(void** memory, std::size_t bytes) {
  if (spoils_recording()) return cudaErrorStreamCaptureUnsupported;
  if (const auto& device = properties(current_device); bytes > device.total - device.bytes)
    return cudaErrorMemoryAllocation;
  *memory = std::aligned_alloc(page, (bytes + page - 1) / page * page);  // whole pages, which can be hidden
  if (*memory == nullptr) return cudaErrorMemoryAllocation;
  std::memset(*memory, 0xff, bytes);  // NaN, and indices of -1: uninitialised memory that is used shows
  memory_of_devices[static_cast<std::byte*>(*memory)] = {bytes, current_device};
  properties(current_device).bytes += bytes;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaFree(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  if (spoils_recording()) return cudaErrorStreamCaptureUnsupported;
  const auto found = memory_of_devices.find(static_cast<std::byte*>(memory));
  if (found == memory_of_devices.end()) return cudaErrorInvalidValue;
  const Memory freed = found->second;
  finish_device(freed.device);
  memory_of_devices.erase(found);
  properties(freed.device).bytes -= freed.bytes;
  std::free(memory);
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *total = properties(current_device).total;
  *free = *total - properties(current_device).bytes;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaMallocHost(void** memory, std::size_t bytes) {
  if (spoils_recording()) return cudaErrorStreamCaptureUnsupported;
  *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (*memory == nullptr) return cudaErrorMemoryAllocation;
  pinned_memory[static_cast<std::byte*>(*memory)] = bytes;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaFreeHost(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  if (spoils_recording()) return cudaErrorStreamCaptureUnsupported;
  if (pinned_memory.erase(static_cast<std::byte*>(memory)) == 0) return cudaErrorInvalidValue;
  for (int device = 0; is_device(device); ++device) finish_device(device);
  std::free(memory);
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                                        std::size_t width, std::size_t height, cudaMemcpyKind, cudaStream_t stream) {
  CUstream_st* const found = find(stream);  // copies may be on a stream of another device
  if (found == nullptr) return cudaErrorInvalidResourceHandle;
  if (width == 0 || height == 0) return cudaSuccess;
  const Place source = place_of(from, from_pitch, width, height);
  const Place target = place_of(to, to_pitch, width, height);
  if (source == Place::outside || target == Place::outside) return cudaErrorInvalidValue;
  const Rows rows{const_cast<std::byte*>(static_cast<const std::byte*>(from)), from_pitch};
  const Rows place{static_cast<std::byte*>(to), to_pitch};
  if (source == Place::device && target == Place::device) {
    add_copy(*found, [=] { copy_rows(place, rows, width, height); });
    return cudaSuccess;
  }
  // A device takes these while it records, and finds at launch what lies in the host's memory then, or does not.
  if (found->recording) {
    found->recording->valid = false;
    return cudaErrorStreamCaptureUnsupported;
  }
  if (source == Place::host) {  // out of it before the call returns, in its place when the stream comes to that
    ++properties(found->device).pageable_copies;
    const auto staged = std::make_shared<std::vector<std::byte>>(width * height);
    copy_rows({staged->data(), width}, rows, width, height);
    add_copy(*found, [=] { copy_rows(place, {staged->data(), width}, width, height); });
  } else {
    add_copy(*found, [=] { copy_rows(place, rows, width, height); });
    if (target == Place::host) finish(*found);
  }
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                                      cudaStream_t stream) {
  return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}
cudaError_t CUDARTAPI cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, std::size_t bytes,
                                          cudaStream_t stream) {
  if (!is_device(to_device) || !is_device(from_device)) return cudaErrorInvalidDevice;
  if (!is_memory_of(to_device, to) || !is_memory_of(from_device, from)) return cudaErrorInvalidValue;
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream);
}
cudaError_t CUDARTAPI cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  CUstream_st* const found = find_here(stream);
  if (found == nullptr) return cudaErrorInvalidResourceHandle;
  if (bytes == 0) return cudaSuccess;
  if (place_of(memory, bytes, bytes, 1) != Place::device) return cudaErrorInvalidValue;
  add_copy(*found, [=] { std::memset(memory, value, bytes); });
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaMemset(void* memory, int value, std::size_t bytes) {
  return cudaMemsetAsync(memory, value, bytes, nullptr);
}

cudaError_t CUDARTAPI cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  if (flags != cudaStreamNonBlocking) return cudaErrorNotSupported;
  *stream = new CUstream_st{.device = current_device};
  made_streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamDestroy(cudaStream_t stream) {
  if (made_streams.erase(stream) == 0) return cudaErrorInvalidResourceHandle;
  destroyed_streams.insert(stream);
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamSynchronize(cudaStream_t stream) {
  CUstream_st* const found = find(stream);
  if (found == nullptr) return cudaErrorInvalidResourceHandle;
  if (spoils_recording()) return cudaErrorStreamCaptureUnsupported;
  finish(*found);
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamGetDevice(cudaStream_t stream, int* device) {
  CUstream_st* const found = find(stream);
  if (found == nullptr) return cudaErrorInvalidResourceHandle;
  *device = found->device;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  CUstream_st* const found = find(stream);
  if (stream == nullptr || found == nullptr) return cudaErrorStreamCaptureUnsupported;
  if (found->recording) return cudaErrorIllegalState;
  found->recording = std::make_unique<CUgraph_st>(CUgraph_st{.device = found->device, .mode = mode});
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, capture_mode);
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  CUstream_st* const found = find(stream);
  if (found == nullptr) return cudaErrorInvalidResourceHandle;
  *status = !found->recording         ? cudaStreamCaptureStatusNone
            : found->recording->valid ? cudaStreamCaptureStatusActive
                                      : cudaStreamCaptureStatusInvalidated;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  CUstream_st* const found = find(stream);
  if (found == nullptr || !found->recording) return cudaErrorIllegalState;
  const std::unique_ptr<CUgraph_st> recorded = std::exchange(found->recording, nullptr);
  if (!recorded->valid) return cudaErrorStreamCaptureInvalidated;
  *graph = new CUgraph_st(std::move(*recorded));
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new CUgraphExec_st{graph->device, graph->work};
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  CUstream_st* const found = find_here(stream);
  if (found == nullptr || found->device != executable->device) return cudaErrorInvalidResourceHandle;
  ++properties(found->device).graph_launches;
  for (const Work& work : executable->work) add(*found, work);
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaEventCreate(cudaEvent_t* event) {
  *event = new CUevent_st{.device = current_device};
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  CUstream_st* const found = find_here(stream);
  if (found == nullptr || found->device != event->device) return cudaErrorInvalidResourceHandle;
  if (found->recording) return cudaErrorNotSupported;
  add(*found,
      [reached = event->reached](CUstream_st& here) { as_stream(here, [&] { cuda_on_cpu::release(reached.get()); }); });
  event->stream = found;
  event->end = found->end();
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  CUstream_st* const found = find_here(stream);
  if (found == nullptr) return cudaErrorInvalidResourceHandle;
  if (flags != 0 || found->recording) return cudaErrorNotSupported;
  if (event->stream == nullptr) return cudaSuccess;
  add(*found, [other = event->stream, end = event->end, reached = event->reached](CUstream_st& here) {
    run(*other, end);
    as_stream(here, [&] { cuda_on_cpu::acquire(reached.get()); });
  });
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaEventSynchronize(cudaEvent_t event) {
  if (spoils_recording()) return cudaErrorStreamCaptureUnsupported;
  if (event->stream != nullptr) finish(*event->stream, event->end);
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned,
                                                       unsigned long long, cudaDriverEntryPointQueryResult* result) {
  const bool known = std::strcmp(symbol, "cuTensorMapEncodeTiled") == 0;
  *function = known ? reinterpret_cast<void*>(&encode_tiled) : nullptr;
  *result = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaGetLastError() { return cudaSuccess; }
const char* CUDARTAPI cudaGetErrorName(cudaError_t code) {
  return code == cudaErrorInvalidValue            ? "cudaErrorInvalidValue"
         : code == cudaErrorInvalidResourceHandle ? "cudaErrorInvalidResourceHandle"
                                                  : "some CUDA error";
}
const char* CUDARTAPI cudaGetErrorString(cudaError_t) { return "on the CPU"; }

}  // extern "C"
