/* docs/openapi.json, as it was when this program was built (openapi.S). */
#ifndef ROOST_SERVE_OPENAPI_H
#define ROOST_SERVE_OPENAPI_H

#include <stddef.h>

extern const unsigned char openapi_json[];
extern const size_t openapi_json_len;

#endif
