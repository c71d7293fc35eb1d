// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/model/transformer.hpp>
#include <switchyard/train/detail/distillation_kernels.hpp>

/// \file
/// Distillation of a model into another one, usually of a Switch Transformer into a dense T5 (paper, section 4.1):
/// beside the targets y, the student learns the probabilities p' of a teacher that reads the same tokens, with soft =
/// 0.25,
///
///   L = (1 - soft) (lse - z_y) + soft (lse - sum_v p'_v z_v) + c_z lse^2            per target
///   dz = (1 + 2 c_z lse) softmax(z) - (1 - soft) 1[v = y] - soft p'
///
/// Both models' logits exist for a block of rows at a time, the teacher's are made again in the backward as the
/// student's are: there is no tensor of [rows, vocabulary].
///
///   train::teacher teaches(exec, teacher_model, teacher_weights, batch, source_length, target_length);
///   trainer.learn_from(teaches);        // from now on step() does; evaluate() reports the loss of the targets alone
///
/// Copying what the student has in common with its teacher is copy_parameters (train/upcycle.hpp).

namespace switchyard::train {

/// A model that is asked, and does not learn. Copies share its memory.
template <class Model>
class teacher {
 public:
  using exec_type = typename Model::execution_space;
  using tokens_view = typename Model::tokens_view;

  /// batch: sequences of a pass of the student, on all ranks; the same lengths. soft: how much of the loss is the
  /// teacher's. Allocates. Throws invalid_argument for a share outside of [0, 1] and as make_tape does.
  teacher(const exec_type& exec, const Model& model, const typename Model::weights_type& weights, std::int64_t batch,
          std::int64_t source_length, std::int64_t target_length, double soft = 0.25)
      : exec_(exec), model_(model), packed_(std::make_shared<packed_type>(model.pack(exec, weights))),
        tape_(std::make_shared<tape_type>(model.make_tape(exec, batch, source_length, target_length))), soft_(soft) {
    switchyard::detail::require(soft >= 0 && soft <= 1, "soft = ", soft, ": must be in [0, 1]");
  }

  /// The teacher reads source and target; the student's next pass over the same tokens, with this tape, learns from it.
  /// student: its configuration. Throws invalid_argument where vocabularies differ, or ranks share one. Communicates
  /// what a forward does.
  template <class Tape>
  void operator()(const tokens_view& source, const tokens_view& target, const transformer_config& student,
                  Tape& tape) const {
    const transformer_config& own = model_.config();
    switchyard::detail::require(own.vocabulary == student.vocabulary && own.pad_token == student.pad_token,
                                "vocabulary = ", student.vocabulary, ": the teacher has ", own.vocabulary,
                                "; both must read the same tokens");
    switchyard::detail::require(
        static_cast<std::int64_t>(tape.loss.logits.extent(1)) == own.vocabulary &&
            static_cast<std::int64_t>(tape_->loss.logits.extent(1)) == own.vocabulary,
        "vocabulary = ", own.vocabulary,
        ": is split over ranks, but a teacher needs all logits of a token on one; leave the rule of dims::vocab out");
    model_.forward(exec_, *packed_, source, target, *tape_, {.training = false});
    using space = typename Model::space;
    using value = typename Model::value;
    using acc = accumulate_t<value>;
    // What the callbacks hold are views, which share the tapes' memory.
    const model::cross_entropy_settings settings{0, scale_of(own), own.pad_token};
    const auto both = [exec = exec_, packed = packed_, asked = tape_, settings, logits = tape.loss.logits,
                       lse = tape.loss.lse](std::int64_t begin) {
      model::logits_of_block(exec, settings, asked->decoder.result, packed->head, asked->loss, begin);
      return detail::two_logits<acc, space>{logits, asked->loss.logits, lse, asked->loss.lse, begin};
    };
    tape.loss.change_loss = [exec = exec_, both, soft = soft_, sums = tape.loss.row_sums](std::int64_t begin,
                                                                                          std::int64_t count) {
      for_each_index("switchyard::train::soft_loss", exec, count,
                     detail::soft_loss_kernel<acc, space>{both(begin), soft, sums});
    };
    tape.loss.make_gradient = [exec = exec_, both, soft = soft_, z = student.z_loss, scale = scale_of(student),
                               targets = tape.targets, row_sums = tape.loss.row_sums, sums = tape.loss.sums,
                               d_logits = tape.loss.d_logits](std::int64_t begin, std::int64_t count,
                                                              const model::loss_gradient& how) {
      const double share = scale * how.scale, divided = how.normalizer > 0 ? share / how.normalizer : -share;
      for_each_index(
          "switchyard::train::soft_gradient", exec, count,
          detail::soft_gradient_kernel<value, space>{both(begin), soft, z, divided, targets, row_sums, sums, d_logits});
    };
  }

 private:
  using packed_type = typename Model::packed_type;
  using tape_type = typename Model::tape_type;
  static double scale_of(const transformer_config& c) {
    return c.tied ? 1 / std::sqrt(static_cast<double>(c.d_model)) : 1.0;
  }

  exec_type exec_;
  Model model_;
  std::shared_ptr<packed_type> packed_;
  std::shared_ptr<tape_type> tape_;
  double soft_;
};

/// The next passes over this tape learn from their targets alone.
template <class Tape>
void forget_teacher(Tape& tape) {
  tape.loss.change_loss = nullptr;
  tape.loss.make_gradient = nullptr;
}

} // namespace switchyard::train
