#include "kube/table_record.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "01234567-89ab-..." in lower case: the form that can be written again from 16 bytes. */
static bool uid_pack(uint8_t out[16], const char *text)
{
    if (strlen(text) != 36)
        return false;
    for (size_t i = 0, n = 0; i < 36; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i] != '-')
                return false;
            continue;
        }
        if (hex_value(text[i]) < 0)
            return false;
        out[n / 2] = (uint8_t)(out[n / 2] << 4 | hex_value(text[i]));
        n++;
    }
    return true;
}

static void uid_unpack(char out[37], const uint8_t uid[16])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        *out++ = digits[uid[i] >> 4];
        *out++ = digits[uid[i] & 15];
    }
    *out = 0;
}

/* A decimal without leading zeros that fits. */
static bool version_pack(uint64_t *out, const char *text)
{
    *out = 0;
    if (!*text || (*text == '0' && text[1]))
        return false;
    for (; *text; text++)
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(*text - '0'), out))
            return false;
    return true;
}

static const uint8_t all_ones[16] = {255, 255, 255, 255, 255, 255, 255, 255,
                                     255, 255, 255, 255, 255, 255, 255, 255};

static bool is_text(const struct table_id *id)
{
    return memcmp(id->uid, all_ones, sizeof(all_ones)) == 0;
}

int table_id_make(struct table_id *id, const char *uid, const char *version, struct err *err)
{
    size_t uid_len = strlen(uid), version_len = strlen(version);

    *id = (struct table_id){0};
    if (uid_pack(id->uid, uid) && version_pack(&id->version, version) && !is_text(id))
        return 0;
    memcpy(id->uid, all_ones, sizeof(all_ones));
    id->text = malloc(uid_len + version_len + 2);
    if (!id->text)
        return err_set(err, ERR_NOMEM, 0, "uid and version");
    memcpy(id->text, uid, uid_len + 1);
    memcpy(id->text + uid_len + 1, version, version_len + 1);
    return 0;
}

void table_id_uid(const struct table_id *id, char out[KUBE_UID_MAX + 1])
{
    if (is_text(id))
        memcpy(out, id->text, strlen(id->text) + 1);
    else
        uid_unpack(out, id->uid);
}

void table_id_version(const struct table_id *id, char out[KUBE_VERSION_MAX + 1])
{
    char digits[24], *at = digits + sizeof(digits);
    uint64_t left = id->version;

    if (is_text(id)) {
        const char *version = id->text + strlen(id->text) + 1;

        memcpy(out, version, strlen(version) + 1);
        return;
    }
    *--at = 0;
    do {
        *--at = (char)('0' + left % 10);
    } while (left /= 10);
    memcpy(out, at, (size_t)(digits + sizeof(digits) - at));
}

void table_id_free(struct table_id *id)
{
    if (is_text(id))
        free(id->text);
    *id = (struct table_id){0};
}

/* --- records: format, deleted, seq (little endian), uid and version with their lengths --- */

#define RECORD_FORMAT 1u
#define RECORD_HEAD   10u

static int put_counted(struct buf *out, const char *text, struct err *err)
{
    uint8_t len = (uint8_t)strlen(text);

    return buf_append(out, &len, 1, err) < 0 ? -1 : buf_append(out, text, len, err);
}

int table_record_encode(struct buf *out, const struct table_record *r, struct err *err)
{
    uint8_t head[RECORD_HEAD] = {RECORD_FORMAT, r->deleted};
    size_t start = out->len;

    _Static_assert(KUBE_UID_MAX <= 255 && KUBE_VERSION_MAX <= 255, "lengths are one byte");
    for (unsigned i = 0; i < 8; i++)
        head[2 + i] = (uint8_t)(r->seq >> 8 * i);
    if (buf_append(out, head, sizeof(head), err) < 0 || put_counted(out, r->uid, err) < 0 ||
        put_counted(out, r->version, err) < 0) {
        out->len = start;
        return -1;
    }
    return 0;
}

static bool get_counted(char *out, size_t max, const uint8_t **at, const uint8_t *end)
{
    size_t len;

    if (*at == end)
        return false;
    len = *(*at)++;
    if (len > max || len > (size_t)(end - *at) || memchr(*at, 0, len))
        return false;
    memcpy(out, *at, len);
    out[len] = 0;
    *at += len;
    return true;
}

int table_entry_decode(struct table_record *out, const void *data, size_t len, struct err *err)
{
    const uint8_t *at = data, *end = at + len;

    *out = (struct table_record){0};
    if (len < RECORD_HEAD || at[0] != RECORD_FORMAT || at[1] > 1)
        return err_set(err, ERR_CORRUPT, 0, "change table record of %zu bytes: no known format",
                       len);
    out->deleted = at[1];
    for (unsigned i = 0; i < 8; i++)
        out->seq |= (uint64_t)at[2 + i] << 8 * i;
    at += RECORD_HEAD;
    if (!get_counted(out->uid, KUBE_UID_MAX, &at, end) ||
        !get_counted(out->version, KUBE_VERSION_MAX, &at, end) || at != end || !out->version[0])
        return err_set(err, ERR_CORRUPT, 0, "change table record of %zu bytes: bad lengths", len);
    return 0;
}
