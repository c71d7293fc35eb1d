// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <catch2/catch_test_macros.hpp>
#include <switchyard/mesh/einsum.hpp>
#include <switchyard/mesh/picture.hpp>

// What describe and the picture say, to the letter.

namespace sy = switchyard;
namespace dims = sy::dims;

namespace {

struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
using plane = sy::mesh<sy::axis<data, 3>, sy::axis<model, 2>>;
using rules = sy::rules<sy::split<dims::group, data>, sy::split<dims::experts, data>, sy::split<dims::d_ff, model>>;
using wi = sy::tensor_of<float, plane, rules, dims::experts, dims::d_model, dims::d_ff>;
using x = sy::tensor_of<float, plane, rules, dims::group, dims::d_model>;

int times(const std::string& text, const std::string& part) {
  int count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

} // namespace

TEST_CASE("describe says which rank holds which range of each dimension") {
  CHECK(sy::describe<wi>({3, 2}, {4, 6, 8}) ==
        "[experts 4, d_model 6, d_ff 8] on mesh data 3 x model 2: data S<experts>, model S<d_ff>\n"
        "  rank 0 (data 0, model 0): experts 0..1, d_model 0..5, d_ff 0..3\n"
        "  rank 1 (data 0, model 1): experts 0..1, d_model 0..5, d_ff 4..7\n"
        "  rank 2 (data 1, model 0): experts 2..2, d_model 0..5, d_ff 0..3\n"
        "  rank 3 (data 1, model 1): experts 2..2, d_model 0..5, d_ff 4..7\n"
        "  rank 4 (data 2, model 0): experts 3..3, d_model 0..5, d_ff 0..3\n"
        "  rank 5 (data 2, model 1): experts 3..3, d_model 0..5, d_ff 4..7\n");
}

TEST_CASE("describe: dimensions cut twice, partial sums, ranks that hold nothing, one rank") {
  using twice = sy::tensor<float, plane, sy::dimensions<dims::experts>,
                           sy::placements<sy::S<dims::experts>, sy::S<dims::experts>>>;
  CHECK(sy::describe<twice>({3, 2}, {5}) == "[experts 5] on mesh data 3 x model 2: data S<experts>, model S<experts>\n"
                                            "  rank 0 (data 0, model 0): experts 0..0\n"
                                            "  rank 1 (data 0, model 1): experts 1..1\n"
                                            "  rank 2 (data 1, model 0): experts 2..2\n"
                                            "  rank 3 (data 1, model 1): experts 3..3\n"
                                            "  rank 4 (data 2, model 0): experts 4..4\n"
                                            "  rank 5 (data 2, model 1): experts none\n");
  using line = sy::mesh<sy::axis<model>>;
  using sums = sy::tensor<float, line, sy::dimensions<dims::d_model>, sy::placements<sy::P>>;
  CHECK(sy::describe<sums>({2}, {4}) == "[d_model 4] on mesh model 2: model P\n"
                                        "  rank 0 (model 0): a term of d_model 0..3\n"
                                        "  rank 1 (model 1): a term of d_model 0..3\n");
  const sy::tensor<float, sy::mesh<>, sy::dimensions<dims::d_model>, sy::placements<>> alone(sy::mesh<>(), {4});
  CHECK(sy::describe(alone) == "[d_model 4] on one rank\n  rank 0: d_model 0..3\n");
}

TEST_CASE("extents that a mesh cannot cut are refused, with what to change") {
  try {
    static_cast<void>(sy::describe<wi>({3, 2}, {4, 6, 7}));
    FAIL("no error");
  } catch (const sy::invalid_argument& e) {
    CHECK(std::string(e.what()) == "switchyard: d_ff = 7: cannot be split over axis model of size 2 (remainder 1); "
                                   "make it a multiple of 2 or change the mesh");
  }
  CHECK_THROWS_AS(sy::describe<x>({3, 2}, {-1, 4}), sy::invalid_argument);
  using sized = sy::tensor<float, plane, sy::dimensions<sy::dimension<dims::d_ff, 8>>, sy::placements<sy::R, sy::R>>;
  CHECK_THROWS_AS(sy::describe<sized>({3, 2}, {6}), sy::invalid_argument); // the type says 8
}

TEST_CASE("the picture has a cell for each rank, and one colour for each part") {
  const std::vector<sy::picture_column> columns{
      {"expert & model",
       {{"weights", sy::layout_of<wi>({3, 2}, {3, 6, 8})}, {"tokens", sy::layout_of<x>({3, 2}, {3, 6})}}}};
  CHECK(draw_text(columns) == "expert & model\n"
                              "  weights  tokens\n"
                              "  A B      A A\n"
                              "  C D      B B\n"
                              "  E F      C C\n");
  const std::string svg = draw_svg("<title>", columns);
  CHECK(svg == draw_svg("<title>", columns));
  CHECK(svg.rfind("<svg xmlns=\"http://www.w3.org/2000/svg\"", 0) == 0);
  CHECK(svg.substr(svg.size() - 7) == "</svg>\n");
  CHECK(times(svg, "<g ") == 2);
  CHECK(times(svg, "</g>") == 2);
  CHECK(times(svg, "class=\"rank\"") == 12);
  CHECK(times(svg, "class=\"part\"") == 12);
  CHECK(times(svg, "<text ") == times(svg, "</text>"));
  CHECK(svg.find("expert &amp; model") != std::string::npos);
  CHECK(svg.find("&lt;title&gt;") != std::string::npos);
  CHECK(svg.find("data S&lt;experts&gt;, model S&lt;d_ff&gt;</title>") != std::string::npos);
  for (const char* letter : {"A", "B", "C"}) CHECK(times(svg, ">" + std::string(letter) + "</text>") == 3);
  for (const char* letter : {"D", "E", "F"}) CHECK(times(svg, ">" + std::string(letter) + "</text>") == 1);
}

TEST_CASE("a line of ranks is folded, partial sums are never equal, many parts get numbers") {
  using line = sy::mesh<sy::axis<data>>;
  using sums = sy::tensor<float, line, sy::dimensions<dims::d_model>, sy::placements<sy::P>>;
  using whole = sy::tensor<float, line, sy::dimensions<dims::d_model>, sy::placements<sy::R>>;
  CHECK(sy::draw_text({{"t", {{"a", sy::layout_of<sums>({3}, {4})}, {"b", sy::layout_of<whole>({3}, {4})}}}}) ==
        "t\n  a    b\n  A B  A A\n  C    A\n");
  const auto many = sy::layout_of<sums>({53}, {4});
  CHECK(sy::detail::part_letter(many.holders()[25]) == "Z");
  CHECK(sy::detail::part_letter(many.holders()[26]) == "a");
  CHECK(sy::detail::part_letter(many.holders()[52]) == "52");
}

TEST_CASE("the algebra on one process, without MPI") {
  const Kokkos::DefaultExecutionSpace exec;
  const sy::mesh<> mesh;
  using a_type = sy::tensor<sy::bfloat16, sy::mesh<>, sy::dimensions<dims::token, dims::d_model>, sy::placements<>>;
  using b_type = sy::tensor<sy::bfloat16, sy::mesh<>, sy::dimensions<dims::d_model, dims::d_ff>, sy::placements<>>;
  const a_type a(mesh, {2, 1000});
  const b_type b(mesh, {1000, 3});
  Kokkos::deep_copy(a.view(), sy::bfloat16(1.0f));
  Kokkos::deep_copy(b.view(), sy::bfloat16(0.5f));
  const auto sum = sy::einsum_as<float, dims::d_ff, dims::token>(exec, a, b);
  const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), sum.view());
  CHECK(host.extent(0) == 3);
  CHECK(host(2, 1) == 500); // in bfloat16 a sum of halves ends at 128
}
