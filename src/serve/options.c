/* The table, and one value at a time. See options.h. */
#include "serve/options.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/units.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(member) offsetof(struct daemon_opts, member)
#define TEXT_MAX   SPEC_PATH_MAX

const char *const option_log_formats[] = {"auto", "text", "json", NULL};
const char *const option_admin_modes[] = {"auto", "0600", "0660", NULL};
static const char *const log_levels[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error", NULL};

static const struct option_def table[] = {
    {.path = "stateDir",
     .flag = "state",
     .argument = "DIR",
     .type = OPTION_PATH,
     .at = AT(state_dir),
     .initial = "/var/lib/roost",
     .min = 1,
     .max = TEXT_MAX,
     .doc = "records, snapshots, images, the admin socket; made with mode 0700. $ROOST_STATE is "
            "stronger than the file"},
    {.path = "guestsDir",
     .flag = "guests",
     .argument = "DIR",
     .type = OPTION_PATH,
     .at = AT(guests_dir),
     .initially = "no folder is read",
     .min = 1,
     .max = TEXT_MAX,
     .example = "/etc/roost/guests",
     .doc = "folder of Guest manifests (*.yaml)"},
    {.path = "workers",
     .flag = "workers",
     .argument = "N",
     .type = OPTION_COUNT,
     .at = AT(workers),
     .initially = "one for each core",
     .min = 1,
     .max = WORKERS_MAX,
     .example = "4",
     .doc = "threads that run guests"},
    {.path = "ioThreads",
     .flag = "io-threads",
     .argument = "N",
     .type = OPTION_COUNT,
     .at = AT(io_threads),
     .initial = "2",
     .min = 1,
     .max = IO_THREADS_MAX,
     .doc = "threads that write and read snapshots"},
    {.path = "memory",
     .flag = "memory",
     .argument = "SIZE",
     .type = OPTION_BYTES,
     .at = AT(memory_bytes),
     .initially = "what the control group's limit leaves, else any amount",
     .min = MIB,
     .max = INT64_MAX,
     .reload = true,
     .example = "512Mi",
     .doc = "what guests that are awake may have together; over it events wait and idle guests "
            "sleep early"},
    {.path = "kubernetes.enabled",
     .flag = "no-kubernetes",
     .implied = "false",
     .type = OPTION_BOOL,
     .at = AT(kubernetes),
     .initial = "true",
     .doc = "connect to an API server; without, guests that watch something stay Pending",
     .flag_doc = "do not connect; guests that watch something stay Pending"},
    {.path = "kubernetes.kubeconfig",
     .flag = "kubeconfig",
     .argument = "FILE",
     .type = OPTION_PATH,
     .at = AT(kubeconfig),
     .initially = "$KUBECONFIG, else ~/.kube/config",
     .min = 1,
     .max = TEXT_MAX,
     .example = "/etc/roost/kubeconfig",
     .doc = "how to reach the API server"},
    {.path = "kubernetes.context",
     .flag = "context",
     .argument = "NAME",
     .type = OPTION_TEXT,
     .at = AT(context),
     .initially = "its current one",
     .min = 1,
     .max = TEXT_MAX,
     .example = "roost",
     .doc = "the kubeconfig's context"},
    {.path = "sleep.after",
     .flag = "sleep-after",
     .argument = "TIME",
     .type = OPTION_DURATION,
     .at = AT(sleep_after_ns),
     .initial = "0s",
     .max = SLEEP_AFTER_MAX_NS,
     .reload = true,
     .doc = "idle time before a guest sleeps whose manifest does not say"},
    {.path = "sleep.never",
     .flag = "never-sleep",
     .implied = "true",
     .type = OPTION_BOOL,
     .at = AT(never_sleep),
     .initial = "false",
     .doc = "keep every guest awake, whatever its manifest says: for comparison",
     .flag_doc = "keep every guest awake, whatever its manifest says"},
    {.path = "metrics.withoutNames",
     .flag = "metrics-without-names",
     .implied = "true",
     .type = OPTION_BOOL,
     .at = AT(metrics_without_names),
     .initial = "false",
     .reload = true,
     .doc = "no guest is named in /metrics: all are counted together",
     .flag_doc = "name no guest in /metrics"},
    {.path = "log.level",
     .flag = "log-level",
     .argument = "LEVEL",
     .type = OPTION_WORD,
     .at = AT(log_level),
     .initial = "info",
     .words = log_levels,
     .reload = true,
     .doc = "what is below it is not written"},
    {.path = "log.format",
     .flag = "log-format",
     .argument = "FORMAT",
     .type = OPTION_WORD,
     .at = AT(log_format),
     .initial = "auto",
     .words = option_log_formats,
     .doc = "auto is text in a terminal and JSON lines elsewhere"},
    {.path = "admin.socket",
     .flag = "admin-socket",
     .argument = "FILE",
     .type = OPTION_PATH,
     .at = AT(admin.socket),
     .initially = "admin.sock in stateDir",
     .min = 1,
     .max = OPTION_SOCKET_MAX,
     .example = "/run/roost/admin.sock",
     .doc = "the Unix socket of the admin API"},
    {.path = "admin.group",
     .flag = "admin-group",
     .argument = "GROUP",
     .type = OPTION_TEXT,
     .at = AT(admin.group),
     .initially = "the socket is the daemon's user's alone",
     .min = 1,
     .max = OPTION_GROUP_MAX,
     .example = "roost-admin",
     .doc = "whose members may use the socket, by name or number; the daemon must be one. Needs "
            "admin.socket: the state directory is closed to others"},
    {.path = "admin.mode",
     .flag = "admin-mode",
     .argument = "MODE",
     .type = OPTION_WORD,
     .at = AT(admin.mode),
     .initial = "auto",
     .words = option_admin_modes,
     .doc = "of the socket; auto is 0660 where there is a group, else 0600"},
    {.path = "admin.listen",
     .flag = "admin-listen",
     .argument = "ADDRESS:PORT",
     .type = OPTION_TEXT,
     .at = AT(admin.listen),
     .initially = "no TCP",
     .min = 1,
     .max = OPTION_LISTEN_MAX,
     .example = "127.0.0.1:8443",
     .doc = "the admin API over TCP too, with TLS 1.3 and a bearer token: needs the next three"},
    {.path = "admin.certFile",
     .flag = "admin-cert-file",
     .argument = "FILE",
     .type = OPTION_PATH,
     .at = AT(admin.cert_file),
     .initially = "none",
     .min = 1,
     .max = TEXT_MAX,
     .reload = true,
     .example = "/etc/roost/tls.crt",
     .doc = "the certificate of admin.listen in PEM, with its chain behind it; SIGHUP reads the "
            "file again"},
    {.path = "admin.keyFile",
     .flag = "admin-key-file",
     .argument = "FILE",
     .type = OPTION_PATH,
     .at = AT(admin.key_file),
     .initially = "none",
     .min = 1,
     .max = TEXT_MAX,
     .reload = true,
     .example = "/etc/roost/tls.key",
     .doc = "the certificate's key in PEM, not encrypted; SIGHUP reads the file again"},
    {.path = "admin.tokenFile",
     .flag = "admin-token-file",
     .argument = "FILE",
     .type = OPTION_PATH,
     .at = AT(admin.token_file),
     .initially = "none",
     .min = 1,
     .max = TEXT_MAX,
     .reload = true,
     .example = "/etc/roost/token",
     .doc = "the bearer token that clients of admin.listen must have: one line of 16 to 512 "
            "characters; SIGHUP reads the file again"},
};

#define ROWS (sizeof(table) / sizeof(table[0]))
_Static_assert(ROWS <= OPTIONS_MAX, "each row has an origin");

const struct option_def *options_table(size_t *n)
{
    *n = ROWS;
    return table;
}

const struct option_def *options_find(const char *path)
{
    for (size_t i = 0; i < ROWS; i++)
        if (strcmp(table[i].path, path) == 0)
            return &table[i];
    return NULL;
}

/* --- the fields of daemon_opts --- */

static bool is_text(const struct option_def *def)
{
    return def->type == OPTION_TEXT || def->type == OPTION_PATH;
}

static void *field(struct daemon_opts *o, const struct option_def *def)
{
    return (char *)o + def->at;
}

static const char *get_text(const struct daemon_opts *o, const struct option_def *def)
{
    return *(char *const *)(const void *)((const char *)o + def->at);
}

static uint64_t get_number(const struct daemon_opts *o, const struct option_def *def)
{
    const void *at = (const char *)o + def->at;

    return def->type == OPTION_BOOL ? *(const bool *)at : *(const uint64_t *)at;
}

static void set_number(struct daemon_opts *o, const struct option_def *def, uint64_t value)
{
    if (def->type == OPTION_BOOL)
        *(bool *)field(o, def) = value != 0;
    else
        *(uint64_t *)field(o, def) = value;
}

bool options_same(const struct daemon_opts *a, const struct daemon_opts *b,
                  const struct option_def *def)
{
    const char *x, *y;

    if (!is_text(def))
        return get_number(a, def) == get_number(b, def);
    x = get_text(a, def);
    y = get_text(b, def);
    return x && y ? strcmp(x, y) == 0 : x == y;
}

void options_swap(struct daemon_opts *a, struct daemon_opts *b, const struct option_def *def)
{
    size_t row = (size_t)(def - table);
    struct option_origin origin = a->origin[row];
    uint64_t number;
    char *text;

    a->origin[row] = b->origin[row];
    b->origin[row] = origin;
    if (is_text(def)) {
        text = *(char **)field(a, def);
        *(char **)field(a, def) = *(char **)field(b, def);
        *(char **)field(b, def) = text;
        return;
    }
    number = get_number(a, def);
    set_number(a, def, get_number(b, def));
    set_number(b, def, number);
}

/* --- from text --- */

static const char *format_number(char out[UNITS_TEXT_MAX], const struct option_def *def,
                                 uint64_t value)
{
    if (def->type == OPTION_BYTES)
        return units_format_bytes(out, value);
    if (def->type == OPTION_DURATION)
        return units_format_duration(out, value);
    snprintf(out, UNITS_TEXT_MAX, "%" PRIu64, value);
    return out;
}

static int read_word(const struct option_def *def, const char *text, uint64_t *value,
                     struct err *err)
{
    char all[128] = "";
    size_t used = 0;

    for (size_t i = 0; def->words[i]; i++) {
        if (strcmp(def->words[i], text) == 0) {
            *value = i;
            return 0;
        }
        used +=
            (size_t)snprintf(all + used, sizeof(all) - used, "%s%s", i ? ", " : "", def->words[i]);
        assert(used < sizeof(all));
    }
    return err_set(err, ERR_INVALID, 0, "%.64s: must be one of %s", text, all);
}

static bool read_count(const char *text, uint64_t *value)
{
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return *end == 0 && errno == 0;
}

static int read_number(const struct option_def *def, const char *text, uint64_t *value,
                       struct err *err)
{
    static const char *const forms[] = {
        [OPTION_COUNT] = "a whole number",
        [OPTION_BYTES] = "a size such as 64Mi, 1Gi or a number of bytes",
        [OPTION_DURATION] = "a duration such as 0, 50ms, 1s or 1m30s",
    };
    char min[UNITS_TEXT_MAX], max[UNITS_TEXT_MAX];
    bool ok = def->type == OPTION_COUNT      ? read_count(text, value)
              : def->type == OPTION_DURATION ? units_parse_duration(text, value)
                                             : units_parse_bytes(text, value);

    if (!ok)
        return err_set(err, ERR_INVALID, 0, "%.64s: must be %s", text, forms[def->type]);
    if (*value >= def->min && *value <= def->max)
        return 0;
    if (def->max == INT64_MAX)
        return err_set(err, ERR_LIMIT, 0, "%.64s: must be at least %s", text,
                       format_number(min, def, def->min));
    return err_set(err, ERR_LIMIT, 0, "%.64s: must be from %s to %s", text,
                   format_number(min, def, def->min), format_number(max, def, def->max));
}

static int read_bool(const char *text, uint64_t *value, struct err *err)
{
    *value = strcmp(text, "true") == 0;
    if (*value || strcmp(text, "false") == 0)
        return 0;
    return err_set(err, ERR_INVALID, 0, "%.64s: must be true or false", text);
}

static int set_text(struct daemon_opts *o, const struct option_def *def, const char *text,
                    struct err *err)
{
    char **at = field(o, def), *copy;
    size_t len = strlen(text);

    if (len < def->min)
        return err_set(err, ERR_INVALID, 0, "must not be empty");
    if (len > def->max)
        return err_set(err, ERR_LIMIT, 0, "%.40s...: %zu bytes, limit %" PRIu64, text, len,
                       def->max);
    copy = strdup(text);
    if (!copy)
        return err_set(err, ERR_NOMEM, 0, "no memory");
    free(*at);
    *at = copy;
    return 0;
}

int options_set(struct daemon_opts *o, const struct option_def *def, const char *text,
                enum option_from from, unsigned line, struct err *err)
{
    uint64_t value = 0;
    int rc;

    if (is_text(def))
        rc = set_text(o, def, text, err);
    else if (def->type == OPTION_BOOL)
        rc = read_bool(text, &value, err);
    else
        rc = def->type == OPTION_WORD ? read_word(def, text, &value, err)
                                      : read_number(def, text, &value, err);
    if (rc < 0)
        return -1;
    if (!is_text(def))
        set_number(o, def, value);
    o->origin[def - table].from = from;
    o->origin[def - table].line = line;
    return 0;
}

/* --- all of them --- */

int options_init(struct daemon_opts *o, struct err *err)
{
    *o = (struct daemon_opts){0};
    for (size_t i = 0; i < ROWS; i++) {
        if (table[i].initial &&
            options_set(o, &table[i], table[i].initial, OPTION_DEFAULT, 0, err) < 0) {
            options_free(o);
            return -1;
        }
    }
    return 0;
}

void options_free(struct daemon_opts *o)
{
    for (size_t i = 0; o && i < ROWS; i++) {
        char **at = field(o, &table[i]);

        if (!is_text(&table[i]))
            continue;
        free(*at);
        *at = NULL;
    }
}

/* --- to text --- */

/* Characters that are line breaks to YAML, or that it wants to see by their numbers only: how many
 * bytes of UTF-8 it is, 0 for any other. */
static size_t put_special(struct buf *out, const char *text, int *rc, struct err *err)
{
    const unsigned char *c = (const unsigned char *)text;

    if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f) { /* U+0080 to U+009F */
        *rc = buf_printf(out, err, "\\x%02x", c[1]);
        return 2;
    }
    if ((c[0] == 0xe2 && c[1] == 0x80 && (c[2] == 0xa8 || c[2] == 0xa9)) || /* U+2028, U+2029 */
        (c[0] == 0xef && c[1] == 0xbb && c[2] == 0xbf) ||                   /* U+FEFF */
        (c[0] == 0xef && c[1] == 0xbf && c[2] >= 0xbe)) {                   /* U+FFFE, U+FFFF */
        *rc = buf_printf(out, err, "\\u%04x",
                         (c[0] & 0xfu) << 12 | (c[1] & 0x3fu) << 6 | (c[2] & 0x3fu));
        return 3;
    }
    return 0;
}

/* In double quotes where YAML could take it for something else. */
static int put_text(struct buf *out, const char *text, struct err *err)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789/._-$%@+";
    bool simple = (*text == '/' || (*text >= 'a' && *text <= 'z')) &&
                  text[strspn(text, plain)] == 0 && strcmp(text, "null") != 0;

    if (simple)
        return buf_puts(out, text, err);
    if (buf_puts(out, "\"", err) < 0)
        return -1;
    for (size_t took; *text; text += took ? took : 1) {
        unsigned char c = (unsigned char)*text;
        int rc = 0;

        took = put_special(out, text, &rc, err);
        if (!took)
            rc = c < 0x20 || c == 0x7f   ? buf_printf(out, err, "\\x%02x", c)
                 : c == '"' || c == '\\' ? buf_printf(out, err, "\\%c", c)
                                         : buf_append(out, text, 1, err);
        if (rc < 0)
            return -1;
    }
    return buf_puts(out, "\"", err);
}

int options_format(struct buf *out, const struct daemon_opts *o, const struct option_def *def,
                   bool *set, struct err *err)
{
    char number[UNITS_TEXT_MAX];

    *set = is_text(def) ? get_text(o, def) != NULL : def->initial || get_number(o, def) != 0;
    if (!*set)
        return 0;
    if (is_text(def))
        return put_text(out, get_text(o, def), err);
    if (def->type == OPTION_BOOL)
        return buf_puts(out, get_number(o, def) ? "true" : "false", err);
    if (def->type == OPTION_WORD)
        return put_text(out, def->words[get_number(o, def)], err);
    return buf_puts(out, format_number(number, def, get_number(o, def)), err);
}
