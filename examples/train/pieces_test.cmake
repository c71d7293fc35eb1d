# cmake -D PROGRAM=... -D GENERATE=... -D PIECES=<test_pieces or empty> -D SCRATCH=<folder> -D TEXT=<folder> -P pieces_test.cmake
# A SentencePiece model is made, a model trained on its pieces, and asked to write.
cmake_minimum_required(VERSION 3.25)
if(NOT PIECES)
  message("skipped: no SentencePiece with its trainer here; cmake/install-deps.sh --with-sentencepiece, and configure again")
  return()
endif()
include(${CMAKE_CURRENT_LIST_DIR}/functions.cmake)

function(work)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${ARGN}: status ${status}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

work(${PIECES} ${TEXT}/model.md ${SCRATCH}/pieces)
set(common --text ${TEXT}/model.md --tokenizer ${SCRATCH}/pieces.model --length 48 --batch 8 --d-model 32 --d-ff 64 --heads 2
           --evaluate-examples 8 --seed 3)
train(0 output ${common} --steps 30 --out ${SCRATCH}/run)
read(loss ${SCRATCH}/run loss)
list(GET loss 0 first)
list(GET loss 29 last)
if(NOT first GREATER 5 OR NOT last LESS 5.3)
  message(FATAL_ERROR "the loss went from ${first} to ${last}")
endif()
file(STRINGS ${SCRATCH}/run/evaluation.jsonl line)
string(JSON bits GET "${line}" bits_per_byte)
string(JSON nats GET "${line}" negative_log_perplexity)
# A piece is some bytes, so what a byte costs is much less than what a piece does: nats / ln 2 > 1.44 nats.
string(REGEX REPLACE "^-" "" nats ${nats})
if(NOT bits GREATER 0.5 OR NOT bits LESS nats)
  message(FATAL_ERROR "${bits} bits per byte, ${nats} nats per piece")
endif()
work(${GENERATE} --run ${SCRATCH}/run --length 12 "The ___ of a layer is")
expect("${output}" "The \\[.*\\] ?of a layer is")

# Another tokenizer is another model.
train(1 output ${common} --steps 1 --finetune ${SCRATCH}/run --tokenizer ${SCRATCH}/pieces_bytes.model --out ${SCRATCH}/d)
expect("${output}" "^train: --finetune = ${SCRATCH}/run: it has the tokenizer .*; give the same --tokenizer")
train(1 output ${common} --steps 1 --tokenizer ${TEXT}/model.md --out ${SCRATCH}/d)
expect("${output}" "^train: --tokenizer = ")
