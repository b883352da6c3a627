/* What an image consists of, for people who wonder: `roost inspect`.
 *
 * Not for the daemon: it maps the image once more, and makes a JSON document of all names in it.
 */
#ifndef ROOST_ENGINE_INSPECT_H
#define ROOST_ENGINE_INSPECT_H

#include "base/err.h"
#include "engine/engine.h"

#include <jansson.h>

/* *out is a new object: imageBytes, memory (minBytes, maxBytes where it has one), memories,
 * mutableGlobals, startSection, sleepMode, whySleepless, problem (why its guests could not be
 * deployed; "": they could), imports and exports, each with name and type; what the rewriter added
 * is left out. ERR_CORRUPT: no image; ERR_NOMEM. */
int image_inspect(json_t **out, struct engine *engine, const char *path, struct err *err) ERR_CHECK;

#endif
