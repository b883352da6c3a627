/* JSON objects for people, without knowing their fields: the daemon may learn new ones, and an
 * older command line still shows them. Names say their unit: limits.memoryBytes is shown as
 * "Memory: 64M", afterMs as "After: 50ms", p99_us as "P99: 31.5us", created as an age.
 */
#include "cli/cli.h"

#include "base/text.h"
#include "base/units.h"
#include "base/yaml_emit.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEPTH_MAX  8
#define LABEL_MAX  64
#define VALUE_MAX  512
#define COLUMN_MAX 16

static void print_fields(const json_t *object, int depth, FILE *out);

const char *cli_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

uint64_t cli_count(const json_t *object, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(object, key));

    return n > 0 ? (uint64_t)n : 0;
}

bool cli_seconds_since(const json_t *object, const char *key, int64_t now_s, uint64_t *seconds)
{
    struct tm tm = {0};
    const char *end = strptime(cli_text(object, key), "%Y-%m-%dT%H:%M:%SZ", &tm);
    int64_t then;

    if (!end || *end)
        return false;
    then = timegm(&tm);
    *seconds = now_s > then ? (uint64_t)(now_s - then) : 0;
    return true;
}

/* --- names and units --- */

struct unit {
    const char *suffix;
    const char *(*format)(char buf[UNITS_TEXT_MAX], uint64_t n);
    uint64_t scale;
};

static const struct unit units[] = {
    {"Bytes", units_short_bytes, 1},
    {"Ms", units_format_duration, 1000000},
    {"Ns", units_format_duration, 1},
};

static const struct unit *unit_of(const char *key)
{
    size_t len = strlen(key);

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        size_t n = strlen(units[i].suffix);

        if (len > n && strcmp(key + len - n, units[i].suffix) == 0)
            return &units[i];
    }
    return NULL;
}

/* lastError: "Last error"; memoryBytes: "Memory"; p99_us: "P99". */
static void label_of(char out[LABEL_MAX], const char *key)
{
    const struct unit *unit = unit_of(key);
    const char *under = strrchr(key, '_');
    size_t len = strlen(key), used = 0;

    if (unit)
        len -= strlen(unit->suffix);
    else if (under && (strcmp(under, "_us") == 0 || strcmp(under, "_s") == 0))
        len = (size_t)(under - key);
    for (size_t i = 0; i < len && used + 2 < LABEL_MAX; i++) {
        unsigned char c = (unsigned char)key[i];

        if (i && isupper(c))
            out[used++] = ' ';
        out[used++] = (char)(i ? tolower(c) : toupper(c));
    }
    out[used] = 0;
    text_clean(out);
}

static void format_number(char *out, size_t size, const char *key, const json_t *value)
{
    const struct unit *unit = unit_of(key);
    const char *under = strrchr(key, '_');
    char text[UNITS_TEXT_MAX];
    uint64_t n;

    if (json_is_integer(value) && unit && json_integer_value(value) >= 0 &&
        !__builtin_mul_overflow((uint64_t)json_integer_value(value), unit->scale, &n))
        snprintf(out, size, "%s", unit->format(text, n));
    else if (under && (strcmp(under, "_us") == 0 || strcmp(under, "_s") == 0))
        snprintf(out, size, "%.1f%s", json_number_value(value), under + 1);
    else if (json_is_integer(value))
        snprintf(out, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        snprintf(out, size, "%.2f", json_real_value(value));
}

/* Text of a value that is no object or list; empty for null. */
static void format_value(char *out, size_t size, const char *key, const json_t *value)
{
    *out = 0;
    if (json_is_string(value))
        snprintf(out, size, "%s", json_string_value(value));
    else if (json_is_boolean(value))
        snprintf(out, size, "%s", json_is_true(value) ? "yes" : "no");
    else if (json_is_number(value))
        format_number(out, size, key, value);
    text_clean(out);
}

/* --- lists --- */

static bool is_flat(const json_t *object)
{
    const char *key;
    json_t *value;

    if (!json_is_object(object) || json_object_size(object) > COLUMN_MAX)
        return false;
    json_object_foreach((json_t *)object, key, value)
    {
        if (json_is_object(value) || json_is_array(value))
            return false;
    }
    return true;
}

static bool all_flat(const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!is_flat(json_array_get(list, i)))
            return false;
    return true;
}

/* The values of the first object's fields, as cells. */
static int add_row(struct cli_table *t, const json_t *first, const json_t *object)
{
    char values[COLUMN_MAX][VALUE_MAX];
    const char *cells[COLUMN_MAX], *key;
    json_t *value;
    size_t n = 0;

    json_object_foreach((json_t *)first, key, value)
    {
        format_value(values[n], VALUE_MAX, key, json_object_get(object, key));
        cells[n] = *values[n] ? values[n] : "-";
        n++;
    }
    return cli_table_row(t, cells, NULL);
}

/* A list of objects without objects in them: a table with a column for each field. */
static void print_as_table(const json_t *list, int depth, FILE *out)
{
    const json_t *first = json_array_get(list, 0);
    char labels[COLUMN_MAX][LABEL_MAX];
    const char *headers[COLUMN_MAX], *key;
    struct cli_table *t = NULL;
    json_t *value;
    size_t n = 0;

    json_object_foreach((json_t *)first, key, value)
    {
        label_of(labels[n], key);
        for (char *p = labels[n]; *p; p++)
            *p = (char)toupper((unsigned char)*p);
        headers[n] = labels[n];
        n++;
    }
    if (cli_table_new(&t, headers, n, NULL) < 0)
        return;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (add_row(t, first, json_array_get(list, i)) < 0)
            break;
    cli_table_flush(t, 2 * depth, out);
    cli_table_free(t);
}

static void print_list(const json_t *list, int depth, FILE *out)
{
    if (json_object_size(json_array_get(list, 0)) && all_flat(list)) {
        print_as_table(list, depth, out);
        return;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        char text[VALUE_MAX];

        format_value(text, sizeof(text), "", item);
        fprintf(out, "%*s-%s%s\n", 2 * depth, "", *text ? " " : "", text);
        if (json_is_object(item))
            print_fields(item, depth + 1, out);
    }
}

/* --- objects --- */

static bool is_empty(const json_t *value)
{
    if (json_is_string(value))
        return json_string_length(value) == 0;
    return json_is_null(value) || (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

static int label_width(const json_t *object)
{
    char label[LABEL_MAX];
    const char *key;
    json_t *value;
    size_t widest = 0;

    json_object_foreach((json_t *)object, key, value)
    {
        label_of(label, key);
        if (!is_empty(value) && !json_is_object(value) && !json_is_array(value) &&
            strlen(label) > widest)
            widest = strlen(label);
    }
    return (int)widest;
}

/* Simple fields first, as a block; then those with something inside. */
static void print_fields(const json_t *object, int depth, FILE *out)
{
    int width = label_width(object);
    char label[LABEL_MAX], text[VALUE_MAX];
    const char *key;
    json_t *value;

    if (depth > DEPTH_MAX)
        return;
    json_object_foreach((json_t *)object, key, value)
    {
        if (is_empty(value) || json_is_object(value) || json_is_array(value))
            continue;
        label_of(label, key);
        format_value(text, sizeof(text), key, value);
        fprintf(out, "%*s%s:%*s%s\n", 2 * depth, "", label, width - (int)strlen(label) + 3, "",
                text);
    }
    json_object_foreach((json_t *)object, key, value)
    {
        if (is_empty(value) || (!json_is_object(value) && !json_is_array(value)))
            continue;
        label_of(label, key);
        fprintf(out, "%*s%s:\n", 2 * depth, "", label);
        if (json_is_object(value))
            print_fields(value, depth + 1, out);
        else
            print_list(value, depth + 1, out);
    }
}

void cli_print_object(const json_t *object, FILE *out)
{
    print_fields(object, 0, out);
}

int cli_print_json(const json_t *value, FILE *out, struct err *err)
{
    if (json_dumpf(value, out, JSON_INDENT(2)) < 0)
        return err_set(err, ferror(out) ? ERR_IO : ERR_NOMEM, 0, "the output cannot be written");
    fputc('\n', out);
    return 0;
}

int cli_print_yaml(const json_t *value, FILE *out, struct err *err)
{
    AUTO_BUF struct buf text = {0};

    if (yaml_emit(&text, value, err) < 0)
        return -1;
    if (fwrite(text.data, 1, text.len, out) < text.len)
        return err_set(err, ERR_IO, 0, "the output cannot be written");
    return 0;
}

int cli_print(const json_t *value, enum cli_output output, FILE *out, struct err *err)
{
    return output == OUTPUT_YAML ? cli_print_yaml(value, out, err)
                                 : cli_print_json(value, out, err);
}
