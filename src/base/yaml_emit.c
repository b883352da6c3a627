/* A walk over the value that feeds libyaml's emitter with events.
 *
 * The emitter finds quotes for what is no plain scalar by its characters. What it cannot know is
 * that `no` or `1e3` would come back as something else than text: that is decided here.
 */
#include "base/yaml_emit.h"

#include "base/limits.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct walk {
    yaml_emitter_t emitter;
    struct buf *out;
    struct err *err;
};

static int take(void *ctx, unsigned char *data, size_t len)
{
    struct walk *w = ctx;

    return buf_append(w->out, data, len, w->err) == 0;
}

/* The emitter frees the event, also where it fails. */
static int emit(struct walk *w, yaml_event_t *event, int made)
{
    if (made && yaml_emitter_emit(&w->emitter, event))
        return 0;
    if (w->err && w->err->code == ERR_NONE)
        return err_set(w->err, ERR_NOMEM, 0, "YAML: no memory");
    return -1;
}

static bool is_word(const char *text)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off",
                                        "null", "y",     "n",   "~",  "=",  "<<"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcasecmp(words[i], text) == 0)
            return true;
    return false;
}

/* Text that could be a number, a date or a time begins so; more is quoted than must be. */
static bool means_something(const char *text)
{
    return !*text || is_word(text) || strchr("0123456789+-.", *text);
}

static int emit_scalar(struct walk *w, const char *text, size_t len, bool is_text)
{
    yaml_scalar_style_t style = YAML_PLAIN_SCALAR_STYLE;
    yaml_event_t event;

    if (is_text && memchr(text, '\n', len))
        style = YAML_LITERAL_SCALAR_STYLE;
    else if (is_text && means_something(text))
        style = YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    return emit(w, &event,
                yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text,
                                             (int)len, 1, 1, style));
}

/* The shorter text, where it is the same number. */
static void put_real(char *out, size_t size, double n)
{
    snprintf(out, size, "%.15g", n);
    if (strtod(out, NULL) != n)
        snprintf(out, size, "%.17g", n);
}

static int emit_simple(struct walk *w, const json_t *value)
{
    char text[64];

    if (json_is_string(value))
        return emit_scalar(w, json_string_value(value), json_string_length(value), true);
    if (json_is_integer(value))
        snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        put_real(text, sizeof(text), json_real_value(value));
    else
        snprintf(text, sizeof(text), "%s",
                 json_is_true(value)    ? "true"
                 : json_is_false(value) ? "false"
                                        : "null");
    return emit_scalar(w, text, strlen(text), false);
}

static int emit_value(struct walk *w, const json_t *value, unsigned depth);

static int emit_list(struct walk *w, const json_t *list, unsigned depth)
{
    yaml_event_t event;
    int made =
        yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE);

    if (emit(w, &event, made) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (emit_value(w, json_array_get(list, i), depth + 1) < 0)
            return -1;
    return emit(w, &event, yaml_sequence_end_event_initialize(&event));
}

static int emit_object(struct walk *w, const json_t *object, unsigned depth)
{
    yaml_event_t event;
    const char *key;
    json_t *value;

    if (emit(w, &event,
             yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE)) <
        0)
        return -1;
    json_object_foreach((json_t *)object, key, value)
    {
        if (emit_scalar(w, key, strlen(key), true) < 0 || emit_value(w, value, depth + 1) < 0)
            return -1;
    }
    return emit(w, &event, yaml_mapping_end_event_initialize(&event));
}

static int emit_value(struct walk *w, const json_t *value, unsigned depth)
{
    if (depth > YAML_DEPTH_MAX)
        return err_set(w->err, ERR_LIMIT, 0, "YAML: nested deeper than %u", YAML_DEPTH_MAX);
    if (json_is_object(value))
        return emit_object(w, value, depth);
    return json_is_array(value) ? emit_list(w, value, depth) : emit_simple(w, value);
}

static int emit_document(struct walk *w, const json_t *value)
{
    yaml_event_t event;

    if (emit(w, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING)) < 0 ||
        emit(w, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1)) < 0 ||
        emit_value(w, value, 1) < 0 ||
        emit(w, &event, yaml_document_end_event_initialize(&event, 1)) < 0)
        return -1;
    return emit(w, &event, yaml_stream_end_event_initialize(&event));
}

int yaml_emit(struct buf *out, const json_t *value, struct err *err)
{
    struct err own = {0};
    struct walk w = {.out = out, .err = err ? err : &own};
    int rc;

    w.err->code = ERR_NONE;
    if (!yaml_emitter_initialize(&w.emitter))
        return err_set(err, ERR_NOMEM, 0, "YAML: no memory");
    yaml_emitter_set_output(&w.emitter, take, &w);
    yaml_emitter_set_unicode(&w.emitter, 1);
    yaml_emitter_set_width(&w.emitter, -1);
    rc = emit_document(&w, value);
    yaml_emitter_delete(&w.emitter);
    return rc;
}
