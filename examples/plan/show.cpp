// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "show.hpp"
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iomanip>

namespace plan {
namespace {

std::string text(const char* format, double number, const char* unit) {
  char line[64];
  std::snprintf(line, sizeof line, format, number, unit);
  return line;
}

double tokens_of(const task& t) {
  return static_cast<double>(t.batch) *
         static_cast<double>((t.model.has_encoder() ? t.source_length : 0) + t.target_length);
}

} // namespace

std::string bytes_text(double bytes) {
  for (const auto& [scale, unit] : {std::pair{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "KB"}})
    if (bytes >= 0.9995 * scale) return text("%.3g %s", bytes / scale, unit);
  return text("%.0f %s", bytes, "B");
}

std::string seconds_text(double seconds) {
  for (const auto& [scale, unit] : {std::pair{1.0, "s"}, {1e-3, "ms"}})
    if (seconds >= 0.9995 * scale) return text("%.3g %s", seconds / scale, unit);
  return text("%.3g %s", seconds / 1e-6, "us");
}

std::string mesh_text(const choice& c) {
  std::string mesh = c.replicas > 1 ? "replica=" + std::to_string(c.replicas) + " " : "";
  if (c.data > 1 || c.model == 1) mesh += "data=" + std::to_string(c.data) + (c.model > 1 ? " " : "");
  if (c.model > 1) mesh += "model=" + std::to_string(c.model);
  return mesh;
}

void show_task(std::ostream& out, const task& t, const machine& m) {
  const auto& n = t.model;
  out << "model    d_model " << n.d_model << ", d_ff " << n.d_ff << (n.gated ? " gated" : "") << ", heads " << n.heads
      << " of " << n.d_kv << ", layers " << n.encoder_layers << " + " << n.decoder_layers << ", ";
  if (n.sparse_layers() > 0) out << n.sparse_layers() << " of them with " << n.routing.experts << " experts, ";
  out << text("%.4g%s", static_cast<double>(switchyard::parameter_count(n)) / 1e9, " billion parameters\n")
      << "step     " << t.batch << " sequences of " << (n.has_encoder() ? std::to_string(t.source_length) + " + " : "")
      << t.target_length << " tokens, " << (t.optimizer == optimizer::adamw ? "AdamW" : "Adafactor") << '\n'
      << "machine  " << m.ranks << " devices of " << bytes_text(m.memory) << ", " << text("%.4g%s", m.peak / 1e12, "")
      << " TFLOP/s, " << bytes_text(m.memory_bandwidth) << "/s; links over data " << bytes_text(m.bandwidth[0])
      << "/s and " << seconds_text(m.latency[0]) << ", over model " << bytes_text(m.bandwidth[1]) << "/s and "
      << seconds_text(m.latency[1]) << "\n";
}

void show_layouts(std::ostream& out, const std::vector<estimate>& all, bool every) {
  out << "\n"
      << std::left << std::setw(19) << "layout" << std::setw(32) << "mesh" << std::right << std::setw(11)
      << "parameters" << std::setw(10) << "weights" << std::setw(10) << "optimizer" << std::setw(12) << "activations"
      << std::setw(10) << "memory" << std::setw(10) << "sent" << std::setw(10) << "compute" << std::setw(10) << "links"
      << std::setw(10) << "step"
      << "\n";
  const auto line = [&](const estimate& e) {
    out << std::left << std::setw(19) << label(e.choice.layout) << std::setw(32) << mesh_text(e.choice) << std::right;
    if (!e.illegal.empty()) {
      out << "  " << e.illegal << '\n';
      return;
    }
    double bytes = 0;
    for (const sent& s : e.traffic) bytes += static_cast<double>(s.bytes);
    out << std::setw(11) << text("%.4g%s", static_cast<double>(e.parameters) / 1e9, " G") << std::setw(10)
        << bytes_text(e.weights + e.packed + e.gradients) << std::setw(10) << bytes_text(e.optimizer) << std::setw(12)
        << bytes_text(e.activations) << std::setw(10) << bytes_text(e.memory()) << std::setw(10) << bytes_text(bytes)
        << std::setw(10) << seconds_text(e.compute + e.update) << std::setw(10)
        << seconds_text(e.communication[0] + e.communication[1]) << std::setw(10) << seconds_text(e.seconds())
        << (e.fits ? "" : "  does not fit") << '\n';
  };
  if (every) {
    for (const estimate& e : all) line(e);
    return;
  }
  for (const layout which : layouts) {
    const estimate* shown = best(all, &which);
    for (const estimate& e : all) // nothing fits: the smallest one; nothing is legal: the first
      if (e.choice.layout == which && (shown == nullptr || (!shown->fits && e.illegal.empty() &&
                                                            (!shown->illegal.empty() || e.memory() < shown->memory()))))
        shown = &e;
    if (shown != nullptr) line(*shown);
  }
}

void show_plan(std::ostream& out, const estimate& e) {
  out << "\nbest     " << label(e.choice.layout) << ", " << mesh_text(e.choice) << ", " << e.groups
      << " routing groups\n"
      << "memory   weights " << bytes_text(e.weights) << ", packed " << bytes_text(e.packed) << ", gradients "
      << bytes_text(e.gradients) << ", optimizer " << bytes_text(e.optimizer) << ", activations "
      << bytes_text(e.activations) << '\n';
  if (e.padding > 1) out << "slots    " << text("%.3g%s", e.padding, "") << " per choice of a token, at most\n";
  out << "sends    per step, to other devices\n";
  for (const sent& s : e.traffic)
    out << "         over " << std::left << std::setw(8) << axes[s.axis] << std::setw(16) << switchyard::label(s.kind)
        << std::setw(10) << s.what << std::right << std::setw(10) << bytes_text(static_cast<double>(s.bytes)) << " in "
        << s.calls << (s.calls == 1 ? " call\n" : " calls\n");
  if (e.traffic.empty()) out << "         nothing\n";
  out << "time     products " << seconds_text(e.compute) << " (" << text("%.3g%s", e.flop / 1e12, " TFLOP")
      << "), update " << seconds_text(e.update) << ", links over data " << seconds_text(e.communication[0])
      << ", over model " << seconds_text(e.communication[1]) << '\n';
}

std::vector<scaling_point> scale(const task& t, machine m, std::int64_t from, std::int64_t to) {
  std::vector<scaling_point> points;
  for (std::int64_t ranks = from; ranks <= to; ranks *= 2) {
    m.ranks = ranks;
    const auto all = evaluate_all(t, m);
    scaling_point point{ranks, {}};
    for (const layout which : layouts)
      if (const estimate* e = best(all, &which)) point.best.push_back(*e);
    points.push_back(point);
  }
  return points;
}

void show_scaling(std::ostream& out, const task& t, const std::vector<scaling_point>& points) {
  out << "\nscaling, tokens per second at the same batch; a layout that is missing does not fit\n";
  for (const scaling_point& p : points) {
    out << std::setw(6) << p.ranks << " devices ";
    for (const estimate& e : p.best)
      out << "  " << label(e.choice.layout) << " " << text("%.3g%s", tokens_of(t) / e.seconds(), "") << " ("
          << mesh_text(e.choice) << ")";
    out << (p.best.empty() ? "  nothing fits\n" : "\n");
  }
}

std::string write_scaling(const std::string& folder, const task& t, const std::vector<scaling_point>& points) {
  std::error_code ignored;
  std::filesystem::create_directories(folder, ignored);
  const auto write = [&](const std::string& name, const auto& body) {
    std::ofstream file(folder + "/" + name);
    body(file);
    file.flush();
    if (!file) throw switchyard::error(folder + "/" + name + " cannot be written; check the path and its permissions");
  };
  write("scaling.csv", [&](std::ostream& out) {
    out << "ranks,layout,replica,data,model,seconds,tokens_per_second,memory_bytes,communication_seconds\n"
        << std::setprecision(9);
    for (const scaling_point& p : points)
      for (const estimate& e : p.best)
        out << p.ranks << ',' << label(e.choice.layout) << ',' << e.choice.replicas << ',' << e.choice.data << ','
            << e.choice.model << ',' << e.seconds() << ',' << tokens_of(t) / e.seconds() << ',' << e.memory() << ','
            << e.communication[0] + e.communication[1] << '\n';
  });
  write("scaling.gp", [&](std::ostream& out) {
    out << "set terminal svg size 800,500 background 'white'\nset output 'scaling.svg'\nset datafile separator ','\n"
           "set logscale xy 2\nset format y '10^{%L}'\nset logscale y 10\nset key left top\nset grid\n"
           "set xlabel 'devices'\nset ylabel 'predicted tokens per second'\nplot \\\n";
    for (const layout which : layouts)
      out << "  'scaling.csv' using 1:(stringcolumn(2) eq '" << label(which)
          << "' ? $7 : NaN) with linespoints lw 2 title '" << label(which) << "' noenhanced, \\\n";
    const auto first = points.empty() || points.front().best.empty() ? nullptr : &points.front();
    double reference = 1;
    if (first != nullptr) {
      double fastest = first->best.front().seconds();
      for (const estimate& e : first->best) fastest = std::min(fastest, e.seconds());
      reference = tokens_of(t) / fastest / static_cast<double>(first->ranks);
    }
    out << "  " << reference << " * x with lines dashtype 2 lc 'gray' title 'as many times faster as devices'\n";
  });
  const std::string draw = "cd '" + folder + "' && gnuplot scaling.gp >/dev/null 2>&1";
  return std::system(draw.c_str()) == 0 ? "scaling.csv, scaling.svg"
                                        : "scaling.csv; for scaling.svg run gnuplot on scaling.gp";
}

} // namespace plan
