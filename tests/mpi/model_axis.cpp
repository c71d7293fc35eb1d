// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "model_on_mesh.hpp"
#ifdef SWITCHYARD_TEST_PLAN
#include "cost.hpp"
#endif

using namespace model_test;

// Batch and experts over one axis; heads, d_ff and vocabulary over another.

namespace {

struct model : sy::name<"model"> {};
using heads_rule = sy::split<sy::dims::heads, model>;
using d_ff_rule = sy::split<sy::dims::d_ff, model>;
using vocab_rule = sy::split<sy::dims::vocab, model>;

using mesh_type = sy::mesh<sy::axis<data>, sy::axis<model>>;
using rules_type = sy::rules<group_rule, expert_rule, heads_rule, d_ff_rule, vocab_rule>;
using model_type = sy::transformer<Kokkos::DefaultExecutionSpace, sy::uniform<double>, mesh_type, rules_type>;

// Each by its name.
template <class... Rule>
using layout = sy::transformer_layout<mesh_type, sy::rules<group_rule, Rule...>>;
static_assert(!layout<>::weights_split && layout<>::groups_split);
static_assert(layout<heads_rule>::heads_split && !layout<heads_rule>::vocab_split && !layout<heads_rule>::d_ff_split);
static_assert(layout<vocab_rule>::vocab_split && !layout<vocab_rule>::heads_split && !layout<vocab_rule>::d_ff_split);
static_assert(layout<d_ff_rule>::weights_split && !layout<d_ff_rule>::heads_split && !layout<d_ff_rule>::vocab_split);
static_assert(layout<heads_rule>::heads_axis_index == 1 && layout<heads_rule>::vocab_axis_index == 2);
static_assert(!sy::transformer_layout<sy::mesh<>, sy::rules<>>::weights_split);

} // namespace

TEST_CASE("a model that shares weights equals one process", "[models]") {
  const model_subject* one = nullptr;
  for (const model_subject& s : model_subjects())
    if (std::string(s.precision) == "uniform<double>") one = &s;
  REQUIRE(one != nullptr);
  for (std::int64_t m = 1; m <= ranks(); m *= 2) {
    sy::traffic sent;
    const mesh_type mesh(sy::counting(sy::mpi(MPI_COMM_WORLD), sent), {ranks() / m, m});
    for (const named_job& n : jobs()) {
      INFO(n.name << ", data " << ranks() / m << ", model " << m);
      compare<model_type>(mesh, sent, *one, shared(n), 1e-12);
    }
  }
}

TEST_CASE("models that an axis cannot cut", "[models]") {
  const mesh_type mesh(sy::mpi(MPI_COMM_WORLD), {1, ranks()});
  const auto says = [&](const auto& change) {
    sy::transformer_config c = shared(jobs()[2]).work.config; // a dense model
    change(c);
    std::string text;
    try {
      const model_type made(mesh, c);
    } catch (const sy::invalid_argument& e) {
      text = e.what();
    }
    return text;
  };
  const std::string n = std::to_string(ranks());
  const std::string axis = ": cannot be split over axis model of size " + n + " (remainder 1); make it a multiple of " +
                           n + " or change the mesh";
  const auto all_say = [&](const std::string& wanted, const auto& change) {
    const std::string text = says(change);
    INFO(text);
    CHECK(everywhere(text.find(wanted + axis) != std::string::npos));
  };
  all_say("heads = 5", [](auto& c) { c.heads = 5; });
  all_say("d_ff = 9", [](auto& c) { c.d_ff = 9; });
  all_say("vocabulary = 13", [](auto& c) { c.vocabulary = 13; });
  CHECK(everywhere(says([](auto&) {}).empty()));
}

#ifdef SWITCHYARD_TEST_PLAN
TEST_CASE("a plan has the bytes and the calls of a model axis that a run counts", "[models]") {
  // The plan is one of bfloat16 and float, the model here of doubles: a number here is four of its values.
  constexpr std::int64_t wider = sizeof(double) / sizeof(sy::bfloat16), float_wider = sizeof(double) / sizeof(float);
  for (const bool encoder : {true, false})
    for (std::int64_t m = 2; m <= ranks(); m *= 2) {
      plan::task t;
      t.model = shared(jobs()[2]).work.config; // dense: those of Switch layers have their own tests
      if (!encoder) t.model.encoder_layers = 0;
      t.batch = 4, t.source_length = 6, t.target_length = 4, t.groups = 0;
      const plan::estimate e = plan::evaluate(t, {}, {plan::layout::data_model, 1, ranks() / m, m});
      INFO("encoder " << encoder << ", model " << m << ", " << e.illegal);
      REQUIRE(e.illegal.empty());

      sy::traffic sent;
      const mesh_type mesh(sy::counting(sy::mpi(MPI_COMM_WORLD), sent), {ranks() / m, m});
      const model_type::execution_space exec;
      const model_type made(mesh, t.model);
      const auto packed = made.pack(exec, made.init(exec, sy::seed{1}));
      const auto gradients = made.zeros(exec);
      auto tape = made.make_tape(exec, t.batch, t.source_length, t.target_length);
      const auto tokens = [&](std::int64_t length) {
        const sy::model::matrix<std::int32_t, model_type::space> view(
            "tokens", static_cast<std::size_t>(made.sequences_here(t.batch).count), static_cast<std::size_t>(length));
        Kokkos::deep_copy(view, 3);
        return model_type::tokens_view(view);
      };
      sent.reset();
      made.forward(exec, packed, encoder ? tokens(t.source_length) : model_type::tokens_view(), tokens(t.target_length),
                   tape);
      made.backward(exec, packed, tape, gradients);
      exec.fence("test: everything is sent");
      std::int64_t reduced = 0, reduces = 0, gathered = 0, gathers = 0;
      for (const plan::sent& s : e.traffic)
        if (s.axis == 2) {
          const bool sums = s.kind == sy::collective::all_reduce;
          (sums ? reduced : gathered) += s.bytes * (sums ? wider : float_wider);
          (sums ? reduces : gathers) += s.calls;
        }
      CHECK(everywhere(sent.bytes("model", sy::collective::all_reduce) == reduced));
      CHECK(everywhere(sent.calls("model", sy::collective::all_reduce) == 2 * reduces)); // an exchange, a gather
      CHECK(everywhere(sent.bytes("model", sy::collective::all_gather) == gathered));
      CHECK(everywhere(sent.calls("model", sy::collective::all_gather) == gathers));
    }
}
#endif
