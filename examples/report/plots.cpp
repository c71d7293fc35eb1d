// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "plots.hpp"
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iterator>
#include <numeric>
#include <sstream>
#include <stdexcept>

namespace report {
namespace {

constexpr const char* dense_color = "#4878a8";
constexpr const char* switch_color = "#d8732a";

/// Text as gnuplot quotes it: nothing in it is special but the quote.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("''") : std::string(1, c);
  return out + "'";
}

/// A CSV field: names come from files, which may be called anything.
std::string field(std::string text) {
  for (char& c : text)
    if (c == ',' || c == '"' || c == '\n' || c == '\r') c = ' ';
  return text;
}

class studio {
 public:
  explicit studio(const std::string& folder) : folder_(folder + "/data") {
    std::error_code problem;
    std::filesystem::create_directories(folder_, problem);
  }

  /// The numbers of the pictures that follow.
  void csv(const std::string& name, const std::string& text) { write(last_csv_ = name + ".csv", text); }

  /// Runs `commands`, which plot data/<name>.csv, and keeps the picture.
  void picture(const std::string& name, const std::string& title, const std::string& about, const std::string& commands,
               int height = 360) {
    write(name + ".gp", "set terminal svg size 760," + std::to_string(height) + " dynamic name " + quoted(name) +
                            " font 'sans-serif,12' background 'white'\nset output '" + name +
                            ".svg'\nset datafile separator ','\nset grid lc '#e0e0e0'\nset border 3 lc '#606060'\n"
                            "set tics nomirror\nset key right top noenhanced\n" +
                            commands);
    const std::string svg = folder_ + "/" + name + ".svg";
    std::filesystem::remove(svg);
    const std::string draw = "cd " + shell(folder_) + " && gnuplot " + name + ".gp >gnuplot.log 2>&1";
    plot p{last_csv_, title, about, {}};
    if (std::system(draw.c_str()) == 0) {
      std::ifstream file(svg, std::ios::binary);
      p.svg.assign(std::istreambuf_iterator<char>(file), {});
      p.svg.erase(0, std::min(p.svg.find("<svg"), p.svg.size())); // what comes before it is not HTML
    }
    plots_.push_back(std::move(p));
  }

  std::vector<plot> take() { return std::move(plots_); }

 private:
  static std::string shell(const std::string& text) {
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
  }
  void write(const std::string& name, const std::string& text) {
    std::ofstream file(folder_ + "/" + name, std::ios::binary);
    file << text << std::flush;
    if (!file) throw std::runtime_error(folder_ + "/" + name + ": cannot be written; name another folder");
  }

  std::string folder_, last_csv_;
  std::vector<plot> plots_;
};

std::ostringstream numbers() {
  std::ostringstream out;
  out << std::setprecision(9);
  return out;
}

/// run, kind (training | held_out), step, seconds, loss
void draw_losses(studio& s, const run& dense, const run& sparse) {
  auto out = numbers();
  out << "run,kind,step,seconds,loss\n";
  for (const run* r : {&dense, &sparse}) {
    const char* which = r == &dense ? "dense" : "switch";
    const auto curve = smoothed(r->steps, std::max<std::size_t>(r->steps.size() / 50, 1));
    for (std::size_t i = 0; i < curve.size(); ++i)
      out << which << ",training," << r->steps[i].step << ',' << r->steps[i].elapsed << ',' << curve[i] << '\n';
    for (const evaluation_line& e : r->evaluations)
      out << which << ",held_out," << e.step << ',' << e.elapsed << ',' << -e.all.negative_log_perplexity << '\n';
  }
  s.csv("loss", out.str());
  // From the first look at held-out text on: the fall before it would leave no room for what comes after.
  std::string frame;
  if (!dense.evaluations.empty() && !sparse.evaluations.empty()) {
    const auto nats = [](const evaluation_line& e) { return -e.all.negative_log_perplexity; };
    const double most = std::max(nats(dense.evaluations.front()), nats(sparse.evaluations.front()));
    const double goal = nats(dense.evaluations.back());
    auto limits = numbers();
    limits << "set yrange [*:" << 1.02 * most << "]\ngoal = " << goal << '\n';
    if (std::isfinite(most + goal)) frame = limits.str();
  }
  for (const bool by_time : {false, true}) {
    const std::string x = by_time ? "4" : "3";
    const auto curve = [&](const char* which, const char* kind, const char* style) {
      return "'loss.csv' using " + x + ":((stringcolumn(1) eq '" + which + "' && stringcolumn(2) eq '" + kind +
             "') ? $5 : NaN) " + style;
    };
    const auto lines = [](const char* color) {
      return std::string("with lines lw 1 lc rgb '#a0") + (color + 1) + "' notitle";
    };
    const auto points = [](const char* color, const std::string& title) {
      return std::string("with linespoints pt 7 ps 0.5 lw 2 lc rgb '") + color + "' title " + quoted(title);
    };
    s.picture(by_time ? "loss_time" : "loss_steps", by_time ? "Loss against time" : "Loss against steps",
              "Nats per target token. Points: held-out text. Pale: training, mean of the last steps.",
              std::string("set xlabel '") + (by_time ? "seconds of training" : "steps") +
                  "'\nset ylabel 'nats per token'\nset datafile missing NaN\n" + frame + "plot " +
                  (frame.empty() ? "" : "goal with lines dt 2 lc rgb '#888888' title 'last of the dense model', ") +
                  "\\\n  " + curve("dense", "training", lines(dense_color).c_str()) + ", \\\n  " +
                  curve("switch", "training", lines(switch_color).c_str()) + ", \\\n  " +
                  curve("dense", "held_out", points(dense_color, dense.name).c_str()) + ", \\\n  " +
                  curve("switch", "held_out", points(switch_color, sparse.name).c_str()) + "\n");
  }
}

void draw_dropped(studio& s, const run& sparse) {
  auto out = numbers();
  out << "step,dropped_fraction\n";
  for (const step_line& line : sparse.steps) out << line.step << ',' << line.dropped_fraction << '\n';
  s.csv("dropped", out.str());
  s.picture(
      "dropped", "Dropped tokens", "Share of the tokens that found their expert full, mean over the Switch layers.",
      std::string("set xlabel 'steps'\nset ylabel 'dropped, %'\nset yrange [0:*]\nplot 'dropped.csv' using 1:(100*$2) "
                  "with lines lw 1.5 lc rgb '") +
          switch_color + "' notitle\n",
      260);
}

/// One picture per Switch layer: experts upwards, steps to the right, 1 where the load is balanced.
void draw_loads(studio& s, const run& sparse) {
  if (sparse.loads.empty()) return;
  for (std::size_t layer = 0; layer < sparse.loads.front().layers.size(); ++layer) {
    auto out = numbers();
    out << "step,expert,load\n";
    for (const load_line& line : sparse.loads) {
      if (layer >= line.layers.size()) continue;
      const auto& load = line.layers[layer];
      const double mean =
          std::accumulate(load.begin(), load.end(), 0.0) / static_cast<double>(std::max<std::size_t>(load.size(), 1));
      for (std::size_t e = 0; e < load.size(); ++e)
        out << line.step << ',' << e << ',' << (mean > 0 ? load[e] / mean : 0) << '\n';
    }
    const std::string name = "load_" + std::to_string(layer);
    s.csv(name, out.str());
    s.picture(
        name, "Load of the experts, Switch layer " + std::to_string(layer + 1),
        "Tokens of each expert over an even share: 1 is balanced, 0 idle.",
        "set xlabel 'steps'\nset ylabel 'expert'\nset cbrange [0:2]\nset palette defined (0 '#f5f5f5', 1 '#e8a87c', 2 "
        "'#8a2f0a')\nunset grid\nset autoscale fix\nplot '" +
            name + ".csv' using 1:2:3 with image notitle\n",
        240);
  }
}

void draw_languages(studio& s, const run& dense, const run& sparse) {
  if (dense.evaluations.empty() || sparse.evaluations.empty()) return;
  const auto& a = dense.evaluations.back().languages;
  const auto& b = sparse.evaluations.back().languages;
  if (a.size() < 2) return;
  auto out = numbers();
  out << "language,dense,switch,gain\n";
  for (const auto& [language, loss] : a)
    if (const auto other = b.find(language); other != b.end())
      out << field(language) << ',' << loss.bits_per_byte << ',' << other->second.bits_per_byte << ','
          << loss.bits_per_byte - other->second.bits_per_byte << '\n';
  s.csv("languages", out.str());
  s.picture(
      "languages", "Held-out text by language", "Bits per byte at the end of training: lower is better.",
      std::string(
          "set style data histogram\nset style histogram clustered gap 1\nset style fill solid 0.9 noborder\n"
          "set yrange [0:*]\nset ylabel 'bits per byte'\nset xtics rotate by -30 noenhanced\nset key outside right\n"
          "plot 'languages.csv' every ::1 using 2:xtic(1) lc rgb '") +
          dense_color + "' title " + quoted(dense.name) + ", '' every ::1 using 3 lc rgb '" + switch_color +
          "' title " + quoted(sparse.name) + "\n",
      320);
}

void draw_stages(studio& s, const run& dense, const run& sparse) {
  const auto a = stages(dense), b = stages(sparse);
  auto out = numbers();
  out << "run";
  for (const auto& stage : a) out << ',' << stage.first;
  for (const auto& [name, all] : {std::pair{dense.name, &a}, std::pair{sparse.name, &b}}) {
    out << '\n' << field(name);
    for (const auto& stage : *all) out << ',' << 1e3 * stage.second;
  }
  out << '\n';
  s.csv("stages", out.str());
  std::string commands =
      "set style data histogram\nset style histogram rowstacked\nset style fill solid 0.9 noborder\nset boxwidth 0.5\n"
      "set yrange [0:*]\nset ylabel 'ms'\nset xtics noenhanced\nset key outside right\nplot ";
  const char* colors[] = {"#9e9e9e", "#4878a8", "#d8732a", "#6aa84f", "#d0d0d0"};
  for (std::size_t i = 0; i < a.size(); ++i)
    commands += (i ? ", ''" : "'stages.csv'") + std::string(" every ::1 using ") + std::to_string(i + 2) +
                ":xtic(1) lc rgb '" + colors[i] + "' title '" + a[i].first + "'";
  s.picture("stages", "Where a step's time goes", "Median milliseconds of each stage.", commands + "\n", 320);
}

} // namespace

std::vector<plot> draw(const run& dense, const run& sparse, const std::string& folder) {
  studio s(folder);
  draw_losses(s, dense, sparse);
  draw_languages(s, dense, sparse);
  draw_dropped(s, sparse);
  draw_loads(s, sparse);
  draw_stages(s, dense, sparse);
  return s.take();
}

} // namespace report
