/* The parts of the change table that know no table: uid and version in a compact form, and an
 * entry's record for the database.
 *
 * A uid in its usual form is kept as 16 bytes and a version that is a plain decimal as a number;
 * where one of them is anything else, both are kept as strings.
 */
#ifndef ROOST_KUBE_TABLE_RECORD_H
#define ROOST_KUBE_TABLE_RECORD_H

#include "kube/table.h"

struct table_id {
    uint8_t uid[16];
    union {
        uint64_t version;
        char *text; /* "uid\0version\0", where uid is all ones */
    };
};

/* Free with table_id_free. */
int table_id_make(struct table_id *id, const char *uid, const char *version, struct err *err)
    ERR_CHECK;
void table_id_free(struct table_id *id);
void table_id_uid(const struct table_id *id, char out[KUBE_UID_MAX + 1]);
void table_id_version(const struct table_id *id, char out[KUBE_VERSION_MAX + 1]);

int table_record_encode(struct buf *out, const struct table_record *r, struct err *err) ERR_CHECK;

#endif
