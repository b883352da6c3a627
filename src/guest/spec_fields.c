/* What a manifest may say, as tables: each level is a list of fields, each field a function that
 * checks one value and puts it into the spec. So unknown fields, missing ones and wrong types are
 * found in one place (spec_fields), always with file, line and column. What the design has and this
 * version does not (selectors, prediction, ...) is known by name and refused as such, so that
 * nobody believes that it works.
 *
 * Must never: touch the cluster or the module.
 */
#include "guest/spec_read.h"

#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API_VERSION "roost.dev/v1alpha1"

/* --- metadata --- */

static int parse_name(struct manifest *m, const struct yaml_node *v, const char *where)
{
    const char *text = spec_dns_name(m, v, where, false);

    return text ? spec_copy(m, &m->spec->name, text) : -1;
}

static int parse_namespace(struct manifest *m, const struct yaml_node *v, const char *where)
{
    const char *text = spec_dns_name(m, v, where, false);

    return text ? spec_copy(m, &m->spec->namespace_, text) : -1;
}

/* A part of 63 letters, digits, '-', '_' and '.', which begins and ends with one of the first two;
 * a value may be empty. */
static bool is_label_part(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        if (!alnum && (i == 0 || i + 1 == len || !strchr("-_.", c)))
            return false;
    }
    return len <= SPEC_NAME_MAX;
}

/* [PREFIX/]NAME */
static bool is_label_key(const char *key)
{
    const char *slash = strchr(key, '/'), *name = slash ? slash + 1 : key;
    char prefix[SPEC_SUBDOMAIN_MAX + 1];

    if (slash && (size_t)(slash - key) >= sizeof(prefix))
        return false;
    snprintf(prefix, sizeof(prefix), "%.*s", slash ? (int)(slash - key) : 0, key);
    return (!slash || spec_is_dns(prefix, true)) && *name && is_label_part(name, strlen(name));
}

static int parse_label(struct manifest *m, const struct yaml_node *v, const char *key,
                       const char *where)
{
    const char *value = spec_text(m, v, where, SPEC_NAME_MAX);
    struct env_var *label = &m->spec->labels[m->spec->nlabels];

    if (!value)
        return -1;
    if (!is_label_key(key) || !is_label_part(value, strlen(value)))
        return yaml_err(m->err, m->doc, v, ERR_INVALID,
                        "%s: %.80s: no label (letters, digits, '-', '_' and '.', at most %u of "
                        "them)",
                        where, value, SPEC_NAME_MAX);
    m->spec->nlabels++;
    return spec_copy(m, &label->name, key) < 0 || spec_copy(m, &label->value, value) < 0 ? -1 : 0;
}

static int parse_labels(struct manifest *m, const struct yaml_node *v, const char *where)
{
    if (yaml_type(v) != YAMLN_MAPPING)
        return spec_needs(m, v, where, "a mapping");
    if (yaml_len(v) > GUEST_LABELS_MAX)
        return yaml_err(m->err, m->doc, v, ERR_LIMIT, "%s: %zu entries, limit %u", where,
                        yaml_len(v), GUEST_LABELS_MAX);
    m->spec->labels = calloc(yaml_len(v) + 1, sizeof(*m->spec->labels));
    if (!m->spec->labels)
        return spec_no_memory(m);
    for (size_t i = 0; i < yaml_len(v); i++) {
        const struct yaml_node *value;
        const char *key = yaml_key(v, i, &value);
        char path[128];

        snprintf(path, sizeof(path), "%s.%.80s", where, key);
        if (parse_label(m, value, key, path) < 0)
            return -1;
    }
    return 0;
}

static int parse_metadata(struct manifest *m, const struct yaml_node *v, const char *where)
{
    static const struct field fields[] = {
        {"name", parse_name, true},
        {"namespace", parse_namespace, false},
        {"labels", parse_labels, false},
        {"annotations", spec_ignored_mapping, false},
    };

    return spec_fields(m, v, where, fields, COUNT(fields));
}

/* --- module, environment --- */

/* file:ring.wasm, file:/lib/ring.wasm and file:///lib/ring.wasm. */
static int parse_module(struct manifest *m, const struct yaml_node *v, const char *where)
{
    const char *text = spec_text(m, v, where, SPEC_PATH_MAX), *path;
    char whole[2 * SPEC_PATH_MAX];

    if (!text)
        return -1;
    if (strncmp(text, "https:", 6) == 0 || strncmp(text, "oci:", 4) == 0)
        return yaml_err(m->err, m->doc, v, ERR_UNSUPPORTED,
                        "%s %.120s: https: and oci: modules are not supported yet (use file:)",
                        where, text);
    if (strncmp(text, "file:", 5) != 0)
        return yaml_err(m->err, m->doc, v, ERR_INVALID,
                        "%s %.120s: must begin with file: (write file:%.120s)", where, text, text);
    if (m->taker) {
        path = m->taker->module(m->taker->ctx, text);
        return path
                   ? spec_copy(m, &m->spec->module, path)
                   : yaml_err(m->err, m->doc, v, ERR_NOT_FOUND,
                              "%s %.120s: this module was not sent with the manifest", where, text);
    }
    path = text + 5;
    if (strncmp(path, "//", 2) == 0 && *(path += 2) != '/')
        return yaml_err(m->err, m->doc, v, ERR_INVALID,
                        "%s %.120s: names a host (write file:PATH or file:///PATH)", where, text);
    if (*path == 0)
        return yaml_err(m->err, m->doc, v, ERR_INVALID, "%s %s: names no file", where, text);
    snprintf(whole, sizeof(whole), "%s/%s", m->dir, path);
    return spec_copy(m, &m->spec->module, *path == '/' ? path : whole);
}

/* All that the guest is given at its start, together. */
static int count_env(struct manifest *m, const struct yaml_node *v, const char *text)
{
    m->env_bytes += strlen(text) + 1;
    if (m->env_bytes <= GUEST_ENV_BYTES_MAX)
        return 0;
    return yaml_err(m->err, m->doc, v, ERR_LIMIT,
                    "spec.env and spec.args: more than %u bytes together", GUEST_ENV_BYTES_MAX);
}

static struct env_var *env_last(struct manifest *m)
{
    return &m->spec->env[m->spec->nenv - 1];
}

static int parse_env_name(struct manifest *m, const struct yaml_node *v, const char *where)
{
    const char *text = spec_text(m, v, where, GUEST_ENV_BYTES_MAX);

    if (!text || count_env(m, v, text) < 0)
        return -1;
    if (*text == 0 || strchr(text, '='))
        return yaml_err(m->err, m->doc, v, ERR_INVALID,
                        "%s \"%.64s\": a variable's name is not empty and has no '='", where, text);
    for (size_t i = 0; i + 1 < m->spec->nenv; i++)
        if (m->spec->env[i].name && strcmp(m->spec->env[i].name, text) == 0)
            return yaml_err(m->err, m->doc, v, ERR_INVALID, "%s %.64s is there twice: remove one",
                            where, text);
    return spec_copy(m, &env_last(m)->name, text);
}

static int parse_env_value(struct manifest *m, const struct yaml_node *v, const char *where)
{
    const char *text = spec_text(m, v, where, GUEST_ENV_BYTES_MAX);

    if (!text || count_env(m, v, text) < 0)
        return -1;
    return spec_copy(m, &env_last(m)->value, text);
}

static int parse_env_item(struct manifest *m, const struct yaml_node *v, const char *where)
{
    static const struct field fields[] = {
        {"name", parse_env_name, true},
        {"value", parse_env_value, false},
        {"valueFrom", spec_not_yet, false},
    };

    m->spec->nenv++;
    if (spec_fields(m, v, where, fields, COUNT(fields)) < 0)
        return -1;
    return env_last(m)->value ? 0 : spec_copy(m, &env_last(m)->value, "");
}

static int parse_env(struct manifest *m, const struct yaml_node *v, const char *where)
{
    m->spec->env = spec_items_room(m, v, where, GUEST_ENV_MAX, sizeof(*m->spec->env));
    return m->spec->env ? spec_items(m, v, where, parse_env_item) : -1;
}

static int parse_arg(struct manifest *m, const struct yaml_node *v, const char *where)
{
    const char *text = spec_text(m, v, where, GUEST_ENV_BYTES_MAX);

    if (!text || count_env(m, v, text) < 0)
        return -1;
    return spec_copy(m, &m->spec->args[m->spec->nargs++], text);
}

static int parse_args(struct manifest *m, const struct yaml_node *v, const char *where)
{
    m->spec->args = spec_items_room(m, v, where, GUEST_ARGS_MAX, sizeof(char *));
    return m->spec->args ? spec_items(m, v, where, parse_arg) : -1;
}

/* --- limits, sleep --- */

static int parse_memory(struct manifest *m, const struct yaml_node *v, const char *where)
{
    return spec_bytes(m, v, where, GUEST_MEMORY_MIN, GUEST_MEMORY_MAX,
                      &m->spec->limits.memory_bytes);
}

static int parse_cpu(struct manifest *m, const struct yaml_node *v, const char *where)
{
    return spec_duration(m, v, where, GUEST_DURATION_MIN_NS, GUEST_DURATION_MAX_NS,
                         &m->spec->limits.cpu_ns);
}

static int parse_time(struct manifest *m, const struct yaml_node *v, const char *where)
{
    return spec_duration(m, v, where, GUEST_DURATION_MIN_NS, GUEST_DURATION_MAX_NS,
                         &m->spec->limits.time_ns);
}

static int parse_calls(struct manifest *m, const struct yaml_node *v, const char *where)
{
    return spec_count(m, v, where, GUEST_CALLS_MAX, &m->spec->limits.calls);
}

static int parse_limits(struct manifest *m, const struct yaml_node *v, const char *where)
{
    static const struct field fields[] = {
        {"memory", parse_memory, false},
        {"cpu", parse_cpu, false},
        {"time", parse_time, false},
        {"calls", parse_calls, false},
    };

    return spec_fields(m, v, where, fields, COUNT(fields));
}

static int parse_sleep_mode(struct manifest *m, const struct yaml_node *v, const char *where)
{
    static const char *const words[] = {
        [SLEEP_AUTO] = "auto", [SLEEP_NEVER] = "never", [SLEEP_FRESH] = "fresh"};
    int i = spec_word(m, v, where, words, COUNT(words));

    m->spec->sleep_mode_set = true;
    if (i >= 0)
        m->spec->sleep_mode = (enum sleep_mode)i;
    return i < 0 ? -1 : 0;
}

static int parse_sleep_after(struct manifest *m, const struct yaml_node *v, const char *where)
{
    m->spec->sleep_after_set = true;
    return spec_duration(m, v, where, 0, SLEEP_AFTER_MAX_NS, &m->spec->sleep_after_ns);
}

static int parse_predict(struct manifest *m, const struct yaml_node *v, const char *where)
{
    bool predict;

    if (spec_bool(m, v, where, &predict) < 0)
        return -1;
    if (predict)
        return yaml_err(m->err, m->doc, v, ERR_UNSUPPORTED,
                        "%s: prediction is not supported yet: leave it out or write false", where);
    return 0;
}

static int parse_sleep(struct manifest *m, const struct yaml_node *v, const char *where)
{
    static const struct field fields[] = {
        {"mode", parse_sleep_mode, false},
        {"after", parse_sleep_after, false},
        {"predict", parse_predict, false},
    };

    return spec_fields(m, v, where, fields, COUNT(fields));
}

static int parse_fresh_start(struct manifest *m, const struct yaml_node *v, const char *where)
{
    static const char *const words[] = {[FRESH_FAILED] = "failed", [FRESH_ALL] = "all"};
    int i = spec_word(m, v, where, words, COUNT(words));

    if (i >= 0)
        m->spec->on_fresh_start = (enum fresh_start)i;
    return i < 0 ? -1 : 0;
}

/* --- triggers --- */

static struct watch_spec *watch_last(struct manifest *m)
{
    return &m->spec->watches[m->spec->nwatches - 1];
}

/* "v1" or "group/version". */
static int parse_watch_version(struct manifest *m, const struct yaml_node *v, const char *where)
{
    const char *text = spec_text(m, v, where, SPEC_SUBDOMAIN_MAX + 1 + SPEC_NAME_MAX), *slash;
    char group[SPEC_SUBDOMAIN_MAX + 1];
    bool fine;

    if (!text)
        return -1;
    slash = strchr(text, '/');
    fine = spec_is_dns(slash ? slash + 1 : text, false);
    if (slash && (size_t)(slash - text) < sizeof(group)) {
        snprintf(group, sizeof(group), "%.*s", (int)(slash - text), text);
        fine = fine && spec_is_dns(group, true);
    } else if (slash) {
        fine = false;
    }
    if (!fine)
        return yaml_err(m->err, m->doc, v, ERR_INVALID,
                        "%s %.80s: must be VERSION or GROUP/VERSION, such as v1 or apps/v1", where,
                        text);
    return spec_copy(m, &watch_last(m)->api_version, text);
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int parse_watch_kind(struct manifest *m, const struct yaml_node *v, const char *where)
{
    const char *text = spec_text(m, v, where, SPEC_NAME_MAX);
    size_t i = 0;

    if (!text)
        return -1;
    while (is_letter(text[i]) || (i && text[i] >= '0' && text[i] <= '9'))
        i++;
    if (i == 0 || text[i])
        return yaml_err(m->err, m->doc, v, ERR_INVALID,
                        "%s %.64s: a kind is letters and digits, such as ConfigMap", where, text);
    return spec_copy(m, &watch_last(m)->kind, text);
}

static int parse_watch_namespace(struct manifest *m, const struct yaml_node *v, const char *where)
{
    const char *text = spec_dns_name(m, v, where, false);
    struct watch_spec *w = watch_last(m);

    if (!text)
        return -1;
    for (size_t i = 0; i < w->nnamespaces; i++)
        if (strcmp(w->namespaces[i], text) == 0)
            return yaml_err(m->err, m->doc, v, ERR_INVALID, "%s %s is there twice: remove one",
                            where, text);
    return spec_copy(m, &w->namespaces[w->nnamespaces++], text);
}

/* `all`, or a list of names. */
static int parse_watch_namespaces(struct manifest *m, const struct yaml_node *v, const char *where)
{
    if (yaml_scalar(v) && strcmp(yaml_scalar(v), "all") == 0)
        return 0;
    if (yaml_scalar(v))
        return yaml_err(m->err, m->doc, v, ERR_INVALID, "%s must be a list or all (write [%.64s])",
                        where, yaml_scalar(v));
    if (yaml_type(v) == YAMLN_SEQUENCE && yaml_len(v) == 0)
        return yaml_err(m->err, m->doc, v, ERR_INVALID,
                        "%s is empty: name some, or leave it out for all", where);
    watch_last(m)->namespaces = spec_items_room(m, v, where, GUEST_NAMESPACES_MAX, sizeof(char *));
    return watch_last(m)->namespaces ? spec_items(m, v, where, parse_watch_namespace) : -1;
}

/* Fields that have one value in this version: the default of the others to come. */
static int only(struct manifest *m, const struct yaml_node *v, const char *where, const char *value)
{
    if (yaml_scalar(v) && strcmp(yaml_scalar(v), value) == 0)
        return 0;
    return yaml_err(m->err, m->doc, v, ERR_UNSUPPORTED,
                    "%s: only %s is supported yet: leave it out", where, value);
}

static int parse_watch_key(struct manifest *m, const struct yaml_node *v, const char *where)
{
    return only(m, v, where, "self");
}

static int parse_watch_on(struct manifest *m, const struct yaml_node *v, const char *where)
{
    return only(m, v, where, "any");
}

static int parse_watch_wake(struct manifest *m, const struct yaml_node *v, const char *where)
{
    return only(m, v, where, "true");
}

/* A selector that selects all is the default. */
static int parse_selector(struct manifest *m, const struct yaml_node *v, const char *where)
{
    const struct yaml_node *value;

    if (yaml_type(v) != YAMLN_MAPPING)
        return spec_needs(m, v, where, "a mapping");
    for (size_t i = 0; i < yaml_len(v); i++) {
        yaml_key(v, i, &value);
        if (yaml_scalar(value) ? !yaml_is_null(value) : yaml_len(value) > 0)
            return spec_not_yet(m, v, where);
    }
    return 0;
}

static int parse_watch(struct manifest *m, const struct yaml_node *v, const char *where)
{
    static const struct field fields[] = {
        {"apiVersion", parse_watch_version, true},
        {"kind", parse_watch_kind, true},
        {"namespaces", parse_watch_namespaces, false},
        {"selector", parse_selector, false},
        {"fields", spec_not_yet, false},
        {"key", parse_watch_key, false},
        {"on", parse_watch_on, false},
        {"wake", parse_watch_wake, false},
    };

    m->spec->nwatches++;
    return spec_fields(m, v, where, fields, COUNT(fields));
}

static int parse_trigger(struct manifest *m, const struct yaml_node *v, const char *where)
{
    static const struct field fields[] = {
        {"watch", parse_watch, false},     {"http", spec_not_yet, false},
        {"schedule", spec_not_yet, false}, {"stream", spec_not_yet, false},
        {"message", spec_not_yet, false},  {"state", spec_not_yet, false},
    };

    if (yaml_type(v) == YAMLN_MAPPING && yaml_len(v) != 1)
        return yaml_err(m->err, m->doc, v, ERR_INVALID,
                        "%s must have one field, the kind of trigger, such as watch", where);
    if (spec_fields(m, v, where, fields, COUNT(fields)) < 0)
        return -1;
    if (yaml_is_null(yaml_get(v, "watch")))
        return spec_missing(m, v, where, "watch");
    return 0;
}

static int parse_triggers(struct manifest *m, const struct yaml_node *v, const char *where)
{
    if (yaml_type(v) == YAMLN_SEQUENCE && yaml_len(v) == 0)
        return yaml_err(m->err, m->doc, v, ERR_INVALID,
                        "%s is empty: nothing would ever wake this guest", where);
    m->spec->watches = spec_items_room(m, v, where, GUEST_TRIGGERS_MAX, sizeof(*m->spec->watches));
    return m->spec->watches ? spec_items(m, v, where, parse_trigger) : -1;
}

/* --- capabilities --- */

static int parse_service_account(struct manifest *m, const struct yaml_node *v, const char *where)
{
    const char *text = spec_dns_name(m, v, where, true);

    return text ? spec_copy(m, &m->spec->service_account, text) : -1;
}

static int parse_kube(struct manifest *m, const struct yaml_node *v, const char *where)
{
    static const struct field fields[] = {{"serviceAccount", parse_service_account, true}};

    return spec_fields(m, v, where, fields, COUNT(fields));
}

static int parse_capabilities(struct manifest *m, const struct yaml_node *v, const char *where)
{
    static const struct field fields[] = {
        {"kube", parse_kube, false},      {"http", spec_not_yet, false},
        {"https", spec_not_yet, false},   {"state", spec_not_yet, false},
        {"message", spec_not_yet, false}, {"guest", spec_not_yet, false},
    };

    return spec_fields(m, v, where, fields, COUNT(fields));
}

/* --- the manifest --- */

static int parse_spec(struct manifest *m, const struct yaml_node *v, const char *where)
{
    static const struct field fields[] = {
        {"module", parse_module, true},       {"env", parse_env, false},
        {"args", parse_args, false},          {"limits", parse_limits, false},
        {"sleep", parse_sleep, false},        {"onFreshStart", parse_fresh_start, false},
        {"triggers", parse_triggers, true},   {"capabilities", parse_capabilities, false},
        {"concurrency", spec_not_yet, false},
    };

    if (spec_fields(m, v, where, fields, COUNT(fields)) < 0)
        return -1;
    if (m->spec->nwatches && !m->spec->service_account)
        return yaml_err(m->err, m->doc, v, ERR_INVALID,
                        "spec.triggers has a watch, but spec.capabilities.kube.serviceAccount is "
                        "missing: in whose name may the guest see these objects?");
    return 0;
}

/* Checked before the fields, by check_type. */
static int accepted(struct manifest *m, const struct yaml_node *v, const char *where)
{
    (void)m;
    (void)v;
    (void)where;
    return 0;
}

static int parse_manifest(struct manifest *m, const struct yaml_node *v)
{
    static const struct field fields[] = {
        {"apiVersion", accepted, true},
        {"kind", accepted, true},
        {"metadata", parse_metadata, true},
        {"spec", parse_spec, true},
    };

    return spec_fields(m, v, "", fields, COUNT(fields));
}

/* First of all: is this meant to be a guest? */
static int check_type(struct manifest *m, const struct yaml_node *root)
{
    const struct yaml_node *version = yaml_get(root, "apiVersion"), *kind = yaml_get(root, "kind");
    const char *text;

    if (yaml_type(root) != YAMLN_MAPPING)
        return spec_needs(m, root, "a manifest",
                          "a mapping with apiVersion, kind, metadata and spec");
    if (kind) {
        text = spec_text(m, kind, "kind", SPEC_NAME_MAX);
        if (!text)
            return -1;
        if (strcmp(text, "Guest") != 0)
            return yaml_err(m->err, m->doc, kind, ERR_INVALID, "kind %s: only Guest is read here",
                            text);
    }
    if (version) {
        text = spec_text(m, version, "apiVersion", SPEC_SUBDOMAIN_MAX);
        if (!text)
            return -1;
        if (strcmp(text, API_VERSION) != 0)
            return yaml_err(m->err, m->doc, version, ERR_INVALID,
                            "apiVersion %.80s: this version reads %s", text, API_VERSION);
    }
    return 0;
}

static struct guest_spec *spec_new(const char *file, const struct yaml_node *root)
{
    struct guest_spec *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->limits.memory_bytes = GUEST_MEMORY_DEFAULT;
    s->limits.cpu_ns = GUEST_CPU_DEFAULT_NS;
    s->limits.time_ns = GUEST_TIME_DEFAULT_NS;
    s->limits.calls = GUEST_CALLS_DEFAULT;
    s->sleep_after_ns = SLEEP_AFTER_DEFAULT_NS;
    s->line = yaml_line(root);
    s->file = strdup(file);
    if (!s->file) {
        guest_spec_free(s);
        return NULL;
    }
    return s;
}

static struct guest_spec *read_root(struct manifest *m, const struct yaml_node *root,
                                    struct err *err)
{
    struct err now = {0};

    m->err = &now;
    m->spec = spec_new(yaml_file(m->doc), root);
    if (!m->spec) {
        m->err = err;
        spec_no_memory(m);
        return NULL;
    }
    if (check_type(m, root) == 0 && parse_manifest(m, root) == 0 &&
        (m->spec->namespace_ || spec_copy(m, &m->spec->namespace_, "default") == 0))
        return m->spec;
    guest_spec_free(m->spec);
    if (!m->bad && m->taker)
        spec_tell(m->taker, yaml_file(m->doc), "", &now);
    *err = m->bad ? m->first : now;
    return NULL;
}

/* A spec of one document; NULL and err where it is bad. */
struct guest_spec *spec_read_document(const struct yaml_doc *doc, const char *dir, size_t i,
                                      struct err *err)
{
    const struct yaml_node *root = yaml_root(doc, i);
    struct manifest m = {.doc = doc, .dir = dir};

    if (root)
        return read_root(&m, root, err);
    *err = *yaml_doc_error(doc, i);
    return NULL;
}

struct guest_spec *spec_read_text(const struct yaml_doc *doc, const struct spec_taker *taker,
                                  struct err *err)
{
    const struct yaml_node *root = yaml_root(doc, 0);
    struct manifest m = {.doc = doc, .dir = "", .taker = taker};

    if (root)
        return read_root(&m, root, err);
    *err = *yaml_doc_error(doc, 0);
    spec_tell(taker, yaml_file(doc), "", err);
    return NULL;
}
