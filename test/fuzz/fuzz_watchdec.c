/* Both decoders, fed whole and fed in pieces: they must deliver the same and come to the same end.
 * Each object that can be made is JSON to jansson too and has the identity that jansson sees.
 * The first byte says which decoder, the second how it is cut. */
#include "kube/watchdec.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A digest of all that was delivered. */
struct seen {
    uint64_t digest, deliveries;
};

static void add(struct seen *seen, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;

    for (size_t i = 0; i < len; i++)
        seen->digest = (seen->digest ^ p[i]) * 1099511628211ull;
}

static void same(json_t *object, const char *key, const char *value)
{
    const char *theirs = json_string_value(json_object_get(object, key));

    if (strcmp(theirs ? theirs : "", value) != 0)
        abort();
}

static void check_object(const struct object_scan *scan)
{
    static const struct object_kind kind = {.api_version = "v1", .kind = "Kind"};
    struct kube_object *obj;
    json_error_t e = {0};
    json_t *tree;

    if (kube_object_make(&obj, scan, &kind, NULL) < 0)
        return;
    tree = json_loadb(obj->json, obj->json_len, 0, &e);
    if (tree) {
        json_t *metadata = json_object_get(tree, "metadata");

        same(metadata, "name", obj->name);
        same(metadata, "namespace", obj->namespace_);
        same(metadata, "uid", obj->uid);
        same(metadata, "resourceVersion", obj->resource_version);
        if (!json_object_get(tree, "kind") || !json_object_get(tree, "apiVersion"))
            abort();
    } else if (json_error_code(&e) != json_error_numeric_overflow &&
               json_error_code(&e) != json_error_null_character && !strstr(e.text, "\\u0000") &&
               !strstr(e.text, "invalid Unicode")) {
        abort();
    }
    json_decref(tree);
    kube_object_unref(obj);
}

static int delivered(struct seen *seen, int what, const struct object_scan *scan)
{
    seen->deliveries++;
    add(seen, &what, sizeof(what));
    add(seen, scan->whole.at, scan->whole.len);
    check_object(scan);
    return seen->deliveries == 5 ? DEC_STOP : DEC_GO_ON;
}

static int on_event(void *ctx, enum watch_type type, const struct object_scan *scan)
{
    return delivered(ctx, (int)type, scan);
}

static int on_skipped(void *ctx, enum watch_type type, const struct object_scan *scan,
                      const struct err *err)
{
    (void)type, (void)scan;
    add(ctx, err->msg, strlen(err->msg));
    return DEC_GO_ON;
}

static int on_item(void *ctx, const struct object_scan *scan)
{
    return delivered(ctx, 0, scan);
}

static int on_item_skipped(void *ctx, const struct object_scan *scan, const struct err *err)
{
    return on_skipped(ctx, 0, scan, err);
}

union decoder {
    struct watchdec watch;
    struct listdec list;
};

static int feed(union decoder *d, bool is_list, const uint8_t *data, size_t len)
{
    return is_list ? listdec_feed(&d->list, data, len, NULL)
                   : watchdec_feed(&d->watch, data, len, NULL);
}

static int run(struct seen *seen, bool is_list, const uint8_t *data, size_t size, size_t piece)
{
    const struct watchdec_sink watch_sink = {on_event, on_skipped, seen};
    const struct listdec_sink list_sink = {on_item, on_item_skipped, seen};
    union decoder d;
    int rc = DEC_GO_ON;

    if (is_list)
        listdec_init(&d.list, &list_sink);
    else
        watchdec_init(&d.watch, &watch_sink);
    for (size_t at = 0; at < size && rc == DEC_GO_ON; at += piece) {
        size_t n = size - at < piece ? size - at : piece;
        uint8_t *copy = malloc(n);

        if (!copy)
            abort();
        memcpy(copy, data + at, n);
        rc = feed(&d, is_list, copy, n);
        free(copy);
    }
    if (rc == DEC_GO_ON)
        rc = is_list ? listdec_end(&d.list, NULL) : watchdec_end(&d.watch, NULL);
    if (is_list)
        add(seen, d.list.continue_, strlen(d.list.continue_));
    if (is_list)
        listdec_free(&d.list);
    else
        watchdec_free(&d.watch);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen whole = {0}, cut = {0};
    int rc;

    if (size < 3)
        return 0;
    rc = run(&whole, data[0] & 1, data + 2, size - 2, size - 2);
    if (run(&cut, data[0] & 1, data + 2, size - 2, 1u + data[1] % 64) != rc ||
        whole.digest != cut.digest || whole.deliveries != cut.deliveries)
        abort();
    return 0;
}
