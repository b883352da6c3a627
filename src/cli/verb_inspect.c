/* `roost inspect`: what a module is, before anybody deploys it. It is compiled as the daemon would
 * have it compiled, into a folder that is gone afterwards, so what is said is what would happen. */
#include "cli/cli.h"

#include "base/loop.h"
#include "base/text.h"
#include "engine/imagecache.h"
#include "engine/inspect.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- what it is --- */

static int load(json_t **out, const char *image, struct err *err)
{
    static const struct host_calls none = {0};
    struct engine *engine = NULL;
    int rc;

    if (engine_new(&engine, &none, err) < 0)
        return -1;
    rc = image_inspect(out, engine, image, err);
    engine_free(engine);
    return rc;
}

static int put_first(json_t **out, const char *module, uint64_t bytes, const uint8_t *digest,
                     json_t *rest, struct err *err)
{
    char hex[2 * IMAGE_DIGEST_BYTES + 1], name[PATH_MAX];

    for (size_t i = 0; i < IMAGE_DIGEST_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    snprintf(name, sizeof(name), "%s", module);
    text_clean(name); /* a file's name may be anything, JSON is UTF-8 */
    *out =
        json_pack("{s:s, s:s, s:I}", "file", name, "sha256", hex, "moduleBytes", (json_int_t)bytes);
    if (!*out || json_object_update(*out, rest) < 0)
        return err_set(err, ERR_NOMEM, 0, "no memory");
    return 0;
}

static int inspect_in(json_t **out, const char *module, const char *dir, int *signum,
                      struct err *err)
{
    uint8_t digest[IMAGE_DIGEST_BYTES];
    char image[PATH_MAX];
    json_t *rest = NULL;
    uint64_t bytes = 0;
    int rc;

    snprintf(image, sizeof(image), "%s/image", dir);
    if (image_digest(module, digest, &bytes, err) < 0 ||
        cli_compile(module, digest, image, signum, err) < 0)
        return -1;
    rc = load(&rest, image, err);
    unlink(image);
    if (rc == 0)
        rc = put_first(out, module, bytes, digest, rest, err);
    json_decref(rest);
    return rc;
}

static int inspect(json_t **out, const char *module, int *signum, struct err *err)
{
    const char *base = getenv("TMPDIR");
    char dir[PATH_MAX];
    int rc;

    snprintf(dir, sizeof(dir), "%.*s/roost-inspect-XXXXXX", PATH_MAX / 2,
             base && *base ? base : "/tmp");
    if (!mkdtemp(dir))
        return err_set(err, ERR_IO, errno, "%s: a folder for the image", dir);
    rc = inspect_in(out, module, dir, signum, err);
    rmdir(dir);
    return rc;
}

static int run(const struct cli_line *line, struct err *err)
{
    json_t *found = NULL;
    int rc, signum = 0;

    if (line->nargs != 1)
        return err_set(err, ERR_USAGE, 0, "inspect takes one module (`roost inspect FILE.wasm`)");
    rc = inspect(&found, line->args[0], &signum, err);
    if (signum) { /* nothing is left behind: end as it would have */
        signal(signum, SIG_DFL);
        raise(signum);
    }
    if (rc == 0 && cli_output(line) == OUTPUT_TABLE)
        cli_print_object(found, stdout);
    else if (rc == 0)
        rc = cli_print(found, cli_output(line), stdout, err);
    json_decref(found);
    return rc;
}

static const struct cli_option options[] = {CLI_OPTION_OUTPUT(cli_formats_one), {0}};
static const char *const synopsis[] = {"MODULE [options]", NULL};
static const struct cli_example examples[] = {
    {"a module", "roost inspect ring.wasm"},
    {"what it imports",
     "roost inspect ring.wasm -o json | jq -r '.imports[] | .module + \".\" + .name'"},
    {0},
};
static const enum err_code exits[] = {ERR_INVALID, ERR_NOT_FOUND,   ERR_LIMIT,
                                      ERR_IO,      ERR_UNSUPPORTED, ERR_NONE};

const struct verb verb_inspect = {
    .name = "inspect",
    .brief = "show what a module is",
    .about =
        "Shows what a WebAssembly module is, without a daemon: its imports and exports, its "
        "memory, what of its state a sleep would lose, why it could not be deployed, and the size "
        "of its image. It is compiled for that as the daemon would have it compiled (up to some "
        "seconds, in a folder under `$TMPDIR` that is removed), so what is said is what would "
        "happen.\n"
        "\n"
        "A module that is refused there is an error, with the exit status of its kind; one that "
        "compiles but could not be deployed (an import that the host does not have, no `handle`) "
        "is shown, with `problem` in the daemon's words. With several memories, or anything else "
        "that a sleep would lose, `sleepMode` is `never` and `whySleepless` names it.",
    .synopsis = synopsis,
    .options = options,
    .examples = examples,
    .exits = exits,
    .args = CLI_MODULE,
    .run = run,
};
