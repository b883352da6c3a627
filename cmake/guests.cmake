# Guests: C sources to WebAssembly modules in <build>/guests/NAME.wasm.
#
#   roost_guest(NAME source... [DEFINES NAME=VALUE...] [STACK bytes])
#   roost_wat(NAME source.wat)
#
# Each is compiled with the SDK (sdk/c) as a wasip1 reactor, small. The names of functions stay, for
# the backtraces of traps (1 KB); all else of debugging goes, and no path of this machine is in it,
# so the same sources give the same bytes anywhere. The target `guests` builds all.
find_program(WASM_CLANG NAMES clang-14 clang REQUIRED)
find_program(WASM_LD NAMES wasm-ld-14 wasm-ld REQUIRED)
if(NOT EXISTS /usr/include/wasm32-wasi/wasi/api.h)
  message(FATAL_ERROR "wasi-libc is missing: apt-get install clang-14 lld-14 wasi-libc libclang-rt-14-dev-wasm32")
endif()

set(GUESTS_DIR ${CMAKE_BINARY_DIR}/guests)
set(GUESTS_SDK_DIR ${CMAKE_CURRENT_LIST_DIR}/../sdk/c)
get_filename_component(GUESTS_SDK_DIR ${GUESTS_SDK_DIR} ABSOLUTE)
file(MAKE_DIRECTORY ${GUESTS_DIR})
add_custom_target(guests ALL)

# -Oz and link-time optimisation: code that is not used is not there. The stack comes first in
# memory (--stack-first), so an overflow traps instead of overwriting data.
set(GUESTS_FLAGS
  --target=wasm32-wasi -mexec-model=reactor -std=gnu17 -Oz -flto
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wundef -Wwrite-strings
  -Wformat=2 -Wvla -Werror
  -ffile-prefix-map=${CMAKE_SOURCE_DIR}=.
  -Wl,--strip-debug -Wl,--gc-sections -Wl,--stack-first)

function(roost_guest name)
  cmake_parse_arguments(ARG "" "STACK" "DEFINES" ${ARGN})
  set(sources)
  set(beside)
  foreach(source ${ARG_UNPARSED_ARGUMENTS})
    get_filename_component(source ${source} ABSOLUTE)
    get_filename_component(dir ${source} DIRECTORY)
    file(GLOB headers CONFIGURE_DEPENDS ${dir}/*.h)
    list(APPEND sources ${source})
    list(APPEND beside ${headers})
  endforeach()
  set(flags ${GUESTS_FLAGS})
  foreach(define ${ARG_DEFINES})
    list(APPEND flags -D${define})
  endforeach()
  if(ARG_STACK)
    list(APPEND flags -Wl,-z,stack-size=${ARG_STACK})
  endif()
  add_custom_command(
    OUTPUT ${GUESTS_DIR}/${name}.wasm
    COMMAND ${WASM_CLANG} ${flags} -I ${GUESTS_SDK_DIR}
            ${sources} ${GUESTS_SDK_DIR}/roost.c ${GUESTS_SDK_DIR}/roost_json.c
            -o ${GUESTS_DIR}/${name}.wasm
    DEPENDS ${sources} ${beside} ${GUESTS_SDK_DIR}/roost.h ${GUESTS_SDK_DIR}/roost.c
            ${GUESTS_SDK_DIR}/roost_json.c
    COMMENT "Guest ${name}.wasm"
    VERBATIM)
  add_custom_target(guest_${name} DEPENDS ${GUESTS_DIR}/${name}.wasm)
  add_dependencies(guests guest_${name})
endfunction()

# The same for WebAssembly text: a module written instruction by instruction.
find_program(WAT2WASM NAMES wat2wasm)
if(NOT WAT2WASM)
  message(FATAL_ERROR "wat2wasm is missing: apt-get install wabt")
endif()

function(roost_wat name source)
  get_filename_component(source ${source} ABSOLUTE)
  add_custom_command(
    OUTPUT ${GUESTS_DIR}/${name}.wasm
    COMMAND ${WAT2WASM} --enable-tail-call --enable-multi-memory --enable-threads --debug-names ${source} -o ${GUESTS_DIR}/${name}.wasm
    DEPENDS ${source}
    COMMENT "Guest ${name}.wasm"
    VERBATIM)
  add_custom_target(guest_${name} DEPENDS ${GUESTS_DIR}/${name}.wasm)
  add_dependencies(guests guest_${name})
endfunction()
