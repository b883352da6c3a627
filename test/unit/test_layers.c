/* The layers of docs/architecture.md, held: every include in src/ points downwards or sideways
 * within a folder, each library is included only where it is wrapped, what calls itself internal
 * stays in its folder, and functions that cannot be used safely are not used.
 *
 * The rules are functions over a path and a text, so that the first half of this file can show that
 * they find what they should; the second half runs them over the tree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <fts.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"

/* --- the rules --- */

/* A folder may include those of a lower rank. Those of the same rank do not know each other. */
static const struct {
    const char *folder;
    int rank;
} layers[] = {
    {"base", 0},  {"engine", 1},     {"kube", 1},    {"state", 1}, {"lattice", 1}, {"registry", 1},
    {"guest", 3}, {"capability", 4}, {"predict", 2}, {"serve", 6}, {"trigger", 5}, {"cli", 7},
};
enum { RANK_MAIN = 8 };

/* Who may include what is foreign: a file whose path begins with one of these. */
static const struct {
    const char *header; /* or how it begins */
    const char *by[6];
} foreign[] = {
    {"wasm.h", {"src/engine/"}},
    {"wasmtime", {"src/engine/"}},
    {"uv.h",
     {"src/base/loop.c", "src/base/channel.c", "src/base/spawn.c", "src/base/http1",
      "src/base/work.c", "src/base/dirwatch.c"}},
    {"nghttp2/", {"src/base/h2"}},
    /* Digests; TLS is base's alone. */
    {"openssl/evp.h",
     {"src/base/tls", "src/engine/imagecache.c", "src/engine/compile_run.c", "src/guest/guest.c"}},
    {"openssl/", {"src/base/tls", "src/base/h2"}},
    {"lmdb.h", {"src/base/db.c"}},
    {"yaml.h", {"src/base/yaml"}},
    {"xxhash.h", {"src/base/hash"}},
    {"curl/", {NULL}},
};

/* They write past the end, keep hidden state, or fail without a word. */
static const char *const banned[] = {"sprintf", "vsprintf", "strcpy", "stpcpy", "strcat",
                                     "strncat", "atoi",     "atol",   "atoll",  "strtok",
                                     "gets",    "alloca",   "tmpnam", "mktemp"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- reading C --- */

/* Blanks comments and, where strings, what is in quotes; lines stay where they are. */
static void blank(char *text, bool strings)
{
    enum { CODE, LINE, BLOCK, QUOTED } in = CODE;
    char quote = 0;

    for (char *p = text; *p; p++) {
        bool hide = in == LINE || in == BLOCK || (in == QUOTED && strings);

        if (in == CODE && p[0] == '/' && (p[1] == '/' || p[1] == '*')) {
            in = p[1] == '/' ? LINE : BLOCK;
            p[0] = p[1] = ' ';
            p++;
            continue;
        }
        if (in == CODE && (*p == '"' || *p == '\'')) {
            in = QUOTED;
            quote = *p;
            continue;
        }
        if (in == QUOTED && (*p == quote || *p == '\n')) {
            in = CODE;
            continue;
        }
        if (in == LINE && *p == '\n')
            in = CODE;
        if (in == BLOCK && p[0] == '*' && p[1] == '/') {
            in = CODE;
            p[0] = p[1] = ' ';
            p++;
            continue;
        }
        if (in == QUOTED && p[0] == '\\' && p[1]) {
            if (strings)
                p[0] = p[1] = ' ';
            p++;
            continue;
        }
        if (hide && *p != '\n')
            *p = ' ';
    }
}

/* The next include at or after *at: its name in out, its first character ('<' or '"') returned; 0
 * at the end. */
static char next_include(const char **at, char out[256])
{
    while (**at) {
        const char *line = *at, *end = strchrnul(line, '\n');
        char open;

        *at = *end ? end + 1 : end;
        line += strspn(line, " \t");
        if (*line != '#')
            continue;
        line += 1 + strspn(line + 1, " \t");
        if (strncmp(line, "include", 7) != 0)
            continue;
        line += 7 + strspn(line + 7, " \t");
        if (sscanf(line, "%c%255[^>\"\n]", &open, out) == 2 && (open == '<' || open == '"'))
            return open;
    }
    return 0;
}

/* --- the checks: each adds lines to a report --- */

struct report {
    char text[65536];
    size_t len;
    unsigned lines;
};

static void complain(struct report *r, const char *path, const char *what, const char *name)
{
    int n = snprintf(r->text + r->len, sizeof(r->text) - r->len, "%s: %s %s\n", path, what, name);

    r->lines++;
    if (n > 0 && (size_t)n < sizeof(r->text) - r->len)
        r->len += (size_t)n;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* The rank of the folder that a path (without "src/") begins with; -1: not one of ours. */
static int rank_of(const char *path)
{
    size_t len = strcspn(path, "/");

    if (path[len] == 0)
        return RANK_MAIN;
    for (size_t i = 0; i < COUNT(layers); i++)
        if (strlen(layers[i].folder) == len && strncmp(layers[i].folder, path, len) == 0)
            return layers[i].rank;
    return -1;
}

static bool same_folder(const char *a, const char *b)
{
    size_t len = strcspn(a, "/");

    return strcspn(b, "/") == len && strncmp(a, b, len) == 0;
}

static void check_own(struct report *r, const char *path, const char *name)
{
    const char *from = path + strlen("src/"), *last = strrchr(name, '/');

    if (!last)
        complain(r, path, "includes without its folder", name);
    else if (rank_of(name) < 0)
        complain(r, path, "includes from a folder that is no layer", name);
    else if (!same_folder(from, name) && rank_of(name) >= rank_of(from))
        complain(r, path, "includes against the layers", name);
    else if (!same_folder(from, name) && strstr(last, "internal.h"))
        complain(r, path, "includes what is internal to another folder", name);
}

static void check_foreign(struct report *r, const char *path, const char *name)
{
    for (size_t i = 0; i < COUNT(foreign); i++) {
        bool may = false;

        if (!begins(name, foreign[i].header))
            continue;
        for (size_t k = 0; k < COUNT(foreign[i].by) && foreign[i].by[k]; k++)
            may = may || begins(path, foreign[i].by[k]);
        if (!may)
            complain(r, path, "may not include", name);
        return; /* the first row that fits decides */
    }
}

static void check_includes(struct report *r, const char *path, const char *text)
{
    AUTO_FREE char *code = strdup(text);
    const char *at = code;
    char name[256], open;

    assert_non_null(code);
    if (rank_of(path + strlen("src/")) < 0)
        complain(r, path, "is in a folder that is no layer:", path);
    blank(code, false);
    while ((open = next_include(&at, name))) {
        if (open == '"')
            check_own(r, path, name);
        else
            check_foreign(r, path, name);
    }
}

static void check_banned(struct report *r, const char *path, const char *text)
{
    AUTO_FREE char *code = strdup(text);

    assert_non_null(code);
    blank(code, true);
    for (const char *p = code; *p;) {
        size_t len = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
        const char *after = p + len;

        after += strspn(after, " \t\n");
        for (size_t i = 0; i < COUNT(banned) && *after == '('; i++)
            if (strlen(banned[i]) == len && strncmp(banned[i], p, len) == 0)
                complain(r, path, "calls", banned[i]);
        p += len ? len : 1;
    }
}

/* --- that the rules find what they should --- */

static void assert_includes(const char *path, const char *text, const char *complaint)
{
    struct report r = {0};

    check_includes(&r, path, text);
    assert_string_equal(r.text, complaint);
}

static void test_layers_point_downwards(void **state)
{
    (void)state;
    assert_includes("src/guest/a.c", "#include \"base/err.h\"\n#include \"kube/client.h\"\n", "");
    assert_includes("src/guest/a.c", "#include \"guest/b_internal.h\"\n", "");
    assert_includes("src/main.c", "#include \"cli/cli.h\"\n#include \"base/err.h\"\n", "");
    assert_includes("src/base/a.c", "#include \"engine/b.h\"\n",
                    "src/base/a.c: includes against the layers engine/b.h\n");
    assert_includes("src/kube/a.h", "  #  include \"engine/b.h\"",
                    "src/kube/a.h: includes against the layers engine/b.h\n");
    assert_includes("src/engine/a.c", "#include \"state/b.h\"\n#include \"predict/c.h\"\n",
                    "src/engine/a.c: includes against the layers state/b.h\n"
                    "src/engine/a.c: includes against the layers predict/c.h\n");
    assert_includes("src/trigger/a.c", "#include \"serve/b.h\"\n",
                    "src/trigger/a.c: includes against the layers serve/b.h\n");
    assert_includes("src/cli/a.c", "#include \"engine/internal.h\"\n",
                    "src/cli/a.c: includes what is internal to another folder engine/internal.h\n");
    assert_includes("src/cli/a.c", "#include \"cli.h\"\n",
                    "src/cli/a.c: includes without its folder cli.h\n");
    assert_includes("src/cli/a.c", "#include \"misc/b.h\"\n",
                    "src/cli/a.c: includes from a folder that is no layer misc/b.h\n");
    assert_includes("src/misc/a.c", "",
                    "src/misc/a.c: is in a folder that is no layer: src/misc/a.c\n");
}

static void test_libraries_are_wrapped(void **state)
{
    (void)state;
    assert_includes("src/engine/a.c", "#include <wasmtime.h>\n#include <wasm.h>\n", "");
    assert_includes("src/base/yaml.c", "#include <yaml.h>\n#include <stdio.h>\n", "");
    assert_includes("src/guest/a.c", "#include <wasmtime/store.h>\n",
                    "src/guest/a.c: may not include wasmtime/store.h\n");
    assert_includes("src/kube/a.c", "#include <uv.h>\n#include <lmdb.h>\n",
                    "src/kube/a.c: may not include uv.h\nsrc/kube/a.c: may not include lmdb.h\n");
    assert_includes("src/engine/imagecache.c", "#include <openssl/ssl.h>\n#include <openssl/evp.h>",
                    "src/engine/imagecache.c: may not include openssl/ssl.h\n");
}

static void test_comments_and_strings_do_not_count(void **state)
{
    struct report r = {0};

    (void)state;
    assert_includes("src/base/a.c", "/* \n#include \"cli/b.h\"\n*/ // \"\n", "");
    assert_includes("src/base/a.c", "char *s = \"/*\";\n#include \"cli/b.h\"\n/* */",
                    "src/base/a.c: includes against the layers cli/b.h\n");
    check_banned(&r, "a.c",
                 "// strcpy(a, b)\n/* gets(a) */ char *s = \"\\\"atoi(x)\"; char c = '\"'; f();");
    assert_string_equal(r.text, "");
    check_banned(&r, "a.c", "my_strcpy(a); strcpy_s(b); x = strcpy; gets = 1; snprintf(a);");
    assert_string_equal(r.text, "");
    check_banned(&r, "a.c", "'\\''; strcpy(a, b);\nreturn atoi (\"1\") + sprintf\n(a, b);");
    assert_string_equal(r.text, "a.c: calls strcpy\na.c: calls atoi\na.c: calls sprintf\n");
}

/* --- the tree --- */

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    size_t len = 0;
    char *text = NULL;

    assert_non_null(file);
    if (getdelim(&text, &len, 0, file) < 0) {
        free(text);
        text = strdup(""); /* an empty file */
    }
    fclose(file);
    assert_non_null(text);
    return text;
}

/* Calls check for each C file below a folder of the source tree; returns how many there were. */
static unsigned each_file(struct report *r, const char *folder,
                          void (*check)(struct report *r, const char *path, const char *text))
{
    char root[] = ROOST_SOURCE_DIR, start[4096];
    char *paths[] = {start, NULL};
    unsigned files = 0;
    FTS *tree;

    snprintf(start, sizeof(start), "%s/%s", root, folder);
    tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    assert_non_null(tree);
    for (FTSENT *e; (e = fts_read(tree));) {
        const char *dot = strrchr(e->fts_name, '.');
        AUTO_FREE char *text = NULL;

        if (e->fts_info != FTS_F || !dot || (strcmp(dot, ".c") != 0 && strcmp(dot, ".h") != 0))
            continue;
        text = read_file(e->fts_path);
        check(r, e->fts_path + strlen(root) + 1, text);
        files++;
    }
    fts_close(tree);
    return files;
}

static void assert_nothing(const struct report *r)
{
    if (r->lines)
        fail_msg("%u against the rules:\n%s", r->lines, r->text);
}

static void test_the_tree_keeps_its_layers(void **state)
{
    struct report r = {0};

    (void)state;
    assert_true(each_file(&r, "src", check_includes) > 50);
    assert_nothing(&r);
}

static void test_no_banned_function_is_called(void **state)
{
    static const char *const folders[] = {"src", "sdk", "examples", "bench"};
    struct report r = {0};

    (void)state;
    for (size_t i = 0; i < COUNT(folders); i++)
        assert_true(each_file(&r, folders[i], check_banned) > 0);
    assert_nothing(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers_point_downwards),
        cmocka_unit_test(test_libraries_are_wrapped),
        cmocka_unit_test(test_comments_and_strings_do_not_count),
        cmocka_unit_test(test_the_tree_keeps_its_layers),
        cmocka_unit_test(test_no_banned_function_is_called),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
