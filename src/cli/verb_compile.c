/* `roost compile`: a module's image, made before anybody needs it. */
#include "cli/cli.h"

#include "base/units.h"
#include "engine/imagecache.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

/* Where the daemon of this state directory looks. */
static int image_of(char out[PATH_MAX], const struct cli_line *line, const uint8_t *digest,
                    struct err *err)
{
    const char *given = cli_value(line, "image");
    char dir[PATH_MAX];

    if (given) {
        if (snprintf(out, PATH_MAX, "%s", given) >= PATH_MAX)
            return err_set(err, ERR_LIMIT, 0, "--image %.80s...: the path is too long", given);
        return 0;
    }
    if (snprintf(dir, sizeof(dir), "%s/images", cli_state(line)) >= (int)sizeof(dir))
        return err_set(err, ERR_LIMIT, 0, "--state: the path is too long");
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return err_set(err,
                       errno == EACCES   ? ERR_DENIED
                       : errno == ENOENT ? ERR_NOT_FOUND
                                         : ERR_IO,
                       errno, "%s", dir);
    return image_path(out, PATH_MAX, dir, digest, err);
}

static int compile(const struct cli_line *line, const char *module, int *signum, struct err *err)
{
    uint8_t digest[IMAGE_DIGEST_BYTES];
    char image[PATH_MAX], size[UNITS_TEXT_MAX];
    struct stat st = {0};

    if (image_digest(module, digest, NULL, err) < 0 || image_of(image, line, digest, err) < 0)
        return -1;
    if (!cli_flag(line, "image") && image_check(image, NULL) == 0) {
        printf("%s unchanged\n", image);
        return 0;
    }
    if (cli_compile(module, digest, image, signum, err) < 0)
        return -1;
    if (stat(image, &st) < 0)
        return err_set(err, ERR_IO, errno, "%s", image);
    printf("%s compiled, %s\n", image, units_short_bytes(size, (uint64_t)st.st_size));
    return 0;
}

static int run(const struct cli_line *line, struct err *err)
{
    int rc = 0, signum = 0;

    if (!line->nargs)
        return err_set(err, ERR_USAGE, 0, "compile takes modules (`roost compile FILE.wasm`)");
    if (cli_flag(line, "image") && line->nargs > 1)
        return err_set(err, ERR_USAGE, 0, "--image is of one module, and %.40s is one more",
                       line->args[1]);
    for (int i = 0; rc == 0 && i < line->nargs; i++)
        rc = compile(line, line->args[i], &signum, err);
    if (signum) { /* nothing is left behind: end as it would have */
        signal(signum, SIG_DFL);
        raise(signum);
    }
    return rc;
}

static const struct cli_option options[] = {
    {.name = "image",
     .arg = "FILE",
     .what = CLI_FILE,
     .help = "where the image goes",
     .def = "where the daemon of the state directory looks for it"},
    CLI_OPTION_STATE,
    {0},
};
static const char *const synopsis[] = {"MODULE ... [options]", NULL};
static const struct cli_example examples[] = {
    {"so that the daemon need not, at its start",
     "roost compile guests/*.wasm --state /var/lib/roost"},
    {"to look at it", "roost compile ring.wasm --image ring.image"},
    {0},
};
static const enum err_code exits[] = {ERR_INVALID, ERR_NOT_FOUND,   ERR_DENIED, ERR_LIMIT,
                                      ERR_IO,      ERR_UNSUPPORTED, ERR_NONE};
static const char *const see[] = {"inspect", "apply", NULL};

const struct verb verb_compile = {
    .name = "compile",
    .brief = "compile modules before they are needed",
    .about = "Compiles modules to machine code, as the daemon does where it meets one that is new "
             "(up to some seconds for each), and puts the images where a daemon of this version "
             "finds them: run it as the daemon's user, the daemon running or not. What is there "
             "already is left alone.",
    .synopsis = synopsis,
    .options = options,
    .examples = examples,
    .exits = exits,
    .see = see,
    .args = CLI_MODULE,
    .run = run,
};
