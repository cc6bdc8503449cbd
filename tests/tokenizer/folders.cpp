// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "tokenizer/golden.hpp"

using namespace activation_trace;
using test::has;
using Ids = std::vector<TokenId>;
using Json = nlohmann::json;

namespace {

/// A folder with the golden tokenizer.model and other files.
class TokenizerFolder {
 public:
  explicit TokenizerFolder(const Json& files) {
    test::write_file(folder_ / "tokenizer.model", test::read_golden("vocabularies/spm.model"));
    for (const auto& [name, content] : files.items()) test::write_file(folder_ / name.c_str(), content.dump());
  }
  [[nodiscard]] Tokenizer load() const { return load_tokenizer(folder_.path()); }
  [[nodiscard]] std::string problem() const {
    return test::problem_of([&] { (void)load(); });
  }

 private:
  test::TemporaryFolder folder_;
};

}  // namespace

TEST_CASE("tokenizer.model with the other files of its folder is what transformers makes of them") {
  const Json golden = Json::parse(test::read_golden("folders.json"));
  CHECK(golden["cases"].size() == 7);
  for (const Json& expected : golden["cases"]) {
    const std::string name = expected["name"];
    CAPTURE(name);
    const Tokenizer tokenizer = TokenizerFolder(expected["files"]).load();
    CHECK(tokenizer.vocab_size() == expected["size"].get<Index>());
    CHECK(tokenizer.bos() == expected["bos"].get<TokenId>());
    CHECK(tokenizer.eos() == expected["eos"].get<TokenId>());
    CHECK(tokenizer.is_control(tokenizer.eos()));
    CHECK(tokenizer.ends_text(tokenizer.eos()));
    for (const Json& row : expected["texts"]) {
      const std::string text = row["text"];
      CAPTURE(text);
      CHECK(tokenizer.encode(text, SpecialTokens::parse) == row["ids"].get<Ids>());
    }
  }
}

TEST_CASE("a BOS or EOS that the vocabulary lacks is an error that names file and token") {
  const std::string named = TokenizerFolder(Json{{"tokenizer_config.json", {{"eos_token", "<|im_end|>"}}}}).problem();
  CHECK(has(named, "tokenizer.model"));
  CHECK(has(named, "eos_token '<|im_end|>' is not a token"));
  CHECK(has(named, "added_tokens.json"));
  CHECK(has(TokenizerFolder(Json{{"special_tokens_map.json", {{"bos_token", {{"content", "<bos>"}}}}}}).problem(),
            "bos_token '<bos>' is not a token"));
}

TEST_CASE("what is wrong in added_tokens.json is an error that names file and token") {
  const auto problem = [](const Json& added) { return TokenizerFolder(Json{{"added_tokens.json", added}}).problem(); };
  const std::string beyond = problem({{"[PAD]", 2000}});
  CHECK(has(beyond, "the added token '[PAD]' has id 2000, expected 1000"));
  CHECK(has(problem({{"[PAD]", 3}}), "'[PAD]' has id 3"));
  CHECK(has(problem({{"[PAD]", 1000}, {"[MASK]", 1000}}), "has id 1000, expected 1001"));
  CHECK(has(problem({{"[PAD]", -1}}), "added_tokens.json"));
  CHECK(has(problem({{"[PAD]", "1000"}}), "the id of '[PAD]' is not a token id"));
  CHECK(has(problem({{"<s>", 1000}}), "tokens 1 and 1000 are both '<s>'"));
  CHECK(has(problem(Json::array()), "is not a JSON object"));
}
