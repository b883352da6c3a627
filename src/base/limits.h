/* Every maximum of the program in one place, with how they relate.
 *
 * What happens at each is tested: a clear error that names the limit, and nothing lost. Units are
 * in the name's end. A limit that a guest's manifest can set is here as its default and its
 * ceiling.
 */
#ifndef ROOST_BASE_LIMITS_H
#define ROOST_BASE_LIMITS_H

#define KIB (1024u)
#define MIB (1024u * 1024u)

/* --- base --- */
#define BUF_DEFAULT_MAX      (64u * MIB)
#define LOG_LINE_MAX         2048u
#define LOOP_SIGNALS_MAX     4
#define LOOP_CLOSE_TURNS_MAX 1000

/* --- yaml, manifests, HTTP/1.1, the CLI --- */
#define YAML_BYTES_MAX     (16u * MIB)
#define YAML_DEPTH_MAX     64u
#define YAML_NODES_MAX     100000u
#define YAML_TAG_LINES_MAX 16u

#endif
