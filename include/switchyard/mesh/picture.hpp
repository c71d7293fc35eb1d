// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <switchyard/mesh/describe.hpp>

/// \file
/// The picture of Figure 9 of the Switch Transformer paper, for any tensors on any mesh: one cell per rank; cells of
/// one colour and letter hold the same values. As text and as SVG, the same bytes for the same input.

namespace switchyard {

/// One grid of ranks: a tensor and what to call it.
struct picture_panel {
  std::string title;
  tensor_layout layout;
};

/// The panels of one parallel layout, drawn below each other.
struct picture_column {
  std::string title;
  std::vector<picture_panel> panels;
};

namespace detail {

/// Ranks of a mesh on paper: the last axis runs to the right where two axes have more than one rank; a line of ranks is
/// folded into a square.
inline std::int64_t cells_per_row(const tensor_layout& t) {
  std::int64_t wide = 0;
  for (const std::int64_t n : t.mesh_extents) wide += n > 1 ? 1 : 0;
  if (wide >= 2) return t.mesh_extents.back();
  std::int64_t side = 1;
  while (side * side < t.ranks()) ++side;
  return side;
}

/// A, B, ... Z, a, ... z, then numbers.
inline std::string part_letter(int number) {
  if (number < 26) return std::string(1, static_cast<char>('A' + number));
  if (number < 52) return std::string(1, static_cast<char>('a' + number - 26));
  return std::to_string(number);
}

inline std::string escaped(const std::string& text) {
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

/// One grid of cells with its upper left corner at (x, y).
inline std::string svg_panel(const picture_panel& panel, std::int64_t x, std::int64_t y, std::int64_t cell) {
  const tensor_layout& t = panel.layout;
  const std::vector<int> holds = t.holders();
  const int parts = holds.empty() ? 0 : *std::max_element(holds.begin(), holds.end()) + 1;
  const std::int64_t per_row = cells_per_row(t);
  std::string out = message("<g class=\"panel\"><title>", escaped(describe_placement(t)), "</title>\n<text x=\"", x,
                            "\" y=\"", y - 6, "\" font-size=\"11\">", escaped(panel.title), "</text>\n");
  for (std::int64_t r = 0; r < t.ranks(); ++r) {
    const std::int64_t left = x + r % per_row * cell, top = y + r / per_row * cell;
    const int number = holds[static_cast<std::size_t>(r)];
    // Neighbouring numbers get distant hues: 137.5 degrees is the golden angle. One part for all: one calm colour.
    const int hue = parts == 1 ? 210 : (number * 1375 / 10 + 210) % 360;
    out += message("<rect class=\"rank\" x=\"", left, "\" y=\"", top, "\" width=\"", cell, "\" height=\"", cell,
                   "\" fill=\"none\" stroke=\"#888\" stroke-dasharray=\"2 2\"/>\n<rect class=\"part\" x=\"", left + 3,
                   "\" y=\"", top + 3, "\" width=\"", cell - 6, "\" height=\"", cell - 6, "\" fill=\"hsl(", hue,
                   ",65%,", 55 + number / 16 % 3 * 10, "%)\"", t.partial() ? " fill-opacity=\"0.5\"" : "",
                   "/>\n<text x=\"", left + cell / 2, "\" y=\"", top + cell / 2 + 4,
                   "\" font-size=\"11\" text-anchor=\"middle\">", part_letter(number), "</text>\n");
  }
  return out + "</g>\n";
}

} // namespace detail

/// The picture as letters: one block per column, its panels side by side.
inline std::string draw_text(const std::vector<picture_column>& columns) {
  std::string out;
  for (const picture_column& column : columns) {
    out += column.title + "\n";
    std::vector<std::vector<std::string>> blocks;
    std::size_t tallest = 0;
    for (const picture_panel& panel : column.panels) {
      const std::vector<int> holds = panel.layout.holders();
      const auto per_row = static_cast<std::size_t>(detail::cells_per_row(panel.layout));
      std::vector<std::string> lines{panel.title};
      for (std::size_t r = 0; r < holds.size(); ++r) {
        if (r % per_row == 0) lines.emplace_back();
        lines.back() += detail::message(r % per_row ? " " : "", detail::part_letter(holds[r]));
      }
      tallest = std::max(tallest, lines.size());
      blocks.push_back(lines);
    }
    for (std::size_t l = 0; l < tallest; ++l) {
      std::string text = "  ";
      for (const auto& lines : blocks) {
        std::size_t widest = 0;
        for (const std::string& line : lines) widest = std::max(widest, line.size());
        const std::string line = l < lines.size() ? lines[l] : "";
        text += line + std::string(widest - line.size() + 2, ' ');
      }
      text.erase(text.find_last_not_of(' ') + 1);
      out += text + "\n";
    }
  }
  return out;
}

/// The picture as a stand-alone SVG document.
inline std::string draw_svg(const std::string& title, const std::vector<picture_column>& columns) {
  constexpr std::int64_t cell = 26, gap = 34, head = 64;
  std::vector<std::int64_t> row_height; // of the tallest panel in each row
  std::string body;
  std::int64_t x = gap, bottom = head;
  for (const picture_column& column : columns)
    for (std::size_t i = 0; i < column.panels.size(); ++i) {
      const tensor_layout& t = column.panels[i].layout;
      const std::int64_t per_row = detail::cells_per_row(t);
      if (row_height.size() <= i) row_height.push_back(0);
      row_height[i] = std::max(row_height[i], (t.ranks() + per_row - 1) / per_row * cell);
    }
  for (const picture_column& column : columns) {
    std::int64_t width = 8 * static_cast<std::int64_t>(column.title.size()), y = head;
    body += detail::message("<text x=\"", x, "\" y=\"", head - 24, "\" font-size=\"13\" font-weight=\"bold\">",
                            detail::escaped(column.title), "</text>\n");
    for (std::size_t i = 0; i < column.panels.size(); ++i) {
      body += detail::svg_panel(column.panels[i], x, y, cell);
      width = std::max({width, detail::cells_per_row(column.panels[i].layout) * cell,
                        6 * static_cast<std::int64_t>(column.panels[i].title.size())});
      y += row_height[i] + gap;
      bottom = std::max(bottom, y);
    }
    x += width + gap;
  }
  return detail::message(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", x, "\" height=\"", bottom,
      "\" font-family=\"sans-serif\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"", gap,
      "\" y=\"20\" font-size=\"14\">", detail::escaped(title), "</text>\n", body, "</svg>\n");
}

} // namespace switchyard
