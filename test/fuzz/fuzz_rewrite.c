/* The module rewriter on any bytes: it ends, with an error that says why or with a module that it
 * would not take again (its own exports are in it), and it touches nothing beyond its input. */
#include "base/auto.h"
#include "base/limits.h"
#include "engine/rewrite.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_output(const struct buf *out, const struct rewrite_info *info)
{
    AUTO_BUF struct buf again = {.max = REWRITE_BYTES_MAX};
    struct rewrite_info second;
    struct err err = {.code = ERR_NONE};
    int rc = rewrite_module(&again, out->data, out->len, &second, &err);

    if (info->mutable_globals > 0 || info->had_start || info->memories > 1 ||
        (info->unsavable[0] && info->memories)) {
        assert(rc < 0 && err.code == ERR_UNSUPPORTED && strstr(err.msg, "Roost's own"));
        return;
    }
    assert(rc == 0 && second.owned_globals == 0 && second.pieces == info->pieces);
    if (info->pieces) /* the functions that were added have such instructions too */
        return;
    /* Nothing of ours is in it but the memory: the same comes out. */
    assert(again.len == out->len);
    assert(memcmp(again.data, out->data, out->len) == 0);
    assert(second.memory_min == info->memory_min && second.memory_max == info->memory_max);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_BUF struct buf out = {.max = REWRITE_BYTES_MAX};
    struct rewrite_info info;
    struct err err = {.code = ERR_NONE};

    if (rewrite_module(&out, data, size, &info, &err) < 0) {
        assert(err.code != ERR_NONE && err.msg[0] && out.len == 0);
        return 0;
    }
    assert(info.mutable_globals <= REWRITE_GLOBALS_MAX);
    assert(info.memories <= GUEST_MEMORIES_MAX);
    assert(strlen(info.unsavable) < sizeof(info.unsavable));
    check_output(&out, &info);
    return 0;
}
