/* `roost serve`: the daemon in the foreground. */
#include "base/limits.h"
#include "base/units.h"
#include "cli/cli.h"
#include "serve/daemon.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "Runs the daemon in the foreground until SIGTERM or SIGINT.\n"
    "\n"
    "Usage: roost serve --guests DIR --state DIR [options]\n"
    "\n"
    "Options:\n"
    "  --guests DIR         folder of Guest manifests (*.yaml), read at start\n"
    "  --state DIR          records, snapshots, images, the admin socket; made with mode 0700\n"
    "                       (default $ROOST_STATE, else /var/lib/roost)\n"
    "  --kubeconfig FILE    how to reach the API server (default $KUBECONFIG, ~/.kube/config)\n"
    "  --context NAME       the kubeconfig's context (default: its current one)\n"
    "  --no-kubernetes      do not connect; guests that watch something stay Pending\n"
    "  --workers N          threads that run guests (default: one for each core)\n"
    "  --memory SIZE        what guests that are awake may have together; over it events wait and\n"
    "                       idle guests sleep early (default: what the control group's limit\n"
    "                       leaves, else any amount)\n"
    "  --sleep-after TIME   for guests whose manifest does not say: idle time before sleep\n"
    "  --never-sleep        keep every guest awake, whatever its manifest says\n"
    "  --log-level LEVEL    debug, info, warn or error (default info)\n"
    "  --log-format FORMAT  text, json or auto: text in a terminal (default auto)\n"
    "  --help\n"
    "\n"
    "Examples:\n"
    "  roost serve --guests guests/ --state /var/lib/roost\n"
    "  roost serve --guests guests/ --state ./state --kubeconfig admin.kubeconfig\n"
    "\n"
    "One daemon at a time can use a state directory. A second SIGTERM ends it at once; guests "
    "then\n"
    "resume from their last sleep.\n";

enum {
    OPT_GUESTS = 256,
    OPT_KUBECONFIG,
    OPT_CONTEXT,
    OPT_NO_KUBE,
    OPT_WORKERS,
    OPT_AFTER,
    OPT_MEMORY,
    OPT_NEVER,
    OPT_LEVEL,
    OPT_FORMAT,
    OPT_STATE,
    OPT_HELP
};

static const struct option options[] = {
    {"guests", required_argument, NULL, OPT_GUESTS},
    {"state", required_argument, NULL, OPT_STATE},
    {"kubeconfig", required_argument, NULL, OPT_KUBECONFIG},
    {"context", required_argument, NULL, OPT_CONTEXT},
    {"no-kubernetes", no_argument, NULL, OPT_NO_KUBE},
    {"workers", required_argument, NULL, OPT_WORKERS},
    {"sleep-after", required_argument, NULL, OPT_AFTER},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"never-sleep", no_argument, NULL, OPT_NEVER},
    {"log-level", required_argument, NULL, OPT_LEVEL},
    {"log-format", required_argument, NULL, OPT_FORMAT},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static int one_of(const char *const *names, const char *text)
{
    for (int i = 0; names[i]; i++)
        if (!strcmp(names[i], text))
            return i;
    return -1;
}

static int set_level(struct daemon_opts *o, struct err *err)
{
    static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
    int level = one_of(levels, optarg);

    if (level < 0)
        return err_set(err, ERR_USAGE, 0, "--log-level %s: one of debug, info, warn, error",
                       optarg);
    o->log_level = (enum log_level)level;
    return 0;
}

static int set_format(struct daemon_opts *o, struct err *err)
{
    static const char *const formats[] = {"auto", "text", "json", NULL};

    if (one_of(formats, optarg) < 0)
        return err_set(err, ERR_USAGE, 0, "--log-format %s: one of auto, text, json", optarg);
    o->log_format = optarg;
    return 0;
}

static int set_workers(struct daemon_opts *o, struct err *err)
{
    char *end;
    unsigned long n = strtoul(optarg, &end, 10);

    if (*end || n < 1 || n > WORKERS_MAX)
        return err_set(err, ERR_USAGE, 0, "--workers %s: a number from 1 to %u", optarg,
                       WORKERS_MAX);
    o->workers = n;
    return 0;
}

static int set_after(struct daemon_opts *o, struct err *err)
{
    uint64_t ns;

    if (!units_parse_duration(optarg, &ns) || ns > SLEEP_AFTER_MAX_NS)
        return err_set(err, ERR_USAGE, 0, "--sleep-after %s: a duration such as 0, 50ms or 1s",
                       optarg);
    o->sleep_after_ns = (int64_t)ns;
    return 0;
}

static int set_memory(struct daemon_opts *o, struct err *err)
{
    if (!units_parse_bytes(optarg, &o->memory_bytes) || o->memory_bytes < MIB)
        return err_set(err, ERR_USAGE, 0, "--memory %s: a size of at least 1Mi, such as 512Mi",
                       optarg);
    return 0;
}

static int set_text(struct daemon_opts *o, int opt)
{
    switch (opt) {
    case OPT_GUESTS:
        o->guests_dir = optarg;
        return 0;
    case OPT_STATE:
        o->state_dir = optarg;
        return 0;
    case OPT_KUBECONFIG:
        o->kubeconfig = optarg;
        return 0;
    case OPT_CONTEXT:
        o->context = optarg;
        return 0;
    case OPT_NO_KUBE:
        o->no_kubernetes = true;
        return 0;
    case OPT_NEVER:
        o->never_sleep = true;
        return 0;
    default:
        return -1;
    }
}

/* 0: go on; 1: help was printed; -1. */
static int parse(struct daemon_opts *o, int argc, char **argv, struct err *err)
{
    int opt, rc = 0;

    optind = 1;
    opterr = 0;
    while (rc == 0 && (opt = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (opt == OPT_HELP) {
            fputs(help, stdout);
            return 1;
        }
        if (opt == OPT_LEVEL)
            rc = set_level(o, err);
        else if (opt == OPT_FORMAT)
            rc = set_format(o, err);
        else if (opt == OPT_WORKERS)
            rc = set_workers(o, err);
        else if (opt == OPT_AFTER)
            rc = set_after(o, err);
        else if (opt == OPT_MEMORY)
            rc = set_memory(o, err);
        else if (set_text(o, opt) < 0)
            return cli_bad_option(argv, opt, options, err);
    }
    if (rc == 0 && optind < argc)
        return err_set(err, ERR_USAGE, 0, "serve takes no arguments, only options: %s",
                       argv[optind]);
    return rc;
}

int verb_serve(int argc, char **argv, struct err *err)
{
    struct daemon_opts o = {.log_level = LOG_INFO, .log_format = "auto", .sleep_after_ns = -1};
    int rc = parse(&o, argc, argv, err);

    if (rc)
        return rc < 0 ? -1 : 0;
    o.state_dir = cli_state(o.state_dir);
    return daemon_run(&o, err);
}
