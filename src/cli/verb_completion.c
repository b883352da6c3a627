/* `roost completion`: the script that makes a shell complete roost's commands. */
#include "cli/cli.h"

#include <string.h>

static const char *const shells[] = {"bash", "zsh", "fish", NULL};

static int run(const struct cli_line *line, struct err *err)
{
    if (line->nargs != 1)
        return err_set(err, ERR_USAGE, 0, "completion takes one shell: bash, zsh or fish");
    for (size_t i = 0; shells[i]; i++) {
        if (strcmp(shells[i], line->args[0]) == 0) {
            cli_completion(shells[i], stdout);
            return 0;
        }
    }
    return err_set(err, ERR_USAGE, 0, "completion %.40s: must be bash, zsh or fish", line->args[0]);
}

static const struct cli_option options[] = {{0}};
static const char *const synopsis[] = {"bash | zsh | fish", NULL};
static const struct cli_example examples[] = {
    {"in this bash", "source <(roost completion bash)"},
    {"in every zsh", "roost completion zsh > \"${fpath[1]}/_roost\""},
    {"in every fish", "roost completion fish > ~/.config/fish/completions/roost.fish"},
    {0},
};

const struct verb verb_completion = {
    .name = "completion",
    .brief = "print the completions of a shell",
    .about = "Prints a script that makes the shell complete commands, options, their values, and "
             "the names of the guests that the daemon has. An installed roost has the three in "
             "the shells' own folders.",
    .synopsis = synopsis,
    .options = options,
    .examples = examples,
    .arg_words = shells,
    .run = run,
};
