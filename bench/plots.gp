# SPDX-FileCopyrightText: Switchyard contributors
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# The plots of report.md, from the tables that report.py wrote. Run in their folder.
set terminal svg size 720,440 font "sans,12" background "white"
set grid
set key left top
there(file) = int(system("test -s " . file . ".dat && echo 1 || echo 0"))
kinds = "forward_bf16 forward_fp32 forward_backward_bf16"

do for [axis in "experts tokens"] {
  some = ""
  do for [k in kinds] { if (there(axis . "_" . k)) { some = some . " " . k } }
  if (words(some) == 0) { continue }
  set logscale x 2
  set xlabel axis
  set output axis . ".svg"
  set logscale y
  set ylabel "ms"
  plot for [i = 1:words(some)] axis."_".word(some, i).".dat" using 1:2:3:4 with yerrorlines lc i pt 7 title word(some, i) noenhanced, \
       for [i = 1:words(some)] axis."_".word(some, i).".dat" using 1:5 with lines lc i dt 2 title word(some, i)." t_min" noenhanced
  unset logscale y
  set output axis . "_vs_dense.svg"
  set ylabel "vs_dense" noenhanced
  set yrange [0:1.2]
  plot 1 with lines lc "gray" notitle, \
       for [i = 1:words(some)] axis."_".word(some, i).".dat" using 1:6:7:8 with yerrorlines lc i pt 7 title word(some, i) noenhanced
  set yrange [*:*]
  unset logscale x
}

if (there("threads")) {
  set output "threads.svg"
  set xlabel "threads"
  set ylabel "speedup"
  stats "threads.dat" skip 1 matrix nooutput
  columns = STATS_size_x
  set key noenhanced
  plot x with lines lc "gray" title "linear", \
       for [i = 2:columns] "threads.dat" using 1:i with linespoints pt 7 title columnheader(i)
}

if (there("roofline") && there("roofs")) {
  set output "roofline.svg"
  stats "roofs.dat" using 1 nooutput
  bandwidth = STATS_max
  stats "roofs.dat" using 2 nooutput
  bf16 = STATS_max
  stats "roofs.dat" using 3 nooutput
  fp32 = STATS_max
  roof(x, peak) = x * bandwidth < peak ? x * bandwidth : peak
  set logscale xy
  set xlabel "useful FLOP per byte"
  set ylabel "GFLOP/s"
  set xrange [0.1:2000]
  plot roof(x, bf16) with lines lc 1 title "bf16", roof(x, fp32) with lines lc 2 title "fp32", \
       for [i = 1:4] "roofline.dat" using 1:(strcol(3) eq word("layer experts router combine", i) ? $2 : NaN) \
       with points pt 6 lc (i + 2) title word("layer experts router combine", i)
  unset logscale
  set xrange [*:*]
}

if (there("stages")) {
  set terminal svg size 1100,560 font "sans,11" background "white"
  set output "stages.svg"
  set style data histograms
  set style histogram rowstacked
  set style fill solid 0.9 border -1
  set boxwidth 0.8
  set key outside right noenhanced
  set xlabel ""
  set ylabel "ms"
  set yrange [0:*]
  set xtics rotate by -40 noenhanced
  plot for [i = 2:18] "stages.dat" using i:xtic(1) title columnheader(i)
}
