/* `roost apply`: manifests to the daemon, with the modules that they name.
 *
 * The daemon reads and checks manifests; here only `spec.module` is looked for. A module goes by
 * the sha256 of its bytes, asked for first (HEAD), so what the daemon has is not sent again; then
 * all manifests go in one request, of which all is applied or nothing.
 */
#include "base/auto.h"
#include "base/limits.h"
#include "base/text.h"
#include "base/units.h"
#include "base/yaml.h"
#include "cli/cli.h"
#include "cli/manifests.h"
#include "engine/imagecache.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_BYTES_MIN MIB /* of a module, for it to be shown */
#define DIGEST_TEXT_SIZE   (sizeof("sha256:") + 2 * IMAGE_DIGEST_BYTES)

struct apply {
    const struct cli_line *line;
    bool dry_run, progress;
    json_t *sent;    /* path of a module's file: its digest */
    json_t *modules; /* of the file at hand: as written, its digest */
};

/* --- modules --- */

static void digest_text(char out[DIGEST_TEXT_SIZE], const uint8_t digest[IMAGE_DIGEST_BYTES])
{
    size_t len = (size_t)snprintf(out, DIGEST_TEXT_SIZE, "sha256:");

    for (size_t i = 0; i < IMAGE_DIGEST_BYTES; i++)
        len += (size_t)snprintf(out + len, DIGEST_TEXT_SIZE - len, "%02x", digest[i]);
}

static int read_module(struct buf *out, const char *path, struct err *err)
{
    char block[65536];
    FILE *f = fopen(path, "re");
    size_t n;
    int rc = 0;

    if (!f)
        return err_set(err, ERR_IO, errno, "%s", path);
    out->max = MODULE_BYTES_MAX;
    while (rc == 0 && (n = fread(block, 1, sizeof(block), f)) > 0)
        rc = buf_append(out, block, n, err);
    if (rc == 0 && ferror(f))
        rc = err_set(err, ERR_IO, errno, "%s", path);
    fclose(f);
    return rc;
}

static void show_progress(void *ctx, size_t done, size_t total)
{
    char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX];

    fprintf(stderr, "\r%s: %s of %s%s", (const char *)ctx, units_short_bytes(a, done),
            units_short_bytes(b, total), done == total ? "\n" : "");
}

static int upload(const struct apply *a, const char *path, const char *target, struct err *err)
{
    AUTO_BUF struct buf module = {0};
    struct http1_question question = {.method = HTTP1_PUT,
                                      .target = target,
                                      .content_type = "application/wasm",
                                      .progress_ctx = (void *)(uintptr_t)path};
    struct cli_answer answer;
    int rc = 0;

    if (read_module(&module, path, err) < 0)
        return -1;
    question.body = module.data;
    question.body_len = module.len;
    if (a->progress && module.len >= PROGRESS_BYTES_MIN)
        question.progress = show_progress;
    if (cli_ask(&answer, cli_state(a->line), &question, CLI_UPLOAD_TIMEOUT_MS, err) < 0)
        return -1;
    if (answer.status < 200 || answer.status > 299) {
        cli_refused(&answer, err);
        rc = err_wrap(err, "%s", path);
    }
    json_decref(answer.json);
    return rc;
}

/* Sends it unless the daemon has it. With --dry-run nothing is sent. */
static int send_module(const struct apply *a, const char *path, const char *digest, struct err *err)
{
    char target[DIGEST_TEXT_SIZE + 16];
    struct http1_question question = {.method = HTTP1_HEAD, .target = target};
    struct cli_answer answer;

    snprintf(target, sizeof(target), "/v1/modules/%s", digest);
    if (a->dry_run)
        return 0;
    if (cli_ask(&answer, cli_state(a->line), &question, 0, err) < 0)
        return -1;
    json_decref(answer.json);
    return answer.status == 200 ? 0 : upload(a, path, target, err);
}

/* The file that "file:ring.wasm" of a manifest means. False: it means none. */
static bool module_path(char out[PATH_MAX], const struct manifest_file *f, const char *text)
{
    const char *path = text + strlen("file:");

    if (strncmp(text, "file:", 5) != 0 || !*path)
        return false;
    if (strncmp(path, "//", 2) == 0)
        path += 2;
    return snprintf(out, PATH_MAX, "%s%s%s", *path == '/' ? "" : f->dir, *path == '/' ? "" : "/",
                    path) < PATH_MAX;
}

static int take_module(void *ctx, const struct manifest_file *f, const struct yaml_node *document,
                       struct err *err)
{
    const struct yaml_node *node = yaml_get(yaml_get(document, "spec"), "module");
    const char *text = yaml_scalar(node), *known;
    uint8_t digest[IMAGE_DIGEST_BYTES];
    char path[PATH_MAX], name[DIGEST_TEXT_SIZE];
    struct apply *a = ctx;

    if (!text || !module_path(path, f, text))
        return 0; /* the daemon has words for that */
    known = json_string_value(json_object_get(a->sent, path));
    if (!known) {
        if (image_digest(path, digest, NULL, err) < 0)
            return err_wrap(err, "%s:%u: spec.module", f->name, yaml_line(node));
        digest_text(name, digest);
        if (send_module(a, path, name, err) < 0)
            return -1;
        if (json_object_set_new(a->sent, path, json_string(name)) < 0)
            return err_set(err, ERR_NOMEM, 0, "no memory");
        known = name;
    }
    if (json_object_set_new(a->modules, text, json_string(known)) < 0)
        return err_set(err, ERR_INVALID, 0, "%s:%u: spec.module: no UTF-8 text", f->name,
                       yaml_line(node));
    return 0;
}

/* --- the request --- */

static int add_file(struct apply *a, json_t *files, const struct manifest_file *f, struct err *err)
{
    char name[PATH_MAX];
    json_t *file;

    snprintf(name, sizeof(name), "%s", f->name);
    text_clean(name);
    a->modules = json_object();
    if (!a->modules || manifests_documents(f, take_module, a, err) < 0) {
        json_decref(a->modules);
        return err->code ? -1 : err_set(err, ERR_NOMEM, 0, "no memory");
    }
    file =
        json_pack("{s:s, s:s%, s:o}", "name", name, "text", f->text, f->len, "modules", a->modules);
    if (!file || json_array_append_new(files, file) < 0)
        return err_set(err, ERR_NOMEM, 0, "no memory for the request");
    return 0;
}

static int make_request(json_t **out, struct apply *a, const struct manifests *m, struct err *err)
{
    json_t *files = json_array();
    int rc = files ? 0 : err_set(err, ERR_NOMEM, 0, "no memory");

    for (size_t i = 0; rc == 0 && i < m->n; i++)
        rc = add_file(a, files, &m->files[i], err);
    if (rc < 0) {
        json_decref(files);
        return -1;
    }
    *out = json_pack("{s:b, s:o}", "dryRun", a->dry_run, "files", files);
    return *out ? 0 : err_set(err, ERR_NOMEM, 0, "no memory");
}

/* --- what came of it --- */

/* "ring.yaml:7: spec.sleeep: unknown field (did you mean sleep?)", a line each. */
static int print_errors(const struct cli_answer *answer, struct err *err)
{
    const json_t *errors = json_object_get(answer->json, "errors");
    size_t n = json_array_size(errors);

    cli_refused(answer, err);
    for (size_t i = 0; i < n; i++) {
        const json_t *e = json_array_get(errors, i);
        AUTO_BUF struct buf text = {0};
        uint64_t line = cli_count(e, "line");

        if (*cli_text(e, "file"))
            (void)!buf_printf(&text, NULL, "%s:", cli_text(e, "file"));
        if (line)
            (void)!buf_printf(&text, NULL, "%llu:", (unsigned long long)line);
        if (*cli_text(e, "field"))
            (void)!buf_printf(&text, NULL, " %s:", cli_text(e, "field"));
        (void)!buf_printf(&text, NULL, " %s", cli_text(e, "message"));
        if (!buf_cstr(&text))
            continue;
        text_clean((char *)text.data);
        fprintf(stderr, "%s\n", (char *)text.data + (*text.data == ' '));
    }
    if (n)
        err_set(err, err->code, 0, "%zu error%s, and nothing was applied", n, n == 1 ? "" : "s");
    return -1;
}

static void print_result(const struct apply *a, const json_t *r)
{
    char text[3 * CLI_NAME_SIZE];

    if (cli_output(a->line) == OUTPUT_NAME)
        snprintf(text, sizeof(text), "%s/%s", cli_text(r, "namespace"), cli_text(r, "name"));
    else
        snprintf(text, sizeof(text), "guest %s/%s %s%s", cli_text(r, "namespace"),
                 cli_text(r, "name"), cli_text(r, "result"), a->dry_run ? " (dry run)" : "");
    text_clean(text);
    puts(text);
}

static int print_results(const struct apply *a, const json_t *answer, struct err *err)
{
    const json_t *results = json_object_get(answer, "results");
    enum cli_output output = cli_output(a->line);

    if (output == OUTPUT_JSON || output == OUTPUT_YAML)
        return cli_print(answer, output, stdout, err);
    for (size_t i = 0; i < json_array_size(results); i++)
        print_result(a, json_array_get(results, i));
    return 0;
}

static int ask(const struct apply *a, const json_t *request, struct err *err)
{
    char *text = json_dumps(request, JSON_COMPACT);
    struct http1_question question = {.method = HTTP1_POST, .target = "/v1/apply", .body = text};
    struct cli_answer answer;
    int rc = -1;

    if (!text)
        return err_set(err, ERR_NOMEM, 0, "no memory for the request");
    question.body_len = strlen(text);
    if (cli_ask(&answer, cli_state(a->line), &question, CLI_APPLY_TIMEOUT_MS, err) == 0) {
        rc = answer.status == 200 ? print_results(a, answer.json, err) : print_errors(&answer, err);
        json_decref(answer.json);
    }
    free(text);
    return rc;
}

static int run(const struct cli_line *line, struct err *err)
{
    struct apply a = {.line = line,
                      .dry_run = cli_flag(line, "dry-run"),
                      .progress = isatty(STDERR_FILENO),
                      .sent = json_object()};
    struct manifests m = {0};
    json_t *request = NULL;
    int rc;

    if (line->nargs)
        rc = err_set(err, ERR_USAGE, 0, "apply takes files by -f: -f %.60s", line->args[0]);
    else
        rc = manifests_read(&m, line, err);
    if (rc == 0)
        rc = make_request(&request, &a, &m, err);
    if (rc == 0)
        rc = ask(&a, request, err);
    json_decref(request);
    json_decref(a.sent);
    manifests_free(&m);
    return rc;
}

static const char *const formats[] = {"table", "json", "yaml", "name", NULL};
static const struct cli_option options[] = {
    {.name = "filename",
     .letter = 'f',
     .arg = "PATH",
     .what = CLI_FILE,
     .repeats = true,
     .help = "manifests: a file, a folder (its *.yaml, *.yml and *.json) or - for stdin"},
    {.name = "dry-run", .help = "check, and say what would be done"},
    CLI_OPTION_OUTPUT(formats),
    CLI_OPTION_STATE,
    {0},
};
static const char *const synopsis[] = {"-f PATH ... [options]", NULL};
static const struct cli_example examples[] = {
    {"a guest", "roost apply -f greeter/guest.yaml"},
    {"what would change", "roost apply -f guests/ --dry-run"},
    {"from a pipe", "sed s/ring-0/ring-1/ ring.yaml | roost apply -f -"},
    {0},
};
static const enum err_code exits[] = {ERR_INVALID, ERR_NOT_FOUND, ERR_EXISTS,
                                      ERR_DENIED,  ERR_LIMIT,     ERR_AGAIN,
                                      ERR_NET,     ERR_TIMEOUT,   ERR_NONE};
static const char *const see[] = {"delete", "get", "new", NULL};

const struct verb verb_apply = {
    .name = "apply",
    .brief = "create and change guests by their manifests",
    .about =
        "Makes guests be as their manifests say. Each is told to be `created`, `configured` or "
        "`unchanged`. Either all are applied or none: the daemon checks all manifests first, and "
        "every error is shown as `FILE:LINE: field: message`.\n"
        "\n"
        "Modules (`spec.module: file:PATH`, relative to the manifest) are sent along, where the "
        "daemon does not have them yet. A guest whose module changed finishes its event in hand; "
        "then the new module is started, and the old one goes on where that fails.\n"
        "\n"
        "Applied guests are kept in the daemon's state directory. A guest of its own folder "
        "(`roost serve --guests`) is changed there; here it is refused, with exit status 5.",
    .synopsis = synopsis,
    .options = options,
    .examples = examples,
    .exits = exits,
    .see = see,
    .run = run,
};
