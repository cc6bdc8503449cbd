// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// llama.cpp as the engine of the programs: a file beside them that engine.cpp loads, with llama.cpp's libraries.
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/embed/llama_cpp_model.hpp"
#include "activation_trace/embed/llama_cpp_tokenizer.hpp"
#include "activation_trace/text/visible.hpp"
#include "activation_trace/tokenizer/tokenizer_gguf.hpp"
#include "support/engine_options.hpp"
#include "support/gpu_layers.hpp"
#include "support/loaded_model.hpp"
#include "support/memory_limit.hpp"

namespace activation_trace::examples {
namespace {

using Json = nlohmann::ordered_json;

/// What llama.cpp, which has one log for all, complains of first.
class Complaints {
 public:
  static Complaints& all() {
    static Complaints complaints;
    return complaints;
  }

  /// `problem` of `what`, and why. Then it is forgotten.
  [[nodiscard]] Error error(const std::string& what, const std::string& problem) {
    const std::lock_guard lock(mutex_);
    const std::size_t end = first_.find('\n');
    return Error(what + ": " + problem + (first_.empty() ? "" : ": " + std::exchange(first_, {}).substr(0, end)));
  }
  void forget() {
    const std::lock_guard lock(mutex_);
    first_.clear();
  }

 private:
  Complaints() {
    llama_log_set(
        [](ggml_log_level level, const char* text, void* self) {
          auto& complaints = *static_cast<Complaints*>(self);
          const std::lock_guard lock(complaints.mutex_);
          if (level == GGML_LOG_LEVEL_ERROR && complaints.first_.empty()) complaints.first_ = text;
        },
        this);
  }

  std::mutex mutex_;  // ggml's threads may have something to say
  std::string first_;
};

/// Whether somebody listens at host:port: llama.cpp ends the process where nobody does. Throws Error naming --rpc.
void check_listens(const std::string& server) {
  const std::size_t colon = server.rfind(':');
  const auto port = colon == std::string::npos || colon == 0
                        ? std::nullopt
                        : parse_number<std::uint16_t>(std::string_view(server).substr(colon + 1));
  if (!port || *port == 0) throw UsageError("--rpc: expected HOST:PORT, got " + server);
  addrinfo wanted{};
  wanted.ai_family = AF_INET;  // as llama.cpp
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = getaddrinfo(server.substr(0, colon).c_str(), std::to_string(*port).c_str(), &wanted, &found);
  if (failed != 0) throw Error("--rpc: " + server + ": " + gai_strerror(failed));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool listens = socket >= 0 && ::connect(socket, found->ai_addr, found->ai_addrlen) == 0;
  const int problem = errno;
  if (socket >= 0) ::close(socket);
  if (!listens) throw Error("--rpc: " + server + ": " + std::generic_category().message(problem));
}

/// The devices of RPC servers.
std::vector<ggml_backend_dev_t> devices_of_servers(const std::vector<std::string>& servers) {
  std::vector<ggml_backend_dev_t> devices;
  if (servers.empty()) return devices;
  ggml_backend_reg_t rpc = ggml_backend_reg_by_name("RPC");
  using AddServer = ggml_backend_reg_t(const char*);
  auto* add = rpc == nullptr
                  ? nullptr
                  : reinterpret_cast<AddServer*>(ggml_backend_reg_get_proc_address(rpc, "ggml_backend_rpc_add_server"));
  if (add == nullptr) throw Error("--rpc: this llama.cpp was built without it (GGML_RPC)");
  for (const std::string& server : servers) {
    check_listens(server);
    ggml_backend_reg_t there = add(server.c_str());
    if (there == nullptr || ggml_backend_reg_dev_count(there) == 0)
      throw Error("--rpc: " + server + ": has no devices");
    for (std::size_t i = 0; i < ggml_backend_reg_dev_count(there); ++i)
      devices.push_back(ggml_backend_reg_dev_get(there, i));
  }
  return devices;
}

/// What layers can be on beside the host, in llama.cpp's order: other machines' devices, then this one's GPUs; those
/// that share the host's memory where there are no others. Throws Error for servers that do not answer, and for more
/// GPUs than there are.
std::vector<ggml_backend_dev_t> find_gpus(const LlamaCppSettings& settings) {
  std::vector<ggml_backend_dev_t> gpus = devices_of_servers(settings.rpc);
  const auto add = [&](enum ggml_backend_dev_type type) {
    for (std::size_t i = 0; i < ggml_backend_dev_count(); ++i)
      if (ggml_backend_dev_type(ggml_backend_dev_get(i)) == type) gpus.push_back(ggml_backend_dev_get(i));
  };
  add(GGML_BACKEND_DEVICE_TYPE_GPU);
  if (gpus.empty()) add(GGML_BACKEND_DEVICE_TYPE_IGPU);
  const Index count = std::ssize(gpus);
  const auto need = [&](const char* option, bool given, Index least) {
    if (given && count < least)
      throw Error(std::string(option) + ": expected " + std::to_string(least) + " GPUs, and this llama.cpp sees " +
                  std::to_string(count));
  };
  need("-ngl", settings.gpu_layers.value_or(0) > 0, 1);
  need("--max_gpu_memory", settings.gpu_memory != 0, 1);
  need("--num-gpus", settings.gpus.has_value(), settings.gpus.value_or(0));
  if (settings.gpus) gpus.resize(static_cast<std::size_t>(*settings.gpus));
  need("--tensor-split", !settings.tensor_split.empty(), std::ssize(settings.tensor_split));
  return gpus;
}

/// Bytes of every block, and of the LM head behind them.
std::vector<double> sizes_of_layers(const LmHeadFile& file) {
  std::vector<double> sizes(static_cast<std::size_t>(file.blocks) + 1, 0.0);
  for (const FileTensor& tensor : file.gguf->tensors()) {
    const std::string_view name = tensor.name;
    std::size_t layer = sizes.size();
    if (name.starts_with("blk."))
      std::from_chars(name.data() + 4, name.data() + name.size(), layer);
    else if (name.starts_with("output") || (name == "token_embd.weight" && file.embeddings == Embeddings::tied))
      layer = sizes.size() - 1;
    if (layer < sizes.size()) sizes[layer] += static_cast<double>(tensor.bytes.size());
  }
  return sizes;
}

ggml_type type_named(const std::string& name) {
  for (int t = 0; t < GGML_TYPE_COUNT; ++t)
    if (const char* known = ggml_type_name(static_cast<ggml_type>(t)); known != nullptr && name == known)
      return static_cast<ggml_type>(t);
  throw UsageError("--cache-type-k, --cache-type-v: llama.cpp has no type " + name);
}

/// Says once where our own tokenizer, if it reads the file, makes other ids of a text: llama.cpp's are what counts.
EngineTokenizer::Encode compared_encoder(const llama_model* model, const LmHeadFile& file) {
  EngineTokenizer::Encode encode = llama_cpp::encoder_of(model);
  std::optional<Tokenizer> own;
  try {
    own = read_tokenizer(*file.gguf).for_model(file.head.vocab());
  } catch (const Error&) {
    return encode;
  }
  return [encode, own = *std::move(own), name = file.gguf->name(), said = std::make_shared<bool>(false)](
             std::string_view text, SpecialTokens special) {
    const std::vector<TokenId> ids = encode(text, special);
    if (!*said && own.encode(text, special) != ids) {
      *said = true;
      std::fprintf(stderr,
                   "%s: warning: llama.cpp's tokenizer makes other tokens than our own of '%s'; its own count\n",
                   name.c_str(), activation_trace::detail::escaped(std::string(text.substr(0, 200)), 200).c_str());
    }
    return ids;
  };
}

class LlamaCpp final : public LoadedModel {
 public:
  explicit LlamaCpp(const ModelSettings& settings) : settings_(settings) {
    if (std::filesystem::is_directory(settings.path))
      throw FormatError(settings.path, "is a folder, and --engine llama.cpp reads GGUF files only");
    head_ = std::make_shared<const LmHeadFile>(
        open_lm_head(settings.path, llama_cpp::detail::widen_by_ggml, settings.access));
    ggml_backend_load_all();  // of builds that have each in a file
    Complaints::all().forget();
    gpus_ = find_gpus(settings.llama_cpp);
    load();
    tokenizer_.emplace(llama_cpp::tokenizer_of(model_.get(), compared_encoder(model_.get(), *head_)));
  }

  [[nodiscard]] ModelShape shape() const override {
    return {head_->blocks, head_->head.vocab(), llama_model_n_ctx_train(model_.get())};
  }
  [[nodiscard]] Embeddings embeddings() const override { return head_->embeddings; }
  [[nodiscard]] Tokenizer tokenizer() const override { return *tokenizer_; }

  [[nodiscard]] Json identity() const override {
    Json devices = Json::array();
    for (ggml_backend_dev_t gpu : gpus_)
      devices.push_back(std::string(ggml_backend_dev_name(gpu)) + ": " + ggml_backend_dev_description(gpu));
    const LlamaCppSettings& s = settings_.llama_cpp;
    Json engine{{"name", name(EngineName::llama_cpp)},
                {"version", llama_version()},
                {"ggml", ggml_version()},
                {"commit", ggml_commit()},
                {"system", llama_print_system_info()},
                {"devices", devices},
                {"cache_type_k", s.cache_type_k},
                {"cache_type_v", s.cache_type_v},
                {"flash_attention", s.flash_attention}};
    if (!gpus_.empty()) engine.update({{"gpu_layers", gpu_layers_}, {"tensor_split", split_}});
    return {{"engine", engine}};
  }

  [[nodiscard]] std::unique_ptr<AnyModel> run(Index context, Index sequences, Execution<Host>& execution) override {
    if (context < 1 || context > shape().max_context)
      throw ArgumentError(settings_.path + ": expected a context of 1.." + std::to_string(shape().max_context) +
                          " positions, the model's, got " + std::to_string(context));
    if (sequences > static_cast<Index>(llama_max_parallel_sequences()))
      throw ArgumentError("--engine llama.cpp: it has room for " + std::to_string(llama_max_parallel_sequences()) +
                          " texts at once, not for " + std::to_string(sequences));
    const llama_context_params params = context_params(context, sequences);
    if (gpus_.empty()) check_memory(settings_.path, cache_bytes(params), context, sequences);
    Complaints::all().forget();
    try {
      // One text after another: its numbers are the same whatever is run beside it.
      return std::make_unique<ModelOf<LlamaCppModel>>(shape(), context, model_.get(), head_, params, execution,
                                                      Together::no);
    } catch (const Error& e) {
      throw Complaints::all().error(settings_.path, e.what());
    }
  }

 private:
  void load() {
    std::vector<ggml_backend_dev_t> devices = gpus_;
    devices.push_back(nullptr);
    llama_model_params params = llama_model_default_params();
    params.devices = devices.data();
    if (settings_.access == FileAccess::read) params.load_mode = LLAMA_LOAD_MODE_NONE;
    place();
    params.n_gpu_layers = static_cast<std::int32_t>(gpu_layers_);
    std::vector<float> split(split_.begin(), split_.end());
    split.resize(llama_max_devices(), 0.0f);
    if (!split_.empty()) params.tensor_split = split.data();
    // Of a split file the first part, whichever was given.
    model_.reset(llama_model_load_from_file(std::string(head_->gguf->files().front().name()).c_str(), params));
    if (model_ == nullptr) throw Complaints::all().error(settings_.path, "llama.cpp does not load it");
  }

  /// What is on the GPUs.
  void place() {
    const LlamaCppSettings& s = settings_.llama_cpp;
    const Index all = head_->blocks + 1;
    gpu_layers_ = gpus_.empty() ? 0 : std::min(s.gpu_layers.value_or(all), all);
    split_ = s.tensor_split;
    if (s.gpu_memory == 0) return;
    if (!split_.empty()) throw UsageError("--tensor-split: with --max_gpu_memory layers go where they fit");
    const std::vector<double> sizes = sizes_of_layers(*head_);
    const std::vector<Index> counts = place_layers(std::span(sizes).last(static_cast<std::size_t>(gpu_layers_)),
                                                   std::ssize(gpus_), s.gpu_memory * 0x1p30);
    gpu_layers_ = std::accumulate(counts.begin(), counts.end(), Index{0});
    split_.assign(counts.begin(), counts.end());
    if (gpu_layers_ == 0) split_.clear();
  }

  [[nodiscard]] llama_context_params context_params(Index context, Index sequences) const {
    const LlamaCppSettings& s = settings_.llama_cpp;
    llama_context_params params = llama_context_default_params();
    params.n_ctx = static_cast<std::uint32_t>((context + 255) / 256 * 256 * sequences);
    params.n_batch = static_cast<std::uint32_t>(std::min(settings_.batch, context));
    params.n_ubatch = std::min(params.n_batch, params.n_ubatch);
    params.n_seq_max = static_cast<std::uint32_t>(sequences);
    params.n_threads = params.n_threads_batch = settings_.threads;
    params.flash_attn_type = s.flash_attention ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.type_k = type_named(s.cache_type_k);
    params.type_v = type_named(s.cache_type_v);
    return params;
  }

  /// Of keys and values, where all heads are alike.
  [[nodiscard]] double cache_bytes(const llama_context_params& params) const {
    const llama_model* m = model_.get();
    const std::int64_t row = llama_model_n_head(m) == 0 ? 0
                                                        : std::int64_t{llama_model_n_embd(m)} / llama_model_n_head(m) *
                                                              llama_model_n_head_kv(m);
    const double bytes = static_cast<double>(ggml_row_size(params.type_k, row) + ggml_row_size(params.type_v, row));
    return bytes * static_cast<double>(head_->blocks) * static_cast<double>(params.n_ctx);
  }

  ModelSettings settings_;
  std::shared_ptr<const LmHeadFile> head_;
  std::vector<ggml_backend_dev_t> gpus_;
  Index gpu_layers_ = 0;
  std::vector<double> split_;
  llama_model_ptr model_;
  std::optional<Tokenizer> tokenizer_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) LoadedModel* activation_trace_load_model(
    const ModelSettings& settings) {
  return new LlamaCpp(settings);
}

}  // namespace activation_trace::examples
