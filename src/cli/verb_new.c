/* `roost new`: a project to begin with, from the templates of the SDK.
 *
 * A template is a file with words in @CAPITALS@, for which this file has values. There are two
 * kinds of operators, of ConfigMaps and of a kind of their own; what differs are values only, and
 * that the second has a CRD.
 */
#include "cli/cli.h"
#include "cli/share.h"

#include "base/auto.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_BYTES_MAX 40 /* of an operator: more is put behind it in names of Kubernetes */
#define VALUES_MAX     24
#define VALUE_SIZE     512

/* --- values --- */

struct values {
    struct {
        const char *word;
        char text[VALUE_SIZE];
    } list[VALUES_MAX];
    size_t n;
    bool own_kind;
};

static void put(struct values *v, const char *word, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void put(struct values *v, const char *word, const char *fmt, ...)
{
    va_list ap;

    v->list[v->n].word = word;
    va_start(ap, fmt);
    vsnprintf(v->list[v->n++].text, VALUE_SIZE, fmt, ap);
    va_end(ap);
}

static void put_object(struct values *v, const char *in, const char *out)
{
    put(v, "INPUT", "/%s/name", in);
    put(v, "INPUT_DOTS", ".%s.name", in);
    put(v, "INPUT_MEMBER", "%s", in);
    put(v, "OUTPUT", "/%s/greeting", out);
    put(v, "OUTPUT_DOTS", ".%s.greeting", out);
    put(v, "OUTPUT_MEMBER", "%s", out);
    put(v, "OBJECT_NEW", "{\\\"%s\\\":{\\\"name\\\":\\\"world\\\"}}", in);
    if (strcmp(in, out) == 0)
        put(v, "OBJECT_DONE",
            "{\\\"%s\\\":{\\\"name\\\":\\\"world\\\",\\\"greeting\\\":\\\"Hello, world!\\\"}}", in);
    else
        put(v, "OBJECT_DONE",
            "{\\\"%s\\\":{\\\"name\\\":\\\"world\\\"},\\\"%s\\\":{\\\"greeting\\\":"
            "\\\"Hello, world!\\\"}}",
            in, out);
}

static void put_config_map(struct values *v, const char *space)
{
    put(v, "API_VERSION", "v1");
    put(v, "GROUP", "%s", "");
    put(v, "KIND", "ConfigMap");
    put(v, "PLURAL", "configmaps");
    put(v, "SINGULAR", "configmap");
    put(v, "RESOURCE", "configmap");
    put(v, "TARGET", "kube:/api/v1/namespaces/%s/configmaps", space);
    put(v, "SUBRESOURCE", "%s", "");
    put(v, "STATUS_RULE", "%s", "");
    put(v, "CRD_ROW", "%s", "");
    put_object(v, "data", "data");
}

static void put_own_kind(struct values *v, const char *space, const char *kind, const char *group)
{
    char singular[64];
    size_t n = 0;

    for (; kind[n]; n++)
        singular[n] = (char)tolower((unsigned char)kind[n]);
    singular[n] = 0;
    put(v, "API_VERSION", "%s/v1", group);
    put(v, "GROUP", "%s", group);
    put(v, "KIND", "%s", kind);
    put(v, "PLURAL", "%ss", singular);
    put(v, "SINGULAR", "%s", singular);
    put(v, "RESOURCE", "%ss.%s", singular, group);
    put(v, "TARGET", "kube:/apis/%s/v1/namespaces/%s/%ss", group, space, singular);
    put(v, "SUBRESOURCE", "/status");
    put(v, "STATUS_RULE", "\n- apiGroups: [\"%s\"]\n  resources: [%ss/status]\n  verbs: [patch]",
        group, singular);
    put(v, "CRD_ROW", ", and the CRD of %s", kind);
    put_object(v, "spec", "status");
}

/* --- what may be asked for --- */

static bool is_label(const char *text, size_t max)
{
    size_t n = strlen(text);

    if (n == 0 || n > max || !isalpha((unsigned char)text[0]) || text[n - 1] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!islower((unsigned char)text[i]) && !isdigit((unsigned char)text[i]) && text[i] != '-')
            return false;
    return true;
}

static bool is_kind(const char *text)
{
    size_t n = strlen(text);

    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)text[i]))
            return false;
    return n > 0 && n < 50 && isupper((unsigned char)text[0]);
}

/* Labels with dots between: two at least. */
static bool is_group(const char *text)
{
    char copy[128], *save = NULL;
    size_t labels = 0;

    if (strlen(text) >= sizeof(copy) || strstr(text, "..") || *text == '.' ||
        text[strlen(text) - 1] == '.')
        return false;
    snprintf(copy, sizeof(copy), "%s", text);
    for (char *l = strtok_r(copy, ".", &save); l; l = strtok_r(NULL, ".", &save), labels++)
        if (!is_label(l, 63))
            return false;
    return labels >= 2;
}

static int values_make(struct values *v, const struct cli_line *line, const char *name,
                       struct err *err)
{
    const char *kind = cli_value(line, "kind"), *group = cli_value(line, "group");
    const char *space = cli_value(line, "namespace");
    char program[PATH_MAX];
    bool on_path = share_on_path(program);

    space = space ? space : "default";
    if (!is_label(name, NAME_BYTES_MAX))
        return err_set(err, ERR_USAGE, 0,
                       "%.60s: a name is small letters, digits and dashes, a letter first, at most "
                       "%u",
                       name, NAME_BYTES_MAX);
    if (!is_label(space, 63))
        return err_set(err, ERR_USAGE, 0, "-n %.80s: no namespace has such a name", space);
    if (group && !kind)
        return err_set(err, ERR_USAGE, 0, "--group is of a kind (--kind Greeting)");
    if (kind && !is_kind(kind))
        return err_set(err, ERR_USAGE, 0, "--kind %.60s: a capital letter, then letters and digits",
                       kind);
    if (group && !is_group(group))
        return err_set(err, ERR_USAGE, 0, "--group %.60s: a domain, such as example.org", group);
    v->own_kind = kind != NULL;
    put(v, "NAME", "%s", name);
    put(v, "NAMESPACE", "%s", space);
    if (strcmp(space, "default") == 0)
        put(v, "NAMESPACE_OBJECT", "%s", "");
    else
        put(v, "NAMESPACE_OBJECT", "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n---\n",
            space);
    put(v, "ROOST", "%s", on_path ? "roost" : program);
    if (kind)
        put_own_kind(v, space, kind, group ? group : "example.org");
    else
        put_config_map(v, space);
    return 0;
}

/* --- files --- */

static const struct {
    const char *from, *to;
    bool program, own_kind;
} files[] = {
    {"README.md", "README.md", false, false},
    {"Makefile", "Makefile", false, false},
    {"guest.yaml", "guest.yaml", false, false},
    {"example.yaml", "example.yaml", false, false},
    {"gitignore", ".gitignore", false, false},
    {"src/logic.h", "src/logic.h", false, false},
    {"src/main.c", "src/main.c", false, false},
    {"test/test_main.c", "test/test_main.c", false, false},
    {"test/e2e", "test/e2e", true, false},
    {"deploy/rbac.yaml", "deploy/rbac.yaml", false, false},
    {"deploy/crd.yaml", "deploy/crd.yaml", false, true},
};

/* The value of @WORD@ at text; *len is that of the whole. */
static const char *value_at(const struct values *v, const char *text, size_t *len)
{
    size_t n = strspn(text + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");

    *len = n + 2;
    if (n == 0 || text[n + 1] != '@')
        return NULL;
    for (size_t i = 0; i < v->n; i++)
        if (strlen(v->list[i].word) == n && memcmp(v->list[i].word, text + 1, n) == 0)
            return v->list[i].text;
    return NULL;
}

static void fill(FILE *out, const char *text, const struct values *v)
{
    for (size_t len; *text; text += len) {
        const char *value = *text == '@' ? value_at(v, text, &len) : NULL;

        if (!value)
            len = 1;
        if (value)
            fputs(value, out);
        else
            fputc(*text, out);
    }
}

static int write_file(const char *from, const char *to, mode_t mode, const struct values *v,
                      struct err *err)
{
    AUTO_FREE char *text = NULL;
    FILE *in = fopen(from, "re"), *out;
    size_t room = 0;
    ssize_t n = in ? getdelim(&text, &room, EOF, in) : -1;
    int rc;

    if (in)
        fclose(in);
    if (n < 0)
        return err_set(err, ERR_IO, errno, "template %s", from);
    out = fopen(to, "wxe");
    if (!out)
        return err_set(err, errno == EEXIST ? ERR_EXISTS : ERR_IO, errno, "%s", to);
    fill(out, text, v);
    rc = ferror(out) | fchmod(fileno(out), mode);
    if (fclose(out) != 0 || rc)
        return err_set(err, ERR_IO, errno, "%s", to);
    return 0;
}

static int make_dir(const char *dir, const char *below, struct err *err)
{
    char path[PATH_MAX + 16];

    snprintf(path, sizeof(path), "%s%s%s", dir, *below ? "/" : "", below);
    if (mkdir(path, 0777) == 0)
        return 0;
    return err_set(err, errno == EEXIST ? ERR_EXISTS : ERR_IO, errno, "%s", path);
}

static int write_project(const char *dir, const struct values *v, struct err *err)
{
    static const char *const folders[] = {"", "src", "test", "deploy"};
    char template[PATH_MAX], from[2 * PATH_MAX], to[PATH_MAX + 64];

    if (share_path(template, "sdk/templates/operator", err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        if (make_dir(dir, folders[i], err) < 0)
            return -1;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (files[i].own_kind && !v->own_kind)
            continue;
        snprintf(from, sizeof(from), "%s/%s", template, files[i].from);
        snprintf(to, sizeof(to), "%s/%s", dir, files[i].to);
        if (write_file(from, to, files[i].program ? 0755 : 0644, v, err) < 0)
            return -1;
        puts(to);
    }
    return 0;
}

/* --- the verb --- */

static int new_operator(const struct cli_line *line, struct err *err)
{
    const char *dir = cli_value(line, "dir");
    static struct values v;

    v = (struct values){.n = 0};
    if (line->nargs != 2)
        return err_set(err, ERR_USAGE, 0, "new operator takes a name (`roost new operator NAME`)");
    dir = dir ? dir : line->args[1];
    if (strlen(dir) >= PATH_MAX)
        return err_set(err, ERR_LIMIT, 0, "--dir %.80s...: the path is too long", dir);
    if (values_make(&v, line, line->args[1], err) < 0 || write_project(dir, &v, err) < 0)
        return -1;
    printf("An operator: `make -C %s test` builds and tests it, README.md says the rest.\n", dir);
    return 0;
}

static int print_path(const char *what, struct err *err)
{
    char path[PATH_MAX];

    if (share_path(path, what, err) < 0)
        return -1;
    puts(path);
    return 0;
}

static int run(const struct cli_line *line, struct err *err)
{
    const char *what = line->nargs ? line->args[0] : "";

    if (strcmp(what, "operator") == 0)
        return new_operator(line, err);
    if (strcmp(what, "sdk") == 0 && line->nargs == 1)
        return print_path("sdk/c", err);
    if (strcmp(what, "controlplane") == 0 && line->nargs == 1)
        return print_path("controlplane", err);
    return err_set(err, ERR_USAGE, 0, "new what? (`roost new operator NAME`)");
}

static const struct cli_option options[] = {
    {.name = "dir", .arg = "DIR", .what = CLI_DIR, .help = "where it goes; is made", .def = "NAME"},
    {.name = "namespace",
     .letter = 'n',
     .arg = "NAME",
     .help = "where it lives and watches",
     .def = "default"},
    {.name = "kind",
     .arg = "KIND",
     .help = "a kind of its own, for which it gets a CRD",
     .def = "it watches ConfigMaps"},
    {.name = "group", .arg = "DOMAIN", .help = "the kind's API group", .def = "example.org"},
    {0},
};
static const char *const words[] = {"operator", "sdk", "controlplane", NULL};
static const char *const synopsis[] = {"operator NAME [options]", "sdk | controlplane", NULL};
static const struct cli_example examples[] = {
    {"a project in ./greeter, which builds, and passes its tests",
     "roost new operator greeter && make -C greeter test"},
    {"of a kind of its own", "roost new operator greeter --kind Greeting --group example.org"},
    {"where the SDK is, for a Makefile", "cc -I \"$(roost new sdk)\" ..."},
    {0},
};
static const enum err_code exits[] = {ERR_NOT_FOUND, ERR_EXISTS, ERR_IO, ERR_NONE};
static const char *const see[] = {"apply", "inspect", NULL};

const struct verb verb_new = {
    .name = "new",
    .brief = "begin a project",
    .about =
        "Writes a project for an operator in C: its manifest, its code with the decisions apart "
        "from the calls, tests of both, what the cluster needs, a Makefile. It builds with the SDK "
        "of this roost, wherever that is installed. `make test` there tests it natively, then in "
        "a daemon of its own against the cluster of `$KUBECONFIG`.\n"
        "\n"
        "`sdk` prints where the SDK for C is, `controlplane` where the script is that starts a "
        "test control plane (only in a build of Roost: it is not installed).",
    .synopsis = synopsis,
    .options = options,
    .examples = examples,
    .exits = exits,
    .see = see,
    .arg_words = words,
    .run = run,
};
