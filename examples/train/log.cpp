// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "log.hpp"
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unistd.h>

namespace train_example {
namespace {

namespace fs = std::filesystem;

std::string formatted(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}
/// A number that reads back as itself, also in JSON, which has no NaN.
std::string exact(double value) {
  return std::isfinite(value) ? formatted("%.17g", value) : "null";
}

/// Keeps the lines of `path` whose step is at most `step`: what came later is written again.
void cut(const fs::path& path, std::int64_t step, bool json) {
  std::ifstream in(path);
  std::string kept, line;
  while (std::getline(in, line)) {
    if (!json && line.starts_with("step")) {
      kept += line + '\n';
      continue;
    }
    std::int64_t number = 0;
    try {
      number = json ? nlohmann::json::parse(line).at("step").get<std::int64_t>() : std::stoll(line);
    } catch (const std::exception&) {
      break; // half a line
    }
    if (number <= step) kept += line + '\n';
  }
  in.close();
  std::ofstream(path, std::ios::trunc) << kept;
}

std::ofstream opened(const fs::path& path, std::int64_t step, bool json) {
  if (step > 0 && fs::exists(path)) cut(path, step, json);
  std::ofstream file(path, step > 0 ? std::ios::app : std::ios::trunc);
  if (!file) throw switchyard::file_error("--out = \"" + path.string() + "\": cannot be written; name another folder");
  return file;
}

std::string time_left(double seconds) {
  const auto whole = static_cast<long long>(seconds + 0.5);
  char text[64];
  if (whole >= 3600)
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  else
    std::snprintf(text, sizeof text, "%lld:%02lld", whole / 60, whole % 60);
  return text;
}

} // namespace

log::log(const settings& s, std::int64_t step, bool writes) : settings_(s), writes_(writes) {
  if (!writes) return;
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  bar_ = s.progress == progress_kind::bar || (s.progress == progress_kind::automatic && terminal);
  lines_ = s.progress == progress_kind::lines || (s.progress == progress_kind::automatic && !terminal);
  std::error_code problem;
  fs::create_directories(s.out, problem);
  metrics_ = opened(fs::path(s.out) / "metrics.jsonl", step, true);
  csv_ = opened(fs::path(s.out) / "metrics.csv", step, false);
  evaluations_ = opened(fs::path(s.out) / "evaluation.jsonl", step, true);
  loads_ = opened(fs::path(s.out) / "experts.jsonl", step, true);
  if (csv_.tellp() == 0)
    csv_ << "step,loss,tokens,seconds,dropped_fraction,learning_rate,cross_entropy,auxiliary,accuracy,gradient_norm,"
            "skipped,read_seconds,forward_seconds,backward_seconds,optimizer_seconds\n";
  shown_ = step;
}

void log::step(const switchyard::train::step_report& r, std::int64_t tokens, double seconds) {
  if (!writes_) return;
  const std::pair<const char*, std::string> fields[] = {{"step", std::to_string(r.step)},
                                                        {"loss", exact(r.loss)},
                                                        {"tokens", std::to_string(tokens)},
                                                        {"seconds", exact(seconds)},
                                                        {"dropped_fraction", exact(r.dropped_fraction)},
                                                        {"learning_rate", exact(r.learning_rate)},
                                                        {"cross_entropy", exact(r.cross_entropy)},
                                                        {"auxiliary", exact(r.auxiliary)},
                                                        {"accuracy", exact(r.accuracy)},
                                                        {"gradient_norm", exact(r.gradient_norm)},
                                                        {"skipped", r.skipped ? "1" : "0"},
                                                        {"read_seconds", exact(r.read_seconds)},
                                                        {"forward_seconds", exact(r.forward_seconds)},
                                                        {"backward_seconds", exact(r.backward_seconds)},
                                                        {"optimizer_seconds", exact(r.optimizer_seconds)}};
  std::ostringstream json, csv;
  const char* between = "";
  for (const auto& [name, value] : fields) {
    json << between << '"' << name << "\": " << value;
    csv << (*between == 0 ? "" : ",") << value;
    between = ", ";
  }
  metrics_ << '{' << json.str() << "}\n" << std::flush;
  csv_ << csv.str() << '\n' << std::flush;
  show(r, tokens, seconds);
}

void log::show(const switchyard::train::step_report& r, std::int64_t tokens, double seconds) {
  seconds_ += seconds;
  tokens_ += static_cast<double>(tokens);
  per_step_ = per_step_ > 0 ? 0.9 * per_step_ + 0.1 * seconds : seconds;
  const bool last = r.step == settings_.steps;
  const std::int64_t every = std::max<std::int64_t>(settings_.steps / 20, 1);
  if (!bar_ && !(lines_ && (last || r.step % every == 0 || r.step == 1))) return;
  if (bar_ && !last && seconds_ < 0.1) return;
  std::ostringstream text;
  if (bar_) {
    constexpr std::int64_t width = 24;
    text << '[';
    for (std::int64_t i = 0; i < width; ++i) text << (i * settings_.steps < width * r.step ? '#' : '.');
    text << "] ";
  }
  text << "step " << r.step << '/' << settings_.steps << "  loss " << formatted("%.4f", r.loss) << "  "
       << formatted("%.0f", tokens_ / std::max(seconds_, 1e-9)) << " tokens/s  dropped "
       << formatted("%.1f", 100 * r.dropped_fraction) << " %  "
       << time_left(per_step_ * static_cast<double>(settings_.steps - r.step)) << " left";
  const std::string line = text.str();
  if (bar_) {
    std::printf("\r%s\x1b[K", line.c_str());
    bar_shown_ = true;
  } else {
    std::printf("%s\n", line.c_str());
  }
  std::fflush(stdout);
  seconds_ = tokens_ = 0;
  shown_ = r.step;
}

void log::evaluation(std::int64_t step, const switchyard::train::evaluation& e) {
  if (!writes_) return;
  std::ostringstream json, line;
  const auto put = [&json](const switchyard::train::text_loss& t) {
    json << "\"negative_log_perplexity\": " << exact(t.negative_log_perplexity())
         << ", \"bits_per_byte\": " << exact(t.bits_per_byte()) << ", \"targets\": " << t.targets;
  };
  json << "{\"step\": " << step << ", ";
  put(e.all);
  json << ", \"languages\": {";
  line << "step " << step << "  held out: negative log perplexity "
       << formatted("%.4f", e.all.negative_log_perplexity()) << ", " << formatted("%.3f", e.all.bits_per_byte())
       << " bits per byte";
  const char* between = "";
  for (const auto& [language, loss] : e.languages) {
    if (loss.targets == 0) continue;
    json << between << nlohmann::json(language).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << ": {";
    put(loss);
    json << '}';
    if (e.languages.size() > 1 && e.languages.size() <= 8)
      line << (*between == 0 ? "; " : ", ") << language << ' ' << formatted("%.3f", loss.bits_per_byte());
    between = ", ";
  }
  evaluations_ << json.str() << "}}\n" << std::flush;
  say(line.str());
}

void log::loads(std::int64_t step, const std::vector<std::vector<std::int64_t>>& of_layers) {
  if (writes_) loads_ << nlohmann::json{{"step", step}, {"load", of_layers}}.dump() << '\n' << std::flush;
}

void log::about(const run_facts& f) {
  if (!writes_) return;
  const nlohmann::ordered_json all{{"name", settings_.name.empty() ? settings_.preset : settings_.name},
                                   {"parameters", f.parameters},
                                   {"experts", f.experts},
                                   {"ranks", f.ranks},
                                   {"threads per rank", f.threads},
                                   {"text, MB", std::round(10 * f.megabytes) / 10},
                                   {"sequences per step", settings_.batch},
                                   {"tokens per sequence", f.sequence_tokens},
                                   {"learning rate", f.learning_rate},
                                   {"seed", settings_.seed}};
  const auto write = [&](const char* name, const std::string& text) {
    const fs::path path = fs::path(settings_.out) / name;
    std::ofstream file(path, std::ios::trunc);
    file << text << std::flush;
    if (!file)
      throw switchyard::file_error("--out = \"" + path.string() + "\": cannot be written; name another folder");
  };
  write("run.json", all.dump(1) + '\n');
  write("config.json", settings_.given);
  if (!f.picture.empty()) write("layout.svg", f.picture);
}

void log::say(const std::string& line) {
  if (!writes_) return;
  if (bar_shown_) std::printf("\n");
  bar_shown_ = false;
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

} // namespace train_example
