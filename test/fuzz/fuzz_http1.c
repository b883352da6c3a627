/* Heads of requests (first byte even), whole answers and bodies in chunks (odd): what is taken
 * stays within the limits, a request that is taken whole is never taken from a part of it, and a
 * body in chunks is the same however it was cut.
 */
#include "base/http1.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* A copy without slack behind it, so that reading past the end is seen. */
static long read_exact(const uint8_t *data, size_t len, struct http1_request *req)
{
    uint8_t *copy = malloc(len ? len : 1);
    long used;

    assert(copy);
    memcpy(copy, data, len);
    used = http1_read_request(copy, len, req);
    free(copy);
    return used;
}

static void check_request(const uint8_t *data, size_t len)
{
    struct http1_request req, cut;
    long used = read_exact(data, len, &req);

    assert(used >= -1 && used <= (long)len && used <= (long)HTTP1_HEAD_BYTES_MAX);
    assert((used == -1) == (req.refused != 0));
    if (used == -1)
        assert(req.why && req.close && strcmp(http1_reason(req.refused), "Unknown") != 0);
    if (used <= 0)
        return;
    assert(req.path[0] == '/' && strlen(req.path) <= HTTP1_TARGET_MAX && req.query);
    assert(data[used - 1] == '\n');
    assert(strcmp(http1_method_name(req.method), "?") != 0 && !req.body);
    assert(read_exact(data, (size_t)used, &cut) == used);
    assert(read_exact(data, (size_t)used - 1, &cut) == 0);
}

static void check_answer(const uint8_t *data, size_t len)
{
    struct http1_answer a;
    struct err err = {0};

    if (http1_read_answer(&a, data, len, false, &err) < 0) {
        assert(err.code != ERR_NONE && err.msg[0]);
        return;
    }
    assert(a.status >= 200 && a.status <= 599 && a.body.len < len);
    assert(memcmp(a.body.data ? a.body.data : data, data + len - a.body.len, a.body.len) == 0);
    http1_answer_free(&a);
}

static bool count_piece(void *ctx, const uint8_t *data, size_t len)
{
    size_t *total = ctx;

    for (size_t i = 0; i < len; i++)
        *total += data[i] + 1u;
    return true;
}

static void check_chunks(const uint8_t *data, size_t len)
{
    struct http1_chunks whole = {0}, cut = {0};
    size_t of_whole = 0, of_cut = 0;
    int rc = http1_read_chunks(&whole, data, len, count_piece, &of_whole), piece = 0;

    for (size_t i = 0; i < len && piece >= 0; i++)
        piece = http1_read_chunks(&cut, data + i, 1, count_piece, &of_cut);
    assert(rc == piece && of_whole == of_cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    if (data[0] % 2 == 0)
        check_request(data + 1, len - 1);
    if (data[0] % 2 == 1) {
        check_answer(data + 1, len - 1);
        check_chunks(data + 1, len - 1);
    }
    return 0;
}
