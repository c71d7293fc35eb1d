// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <cstdio>
#include <fstream>
#include <switchyard/mesh/einsum.hpp>
#include <switchyard/mesh/picture.hpp>
#include <switchyard/mesh/reshard.hpp>

// The five parallel layouts of the Switch Transformer paper's Figure 9, on 16 ranks, as template arguments: which rank
// holds which part of the tokens and of the weights. Needs one process; nothing is computed.
//
//   03_layouts [picture.svg]

namespace sy = switchyard;
namespace dims = sy::dims;

struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};

using group_over_data = sy::split<dims::group, data>;
using experts_over_data = sy::split<dims::experts, data>;
using d_ff_over_model = sy::split<dims::d_ff, model>;

/// A layout is a mesh and rules; the tensors and the movements between them follow. Rules of the expert side are the
/// same in another order of priority: there the slots of an expert lie where the expert lies.
template <std::int64_t Data, std::int64_t Model, class Rules, class ExpertSide = Rules>
struct layout {
  using mesh = sy::mesh<sy::axis<data, Data>, sy::axis<model, Model>>;
  using x = sy::tensor_of<float, mesh, Rules, dims::group, dims::token, dims::d_model>;
  using wi = sy::tensor_of<float, mesh, Rules, dims::experts, dims::d_model, dims::d_ff>;
  using wo = sy::tensor_of<float, mesh, Rules, dims::experts, dims::d_ff, dims::d_model>;

  using sent = sy::tensor_of<float, mesh, Rules, dims::group, dims::experts, dims::capacity, dims::d_model>;
  using received = sy::tensor_of<float, mesh, ExpertSide, dims::group, dims::experts, dims::capacity, dims::d_model>;
  using hidden = sy::einsum_t<float, received, wi, dims::group, dims::experts, dims::capacity, dims::d_ff>;
  using output = sy::einsum_t<float, hidden, wo, dims::group, dims::experts, dims::capacity, dims::d_model>;
};

using data_parallel = layout<16, 1, sy::rules<group_over_data>>;
using model_parallel = layout<1, 16, sy::rules<d_ff_over_model>>;
using data_and_model = layout<4, 4, sy::rules<group_over_data, d_ff_over_model>>;
using expert_and_data =
    layout<16, 1, sy::rules<group_over_data, experts_over_data>, sy::rules<experts_over_data, group_over_data>>;
using expert_model_and_data = layout<4, 4, sy::rules<group_over_data, experts_over_data, d_ff_over_model>,
                                     sy::rules<experts_over_data, group_over_data, d_ff_over_model>>;

template <class From, class To>
void print_movements(const char* what) {
  std::printf("  %s:", what);
  constexpr auto plan = sy::plan_of<From, To>;
  if (plan.count == 0) std::printf(" no communication");
  const auto axes = std::array{data::label(), model::label()};
  for (std::size_t i = 0; i < plan.count; ++i)
    std::printf("%s %s over %s", i ? "," : "", label(plan.steps[i].kind),
                std::string(axes[static_cast<std::size_t>(plan.steps[i].axis)]).c_str());
  std::printf("\n");
}

template <class Layout>
sy::picture_column show(const char* title, const char* mesh_tensorflow, std::int64_t experts) {
  constexpr auto mesh = Layout::mesh::fixed_extents;
  const auto x = sy::layout_of<typename Layout::x>(mesh, {16, 8, 32});
  const auto wi = sy::layout_of<typename Layout::wi>(mesh, {experts, 32, 64});
  const auto wo = sy::layout_of<typename Layout::wo>(mesh, {experts, 64, 32});
  std::printf("%s (Mesh TensorFlow: %s)\n  x  %s\n  wi %s\n  wo %s\n", title, mesh_tensorflow,
              describe_placement(x).c_str(), describe_placement(wi).c_str(), describe_placement(wo).c_str());
  print_movements<typename Layout::sent, typename Layout::received>("slots to experts");
  print_movements<typename Layout::output, typename Layout::sent>("outputs to tokens");
  return {title, {{"weights wi", wi}, {"weights wo", wo}, {"tokens x", x}}};
}

int main(int count, char** arguments) {
  const std::vector<sy::picture_column> columns{
      show<data_parallel>("data", "mesh_shape all:16, layout batch:all", 1),
      show<model_parallel>("model", "mesh_shape model:16, layout d_ff:model", 1),
      show<data_and_model>("data + model", "mesh_shape batch:4,model:4, layout batch:batch,d_ff:model", 1),
      show<expert_and_data>("expert + data", "mesh_shape all:16, layout batch:all,experts:all", 16),
      show<expert_model_and_data>("expert + model + data",
                                  "mesh_shape batch:4,model:4, layout batch:batch,experts:batch,d_ff:model", 4)};
  std::printf("\n16 ranks, one letter each; equal letters hold equal values\n\n%s", draw_text(columns).c_str());
  if (count > 1) {
    std::ofstream file(arguments[1]);
    file << draw_svg("Which rank holds what: the five layouts on 16 ranks", columns);
    if (!file) {
      std::fprintf(stderr, "cannot write %s\n", arguments[1]);
      return 1;
    }
    std::printf("\nwritten: %s\n", arguments[1]);
  }
}
