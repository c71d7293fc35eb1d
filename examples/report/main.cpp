// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "plots.hpp"
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>

// Two training runs, a dense model and a Switch Transformer of the same work per token, as one page that needs nothing
// beside itself.

namespace {

using namespace report;

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

std::string number(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

/// The claim of the paper, as these two runs bear it out or do not.
std::string verdict(const run& dense, const run& sparse) {
  if (dense.evaluations.empty() || sparse.evaluations.empty()) return "There is no held-out text to compare on.";
  const double a = dense.evaluations.back().all.negative_log_perplexity,
               b = sparse.evaluations.back().all.negative_log_perplexity;
  std::string text = "After " + std::to_string(dense.steps.back().step) + " steps the dense model needs " +
                     number("%.4f", -a) + " nats per held-out token; the Switch model after " +
                     std::to_string(sparse.steps.back().step) + " steps " + number("%.4f", -b) + ". ";
  if (const auto at = reaches(sparse, dense)) {
    const double steps = static_cast<double>(dense.steps.back().step), seconds = dense.steps.back().elapsed;
    return text + "The Switch model reaches the dense model's final loss at step " + number("%.0f", at->step) + ", " +
           number("%.2f", steps / at->step) + " times earlier, and after " + number("%.0f", at->seconds) +
           " s of training, " + number("%.2f", seconds / at->seconds) + " times as fast (" + number("%.0f", seconds) +
           " s).";
  }
  return text + "The Switch model does not reach the dense model's final loss.";
}

void table(std::ostream& out, const run& dense, const run& sparse) {
  out << "<table><tr><th></th><th>" << escaped(dense.name) << "</th><th>" << escaped(sparse.name) << "</th></tr>\n";
  const auto row = [&](const std::string& what, const std::string& a, const std::string& b) {
    out << "<tr><td>" << escaped(what) << "</td><td>" << escaped(a) << "</td><td>" << escaped(b) << "</td></tr>\n";
  };
  for (const auto& [name, value] : dense.facts) {
    const auto other = sparse.facts.find(name);
    if (name != "name") row(name, value, other == sparse.facts.end() ? "" : other->second);
  }
  row("tokens per second, median", number("%.0f", dense.tokens_per_second()),
      number("%.0f", sparse.tokens_per_second()));
  row("seconds of training", number("%.1f", dense.steps.back().elapsed), number("%.1f", sparse.steps.back().elapsed));
  if (!dense.evaluations.empty() && !sparse.evaluations.empty()) {
    const auto &a = dense.evaluations.back().all, &b = sparse.evaluations.back().all;
    row("held out: negative log perplexity", number("%.4f", a.negative_log_perplexity),
        number("%.4f", b.negative_log_perplexity));
    row("held out: bits per byte", number("%.4f", a.bits_per_byte), number("%.4f", b.bits_per_byte));
  }
  row("dropped tokens at the end", "", number("%.2f %%", 100 * sparse.steps.back().dropped_fraction));
  out << "</table>\n";
}

void samples(std::ostream& out, const run& dense, const run& sparse) {
  if (dense.samples.empty() && sparse.samples.empty()) return;
  out << "<h2>What they write</h2>\n<p>Gaps in sentences, filled in by the trained models.</p>\n";
  for (std::size_t i = 0; i < std::max(dense.samples.size(), sparse.samples.size()); ++i) {
    const run& any = i < sparse.samples.size() ? sparse : dense;
    out << "<div class=sample><p class=prompt>" << escaped(any.samples[i].prompt) << "</p>";
    for (const run* r : {&dense, &sparse})
      if (i < r->samples.size())
        out << "<p><b>" << escaped(r->name) << "</b> " << escaped(r->samples[i].text) << "</p>";
    out << "</div>\n";
  }
}

void page(std::ostream& out, const run& dense, const run& sparse, const std::vector<plot>& plots) {
  out << "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport "
         "content=\"width=device-width\"><title>Dense and Switch</title>\n<style>\n"
         "body{font:16px/1.5 sans-serif;max-width:800px;margin:2em auto;padding:0 1em;color:#222}\n"
         "svg{max-width:100%;height:auto}table{border-collapse:collapse;margin:1em 0}\n"
         "td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:left}figure{margin:2em 0}\n"
         "figcaption{color:#555;font-size:.9em}.claim{font-size:1.15em;border-left:4px solid "
         "#d8732a;padding-left:1em}\n"
         ".sample{border-top:1px solid #ddd}.prompt{color:#555}\n</style></head><body>\n"
         "<h1>A dense Transformer and a Switch Transformer</h1>\n<p>The same text, the same steps, the same work per "
         "token; the Switch model has more parameters and routes every token to one expert of each sparse layer.</p>\n"
         "<p class=claim>"
      << escaped(verdict(dense, sparse)) << "</p>\n";
  table(out, dense, sparse);
  for (const plot& p : plots)
    out << "<figure><h2>" << escaped(p.title) << "</h2>\n"
        << (p.svg.empty() ? "<p>No picture: gnuplot is missing.</p>" : p.svg) << "\n<figcaption>" << escaped(p.about)
        << " Numbers: data/" << escaped(p.data) << "</figcaption></figure>\n";
  if (!sparse.layout_svg.empty())
    out << "<figure><h2>Which rank holds what</h2>\n"
        << sparse.layout_svg.substr(std::min(sparse.layout_svg.find("<svg"), sparse.layout_svg.size()))
        << "\n</figure>\n";
  samples(out, dense, sparse);
  out << "</body></html>\n";
}

} // namespace

int main(int count, char** arguments) {
  std::string dense_folder, switch_folder, out = "out";
  CLI::App app("A page about two training runs, a dense and a Switch model.", "report");
  app.add_option("--dense", dense_folder, "folder of the dense run")->required();
  app.add_option("--switch", switch_folder, "folder of the Switch run")->required();
  app.add_option("--out", out, "folder for report.html and data/")->capture_default_str();
  try {
    app.parse(count, arguments);
    const run dense = read_run(dense_folder), sparse = read_run(switch_folder);
    const auto plots = draw(dense, sparse, out);
    std::ofstream file(out + "/report.html", std::ios::binary);
    page(file, dense, sparse, plots);
    file.flush();
    if (!file) throw std::runtime_error(out + "/report.html: cannot be written; name another folder");
    std::cout << verdict(dense, sparse) << '\n' << out << "/report.html\n";
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& problem) {
    std::cerr << "report: " << problem.what() << "; see report --help\n";
    return 1;
  } catch (const std::exception& problem) {
    std::cerr << "report: " << problem.what() << '\n';
    return 1;
  }
  return 0;
}
