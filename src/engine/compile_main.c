/* roost-compile: turns a WebAssembly module into an image that the daemon can map and run.
 *
 * A program of its own, so that a bug of the compiler, or a module that was made to use it up, ends
 * this process and not the host with all its guests. What reads the module is limited before it
 * does, has no network and no files, and leaves either a whole image or nothing. One line on stderr
 * says what was wrong; the exit status is that of all of Roost's programs.
 */
#include "base/limits.h"
#include "base/sanitized.h"
#include "engine/compile_parts.h"
#include "engine/config.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: roost-compile [options] MODULE.wasm IMAGE\n"
    "       roost-compile [options] --check MODULE.wasm\n"
    "\n"
    "Rewrites a WebAssembly module so that a sleeping guest's state can be saved, and compiles "
    "it.\n"
    "\n"
    "  --check         rewrite and validate only; prints what was found as JSON\n"
    "  --sha256 HEX    refuse a module with another digest\n"
    "  --memory-mib N  memory that this program may use (default and most: %llu)\n"
    "  --cpu-s N       seconds of CPU time that it may use (default and most: %u)\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0, or the kind of failure: 2 usage, 3 malformed module, 4 no such file,\n"
    "6 not permitted, 7 a limit was reached, 9 disk, 16 something in the module is not "
    "supported.\n";

#if SANITIZED_ADDRESS
/* Leaks are looked for by tracing the process, which who confines it may not allow. It is given no
 * environment that could say so. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

enum { OPT_CHECK = 1, OPT_SHA256, OPT_MEMORY, OPT_CPU, OPT_HELP, OPT_VERSION };

static const struct option options[] = {
    {"check", no_argument, NULL, OPT_CHECK},
    {"sha256", required_argument, NULL, OPT_SHA256},
    {"memory-mib", required_argument, NULL, OPT_MEMORY},
    {"cpu-s", required_argument, NULL, OPT_CPU},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static int parse_number(uint64_t *out, const char *option, const char *text, uint64_t max,
                        struct err *err)
{
    char *end;
    unsigned long long n;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || n == 0 || n > max)
        return err_set(err, ERR_USAGE, 0, "%s %s: give a number from 1 to %llu", option, text,
                       (unsigned long long)max);
    *out = n;
    return 0;
}

static int parse_option(struct compile_args *args, int opt, struct err *err)
{
    uint64_t n = 0;

    switch (opt) {
    case OPT_CHECK:
        args->check = true;
        return 0;
    case OPT_SHA256:
        args->sha256 = optarg;
        return 0;
    case OPT_MEMORY:
        if (parse_number(&n, "--memory-mib", optarg, COMPILE_MEMORY_BYTES_MAX / MIB, err) < 0)
            return -1;
        args->memory_bytes = n * MIB;
        return 0;
    case OPT_CPU:
        if (parse_number(&n, "--cpu-s", optarg, COMPILE_CPU_S_MAX, err) < 0)
            return -1;
        args->cpu_s = (uint32_t)n;
        return 0;
    default:
        return err_set(err, ERR_USAGE, 0, "unknown option, or one without its value; see --help");
    }
}

/* 1: there is nothing else to do. */
static int parse(struct compile_args *args, int argc, char **argv, struct err *err)
{
    int opt;

    opterr = 0;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == OPT_HELP) {
            printf(help, COMPILE_MEMORY_BYTES_MAX / MIB, COMPILE_CPU_S_MAX);
            return 1;
        }
        if (opt == OPT_VERSION) {
            printf("roost-compile " ROOST_VERSION " (%s)\n", engine_config_key());
            return 1;
        }
        if (parse_option(args, opt, err) < 0)
            return -1;
    }
    if (argc - optind != (args->check ? 1 : 2))
        return err_set(err, ERR_USAGE, 0, "give %s; see --help",
                       args->check ? "one module" : "a module and where its image goes");
    args->in = argv[optind];
    args->out = args->check ? NULL : argv[optind + 1];
    return 0;
}

int main(int argc, char **argv)
{
    struct compile_args args = {.memory_bytes = COMPILE_MEMORY_BYTES_MAX,
                                .cpu_s = COMPILE_CPU_S_MAX};
    struct err err = {0};
    int rc = parse(&args, argc, argv, &err);

    if (rc > 0)
        return 0;
    if (rc < 0) {
        fprintf(stderr, "roost-compile: %s\n", err.msg);
        return err_exit_status(err.code);
    }
    return compile_in_child(&args);
}
