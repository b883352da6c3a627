/* docs/errors.md: each situation of err_reason.c is brought about by running the code that says it,
 * and the message that came is what the document shows. `test_errors --write` writes the document.
 */
#include "base/auto.h"
#include "base/clock.h"
#include "base/disk.h"
#include "base/file.h"
#include "base/http1.h"
#include "base/limits.h"
#include "base/state_dir.h"
#include "base/tls.h"
#include "cli/cli.h"
#include "engine/imagecache.h"
#include "guest/spec.h"
#include "kube/client.h"
#include "kube/kubeconfig.h"
#include "rig/rig.h"
#include "serve/daemon.h"
#include "serve/remote.h"
#include "support/own_signals.h"
#include "support/pki.h"
#include "support/tmp_dir.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define DOCUMENT  ROOST_SOURCE_DIR "/docs/errors.md"
#define GUEST     "apiVersion: roost.dev/v1alpha1\nkind: Guest\n"
#define CONFIG    "apiVersion: roost.dev/v1alpha1\nkind: RoostConfiguration\n"
#define SECONDS   120
#define PATH_ROOM 600

static struct tmp_dir dir;
static struct test_pki pki;

/* --- helpers --- */

static const char *path_of(const char *name)
{
    static char paths[4][PATH_ROOM];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, PATH_ROOM, "%s/%s", dir.path, name);
    return path;
}

static const char *put(const char *name, const char *text)
{
    const char *path = path_of(name);
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    return path;
}

/* What the daemon says of a configuration, at its start and with --check-config. */
static void configured(const char *text, struct err *err)
{
    struct options_source source = {.file = put("roost.yaml", text)};
    struct daemon_opts o;

    if (options_load(&o, &source, err) < 0)
        return;
    assert_int_equal(daemon_check(&o, err), -1);
    options_free(&o);
}

#define TCP                                                                                        \
    CONFIG "admin: {listen: 127.0.0.1:8443, certFile: tls.crt, keyFile: tls.key, tokenFile: "      \
           "token}\n"

static void put_tls(const char *cert, const char *key, const char *token)
{
    (void)put("tls.crt", cert);
    (void)put("tls.key", key);
    (void)put("token", token);
}

/* --- the daemon's options and its start --- */

static void bad_flag(struct err *err)
{
    struct options_source source = {.file = NULL};
    struct daemon_opts o;

    source.flags[options_find("workers") - options_find("stateDir")] = "1000";
    assert_int_equal(options_load(&o, &source, err), -1);
}

static void bad_configuration(struct err *err)
{
    configured(CONFIG "wokers: 4\n", err);
}

static void bad_certificate(struct err *err)
{
    put_tls(pki.server_cert, pki.client_key, "a-token-of-some-length");
    configured(TCP, err);
}

static void bad_token(struct err *err)
{
    put_tls(pki.server_cert, pki.server_key, "secret\n");
    configured(TCP, err);
}

static void no_such_group(struct err *err)
{
    configured(CONFIG "admin: {socket: roost.sock, group: nobodys-group}\n", err);
}

static void address_in_use(struct err *err)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct admin_source source = {.ctx = NULL}; /* nobody asks */
    AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char listen_at[32], cert[PATH_ROOM], key[PATH_ROOM], token[PATH_ROOM];
    struct daemon_opts o = {
        .admin = {.listen = listen_at, .cert_file = cert, .key_file = key, .token_file = token}};
    socklen_t len = sizeof(addr);
    struct http1_tls *remote;
    struct admin *admin;
    struct loop *loop;

    assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    snprintf(listen_at, sizeof(listen_at), "127.0.0.1:%u", ntohs(addr.sin_port));
    put_tls(pki.server_cert, pki.server_key, "a-token-of-some-length");
    snprintf(cert, sizeof(cert), "%s", path_of("tls.crt"));
    snprintf(key, sizeof(key), "%s", path_of("tls.key"));
    snprintf(token, sizeof(token), "%s", path_of("token"));
    assert_int_equal(loop_new(&loop, err), 0);
    assert_int_equal(admin_new(&admin, loop, path_of("admin.sock"), NULL, &source, err), 0);
    assert_int_equal(remote_new(&remote, loop, admin, &o, err), -1);
    admin_free(admin);
    loop_free(loop);
}

static void nothing(void *ctx, const struct http1_request *req, struct http1_response *res)
{
    (void)ctx;
    (void)req;
    (void)res;
}

static void socket_in_use(struct err *err)
{
    struct http1_server *server;
    struct loop *loop;

    (void)put("admin.sock", "");
    assert_int_equal(loop_new(&loop, err), 0);
    assert_int_equal(
        http1_serve_unix(&server, loop, path_of("admin.sock"), NULL, nothing, NULL, err), -1);
    loop_free(loop);
}

static void state_in_use(struct err *err)
{
    struct state_dir *first, *second;

    assert_int_equal(state_dir_open(&first, path_of("state"), err), 0);
    assert_int_equal(state_dir_open(&second, path_of("state"), err), -1);
    state_dir_close(first);
}

static void state_unsafe(struct err *err)
{
    struct state_dir *state;

    assert_int_equal(mkdir(path_of("open"), 0755), 0);
    assert_int_equal(chmod(path_of("open"), 0755), 0);
    assert_int_equal(state_dir_open(&state, path_of("open"), err), -1);
}

/* --- Kubernetes --- */

static void no_kubeconfig(struct err *err)
{
    struct kube_config *config;

    assert_int_equal(kube_config_load(&config, path_of("missing.kubeconfig"), NULL, err), -1);
}

static void bad_kubeconfig(struct err *err)
{
    struct kube_config *config;

    assert_int_equal(
        kube_config_load(&config, put("kubeconfig", "current-context: [here]\n"), NULL, err), -1);
}

/* Two ends of TLS and no network; the client trusts somebody else. */
static void server_untrusted(struct err *err)
{
    struct test_pki other;
    struct tls_context *server_context, *client_context;
    struct tls *server, *client;
    struct buf to_server = {.max = MIB}, to_client = {.max = MIB};

    test_pki_new(&other);
    struct tls_options here = {
        .cert_pem = other.server_cert, .key_pem = other.server_key, .alpn = "http/1.1"};
    struct tls_options there = {.ca_pem = pki.ca, .alpn = "http/1.1"};

    assert_int_equal(tls_server_context_new(&server_context, &here, err), 0);
    assert_int_equal(tls_context_new(&client_context, &there, err), 0);
    assert_int_equal(tls_accept(&server, server_context, &to_client, err), 0);
    assert_int_equal(tls_new(&client, client_context, "127.0.0.1", &to_server, err), 0);
    assert_int_equal(tls_handshake(client, err), 0);
    tls_input(server, to_server.data, to_server.len);
    assert_int_equal(tls_handshake(server, err), 0);
    tls_input(client, to_client.data, to_client.len);
    assert_int_equal(tls_handshake(client, err), -1);
    tls_free(server);
    tls_free(client);
    tls_context_free(server_context);
    tls_context_free(client_context);
    buf_free(&to_server);
    buf_free(&to_client);
    test_pki_free(&other);
}

struct waiting {
    struct loop *loop;
    struct err *err;
};

static void no_head(void *ctx, int status, const char *headers, size_t len)
{
    (void)ctx;
    (void)headers;
    (void)len;
    fail_msg("an answer: %d", status);
}

static void no_data(void *ctx, const uint8_t *data, size_t len)
{
    (void)ctx;
    (void)data;
    (void)len;
}

static void no_more(void *ctx, const struct err *err)
{
    struct waiting *w = ctx;

    assert_non_null(err);
    *w->err = *err;
    loop_stop(w->loop);
}

/* A port that nobody listens at: it was given to us and closed. */
static uint16_t free_port(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(addr);

    assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    return ntohs(addr.sin_port);
}

static void api_server_unreachable(struct err *err)
{
    static const struct kube_receiver receiver = {
        .on_head = no_head, .on_data = no_data, .on_end = no_more};
    char authority[32];
    struct kube_config config = {.context = (char *)(uintptr_t) "test",
                                 .host = (char *)(uintptr_t) "127.0.0.1",
                                 .authority = authority,
                                 .path_prefix = (char *)(uintptr_t) "",
                                 .ca_pem = pki.ca,
                                 .port = free_port()};
    struct kube_request req = {
        .method = "GET", .path = "/version", .lane = KUBE_CALL, .timeout_ms = 200};
    struct waiting w = {.err = err};
    struct kube_client *client;
    struct kube_stream *stream;

    snprintf(authority, sizeof(authority), "127.0.0.1:%u", config.port);
    assert_int_equal(loop_new(&w.loop, err), 0);
    assert_int_equal(kube_client_new(&client, w.loop, &config, err), 0);
    assert_int_equal(kube_send(&stream, client, &req, &receiver, &w, err), 0);
    loop_run(w.loop);
    kube_client_free(client);
    loop_free(w.loop);
}

/* --- the command line and files --- */

static void daemon_unreachable(struct err *err)
{
    json_t *answer;

    assert_int_equal(cli_fetch(&answer, path_of("nowhere"), "/v1/version", err), -1);
}

static void no_answer(struct err *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct http1_answer a;

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path_of("silent.sock"));
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(http1_get_unix(&a, addr.sun_path, "/healthz", 20, err), -1);
    err_wrap(err, "%s", addr.sun_path);
}

static void file_too_large(struct err *err)
{
    struct buf small = {.max = 8};

    assert_int_equal(file_read(&small, put("large", "more than seven bytes"), err), -1);
    buf_free(&small);
}

static void disk_full(struct err *err)
{
    AUTO_CLOSE int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(disk_write(&disk_real, fd, "x", 1, 0, err), -1);
}

static void disk_fault(struct err *err)
{
    AUTO_CLOSE int fd = open("/", O_RDONLY | O_CLOEXEC);
    char byte;

    assert_int_equal(disk_read(&disk_real, fd, &byte, 1, 0, 0, err), -1);
}

/* --- manifests --- */

/* The last error of a file. */
static void take_error(void *ctx, struct guest_spec *spec, const struct err *err)
{
    if (err)
        *(struct err *)ctx = *err;
    guest_spec_free(spec);
}

static void manifest(const char *text, struct err *err)
{
    struct err own = {0};

    assert_int_equal(guest_spec_read_file(put("guest.yaml", text), take_error, err, &own), 0);
}

#define WHOLE(name)                                                                                \
    GUEST "metadata: {name: " name "}\nspec:\n  module: file:g.wasm\n  triggers:\n"                \
          "  - watch: {apiVersion: v1, kind: ConfigMap}\n"                                         \
          "  capabilities: {kube: {serviceAccount: g}}\n"

static void bad_manifest(struct err *err)
{
    manifest(GUEST "metadata: {name: one}\nspec:\n  modul: file:g.wasm\n", err);
}

static void not_yet(struct err *err)
{
    manifest(GUEST "metadata: {name: one}\nspec:\n  module: oci://example.com/g\n", err);
}

static void duplicate_guest(struct err *err)
{
    manifest(WHOLE("one") "---\n" WHOLE("one"), err);
}

/* --- modules --- */

static void compiled(void *ctx, const struct err *err)
{
    struct waiting *w = ctx;

    if (err)
        *w->err = *err;
    loop_stop(w->loop);
}

/* As the daemon does: compiled by roost-compile, then loaded. */
static int load(struct image **image, struct engine *engine, const char *module, struct err *err)
{
    struct compile_opts opts = {.module_path = module, .image_path = path_of("image")};
    struct waiting w = {.err = err};
    struct compile *c;

    setenv("ROOST_COMPILE", ROOST_BINARY_DIR "/roost-compile", 1);
    assert_int_equal(loop_new(&w.loop, err), 0);
    assert_int_equal(compile_start(&c, w.loop, &opts, compiled, &w, err), 0);
    loop_run(w.loop);
    loop_free(w.loop);
    if (err->code)
        return -1;
    return image_load(image, engine, path_of("image"), err);
}

static void refused_module(const char *module, struct err *err)
{
    struct engine *engine;
    struct image *image;

    assert_int_equal(engine_new(&engine, &session_calls, err), 0);
    assert_int_equal(load(&image, engine, module, err), -1);
    engine_free(engine);
}

static void no_module(struct err *err)
{
    uint8_t digest[IMAGE_DIGEST_BYTES];

    assert_int_equal(image_digest(path_of("missing.wasm"), digest, NULL, err), -1);
}

static void bad_module(struct err *err)
{
    refused_module(put("bad.wasm", "no WebAssembly"), err);
}

/* A module with nothing in it. */
static void module_unfit(struct err *err)
{
    static const char empty[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    FILE *f = fopen(path_of("empty.wasm"), "we");

    assert_non_null(f);
    assert_int_equal(fwrite(empty, 1, sizeof(empty), f), sizeof(empty));
    assert_int_equal(fclose(f), 0);
    refused_module(path_of("empty.wasm"), err);
}

static void take_spec(void *ctx, struct guest_spec *spec, const struct err *err)
{
    assert_null(err);
    *(struct guest_spec **)ctx = spec;
}

static void cannot_sleep(struct err *err)
{
    struct guest_spec *spec = NULL;
    struct engine *engine = NULL;
    struct image *image = NULL;

    assert_int_equal(guest_spec_read_file(put("guest.yaml", WHOLE("one") "  sleep: {mode: auto}\n"),
                                          take_spec, &spec, err),
                     0);
    assert_int_equal(engine_new(&engine, &session_calls, err), 0);
    assert_int_equal(load(&image, engine, ROOST_BINARY_DIR "/guests/table.wasm", err), 0);
    assert_int_equal(guest_mode_for(spec, image, err), -1);
    image_unref(image);
    engine_free(engine);
    guest_spec_free(spec);
}

static void image_damaged(struct err *err)
{
    const char *path = put("damaged.image", "this was an image");

    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(image_check(path, err), -1);
}

/* --- guests: the reason is what `describe` shows beside lastError --- */

static void short_time(struct guest_spec *spec)
{
    spec->limits.cpu_ns = 3600 * NS_PER_S;
    spec->limits.time_ns = 50 * NS_PER_MS;
}

static void short_cpu(struct guest_spec *spec)
{
    spec->limits.cpu_ns = 20 * NS_PER_MS;
}

static bool has_error(struct rig *r, void *ctx)
{
    (void)r;
    return *((struct guest *)ctx)->last_error != 0;
}

/* Finds the row by the name that the guest has: err gets its code. */
static void take_last(const struct guest *g, struct err *err)
{
    for (enum err_reason reason = 1; reason < ERR_REASONS; reason++) {
        const struct err_reason_row *row = err_reason_row(reason);

        if (row && strcmp(row->name, g->last_reason) == 0) {
            err_set(err, row->code, 0, "%s", g->last_error);
            (void)err_blame(err, reason);
        }
    }
}

/* Each time in a folder of its own. */
static void open_rig(struct rig *rig)
{
    static unsigned n;
    char name[16];

    snprintf(name, sizeof(name), "rig-%u", ++n);
    *rig = (struct rig){.boot = 0};
    assert_int_equal(mkdir(path_of(name), 0700), 0);
    assert_true(rig_open(rig, path_of(name), 1, true));
    signals_own();
}

static void guest(const char *module, const char *key, void (*tweak)(struct guest_spec *spec),
                  struct err *err)
{
    static struct rig rig;
    struct guest *g;

    open_rig(&rig);
    g = rig_add(&rig, module, module, NULL, tweak);
    assert_non_null(g);
    rig_change(&rig, g, key, "{}");
    assert_true(rig_run(&rig, has_error, g, SECONDS));
    take_last(g, err);
    rig_close(&rig);
}

static void trapped(struct err *err)
{
    guest("trap", "test/bad", NULL, err);
}

static void cpu_limit(struct err *err)
{
    guest("spin", "test/bad", short_cpu, err);
}

static void time_limit(struct err *err)
{
    guest("spin", "test/bad", short_time, err);
}

static void handler_failed(struct err *err)
{
    guest("again", "test/fail-it", NULL, err);
}

static void snapshot_damaged(struct err *err)
{
    static const char junk[4096] = "junk";
    static struct rig rig;
    char arena[PATH_ROOM];
    struct guest *g;
    struct stat st = {0};
    int fd;

    open_rig(&rig);
    g = rig_add(&rig, "hello", "hello", NULL, NULL);
    assert_non_null(g);
    rig_change(&rig, g, "test/a", "{}");
    assert_true(rig_settle(&rig, g, SECONDS));
    assert_int_equal(g->state, G_ASLEEP);
    snprintf(arena, sizeof(arena), "%s/arena", rig.dir);
    fd = open(arena, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    for (off_t at = 0; at < st.st_size && at < 4 * MIB; at += (off_t)sizeof(junk))
        assert_int_equal(pwrite(fd, junk, sizeof(junk), at), sizeof(junk));
    close(fd);
    rig_change(&rig, g, "test/b", "{}");
    assert_true(rig_run(&rig, has_error, g, SECONDS));
    take_last(g, err);
    rig_close(&rig);
}

/* --- the table --- */

static const struct producer {
    void (*run)(struct err *err);
    const char *elsewhere; /* no run: the message, which that test gets and looks at */
    bool varies;           /* its numbers do: N in the document */
    enum err_code or ;     /* the other code that it may have */
} producers[ERR_REASONS] = {
    [REASON_BAD_FLAG] = {.run = bad_flag},
    [REASON_BAD_CONFIGURATION] = {.run = bad_configuration},
    [REASON_BAD_CERTIFICATE] = {.run = bad_certificate},
    [REASON_BAD_TOKEN] = {.run = bad_token},
    [REASON_NO_SUCH_GROUP] = {.run = no_such_group},
    [REASON_ADDRESS_IN_USE] = {.run = address_in_use, .varies = true},
    [REASON_SOCKET_IN_USE] = {.run = socket_in_use},
    [REASON_STATE_IN_USE] = {.run = state_in_use, .varies = true},
    [REASON_STATE_UNSAFE] = {.run = state_unsafe},
    [REASON_NO_KUBECONFIG] = {.run = no_kubeconfig},
    [REASON_BAD_KUBECONFIG] = {.run = bad_kubeconfig},
    [REASON_SERVER_UNTRUSTED] = {.run = server_untrusted},
    [REASON_API_SERVER_UNREACHABLE] = {.run = api_server_unreachable,
                                       .varies = true,
                                       .or = ERR_TIMEOUT}, /* by who gave up first */
    [REASON_MAY_NOT_WATCH] = {.elsewhere = "service account no may not list testresources in "
                                           "namespace a: as told (`test_watch`)"},
    [REASON_DAEMON_UNREACHABLE] = {.run = daemon_unreachable},
    [REASON_NO_ANSWER] = {.run = no_answer},
    [REASON_FILE_TOO_LARGE] = {.run = file_too_large},
    [REASON_BAD_MANIFEST] = {.run = bad_manifest},
    [REASON_NOT_YET] = {.run = not_yet},
    [REASON_DUPLICATE_GUEST] = {.run = duplicate_guest},
    [REASON_NO_MODULE] = {.run = no_module},
    [REASON_BAD_MODULE] = {.run = bad_module},
    [REASON_MODULE_UNFIT] = {.run = module_unfit},
    [REASON_CANNOT_SLEEP] = {.run = cannot_sleep},
    [REASON_IMAGE_DAMAGED] = {.run = image_damaged},
    [REASON_SNAPSHOT_DAMAGED] = {.run = snapshot_damaged},
    [REASON_TRAPPED] = {.run = trapped},
    [REASON_CPU_LIMIT] = {.run = cpu_limit},
    [REASON_TIME_LIMIT] = {.run = time_limit, .varies = true},
    [REASON_HANDLER_FAILED] = {.run = handler_failed},
    [REASON_DISK_FULL] = {.run = disk_full},
    [REASON_DISK_FAULT] = {.run = disk_fault},
};

/* What varies from run to run is left out: the folder, numbers, a backtrace, and what would end a
 * cell of the table. */
static void put_message(struct buf *out, const char *text, bool varies)
{
    size_t len = strlen(dir.path);

    for (; *text; text++) {
        if (strncmp(text, "; error while executing", 23) == 0 || *text == '\n')
            break;
        if (strncmp(text, dir.path, len) == 0) {
            assert_int_equal(buf_puts(out, "DIR", NULL), 0);
            text += len - 1;
        } else if (varies && *text >= '0' && *text <= '9') {
            assert_int_equal(buf_puts(out, "N", NULL), 0);
            text += strspn(text, "0123456789") - 1;
        } else if (*text == '|') {
            assert_int_equal(buf_puts(out, "\\|", NULL), 0);
        } else if (*text == '`') {
            assert_int_equal(buf_puts(out, "'", NULL), 0);
        } else {
            assert_int_equal(buf_append(out, text, 1, NULL), 0);
        }
    }
}

/* Errors that were not what their row says. */
static int wrong;

static void produce(enum err_reason reason, struct err *err)
{
    const struct err_reason_row *row = err_reason_row(reason);

    *err = (struct err){0};
    producers[reason].run(err);
    if (err->reason == reason && (err->code == row->code || err->code == producers[reason].or))
        return;
    wrong++;
    print_error("%s (%s) came as %s (%s): %s\n", row->name, err_code_name(row->code),
                err_reason_of(err), err_code_name(err->code), err->msg);
}

/* --- the document --- */

static const char head[] =
    "# Errors\n"
    "\n"
    "What can go wrong, as programs and people are told of it. This page is made by `test_errors "
    "--write`, which\n"
    "brings each situation about with the code that runs in the daemon, and a test holds it to "
    "that.\n"
    "\n"
    "An error has a **code**, one of those in the first table: it is the exit status of `roost`, "
    "and the status\n"
    "of the admin API's answer. Where there is more to know of what to do, it has a **reason** of "
    "the second\n"
    "table; else its reason is that of its code. Both are stable names. Reasons are in `reason` of "
    "an\n"
    "`application/problem+json` and in `lastErrorReason` of a guest. Messages are for people: what "
    "failed, on\n"
    "what, why, and the way out where it is short; they may change.\n"
    "\n"
    "What happens to guests is told by [events](cli.md) too, and by the daemon's log: "
    "[operations.md](operations.md#what-errors-mean).\n"
    "\n"
    "## Codes\n"
    "\n"
    "| code | reason | exit status | HTTP | what to do |\n"
    "|---|---|---|---|---|\n";

static void make_codes(struct buf *out)
{
    assert_int_equal(buf_puts(out, head, NULL), 0);
    for (enum err_code code = 1; code < ERR_CODES; code++) {
        const struct err_reason_row *row = err_code_row(code);

        assert_non_null(row);
        assert_int_equal(buf_printf(out, NULL, "| `%s` | %s | %d | %d | %s |\n",
                                    err_code_name(code), row->name, err_exit_status(code),
                                    err_http_status(code), row->todo),
                         0);
    }
    assert_int_equal(buf_puts(out,
                              "\nA status of 401 (no token, or the wrong one, over TCP) has the "
                              "reason Denied; one of 500 or above that has no code of its own, "
                              "Internal.\n"
                              "\n"
                              "## Reasons\n"
                              "\n"
                              "DIR stands for a folder, N for a number.\n"
                              "\n"
                              "| reason | code | for example | what to do |\n"
                              "|---|---|---|---|\n",
                              NULL),
                     0);
}

static void make_document(struct buf *out)
{
    wrong = 0;
    make_codes(out);
    for (enum err_reason reason = 1; reason < ERR_REASONS; reason++) {
        const struct err_reason_row *row = err_reason_row(reason);
        struct err err;

        assert_int_equal(
            buf_printf(out, NULL, "| %s | `%s` | ", row->name, err_code_name(row->code)), 0);
        if (producers[reason].elsewhere) {
            assert_int_equal(buf_puts(out, producers[reason].elsewhere, NULL), 0);
        } else {
            produce(reason, &err);
            assert_int_equal(buf_puts(out, "`", NULL), 0);
            put_message(out, err.msg, producers[reason].varies);
            assert_int_equal(buf_puts(out, "`", NULL), 0);
        }
        assert_int_equal(buf_printf(out, NULL, " | %s |\n", row->todo), 0);
    }
    assert_int_equal(wrong, 0);
}

/* --- tests --- */

static void test_every_reason_has_a_row_and_a_producer(void **state)
{
    (void)state;
    for (enum err_reason reason = 1; reason < ERR_REASONS; reason++) {
        const struct err_reason_row *row = err_reason_row(reason);

        assert_non_null(row);
        assert_true(row->todo[strlen(row->todo) - 1] == '.');
        assert_true(!producers[reason].run != !producers[reason].elsewhere);
        for (enum err_reason other = 1; other < reason; other++)
            assert_string_not_equal(row->name, err_reason_row(other)->name);
    }
    assert_null(err_reason_row(REASON_NONE));
    assert_null(err_reason_row(ERR_REASONS));
    assert_null(err_code_row(ERR_NONE));
}

static void test_codes_have_statuses_of_their_own(void **state)
{
    (void)state;
    for (enum err_code code = 1; code < ERR_CODES; code++) {
        struct err err = {.code = code};

        assert_string_equal(err_reason_of(&err), err_code_row(code)->name);
        assert_true(err_http_status(code) >= 400 && err_http_status(code) < 600);
        for (enum err_code other = 0; other < code; other++)
            assert_int_not_equal(err_exit_status(code), err_exit_status(other));
    }
}

/* The first to know names it, and whoever passes it on does not take that away. */
static void test_a_reason_stays(void **state)
{
    struct err err = {0};

    (void)state;
    err_set(&err, ERR_IO, 0, "x");
    assert_int_equal(err_blame(&err, REASON_DISK_FULL), -1);
    (void)err_blame(&err, REASON_BAD_MANIFEST);
    err_wrap(&err, "y");
    assert_string_equal(err_reason_of(&err), "DiskFull");
    err_set(&err, ERR_IO, 0, "another");
    assert_int_equal(err.reason, REASON_NONE);
    assert_int_equal(err_blame(NULL, REASON_DISK_FULL), -1);
}

static void test_a_problem_has_the_reason(void **state)
{
    struct http1_response res = {.body.max = KIB};
    struct err err = {0};

    (void)state;
    bad_token(&err);
    http1_problem_err(&res, &err);
    assert_int_equal(res.status, 422);
    assert_non_null(strstr(buf_cstr(&res.body), "\"reason\":\"BadToken\""));
    http1_problem(&res, 404, "there is no such guest");
    assert_non_null(strstr(buf_cstr(&res.body), "\"reason\":\"NotFound\""));
    buf_free(&res.body);
}

/* Runs every producer. */
static void test_the_document_is_what_happens(void **state)
{
    struct buf want = {0}, got = {.max = MIB};
    struct err err = {0};

    (void)state;
    make_document(&want);
    assert_int_equal(file_read(&got, DOCUMENT, &err), 0);
    if (strcmp(buf_cstr(&want), buf_cstr(&got)) != 0)
        fail_msg("%s is not what happens: run test_errors --write", DOCUMENT);
    buf_free(&want);
    buf_free(&got);
}

static int setup(void **state)
{
    (void)state;
    unsetenv("ROOST_STATE");
    signal(SIGPIPE, SIG_IGN);
    test_pki_new(&pki);
    return tmp_dir_make(&dir);
}

static int teardown(void **state)
{
    (void)state;
    test_pki_free(&pki);
    tmp_dir_remove(&dir);
    return 0;
}

static void write_document(void **state)
{
    struct buf text = {0};
    FILE *f;

    (void)state;
    make_document(&text);
    f = fopen(DOCUMENT, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(text.data, 1, text.len, f), text.len);
    assert_int_equal(fclose(f), 0);
    buf_free(&text);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_reason_has_a_row_and_a_producer),
        cmocka_unit_test(test_codes_have_statuses_of_their_own),
        cmocka_unit_test(test_a_reason_stays),
        cmocka_unit_test_setup_teardown(test_a_problem_has_the_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_document_is_what_happens, setup, teardown),
    };
    const struct CMUnitTest writer[] = {
        cmocka_unit_test_setup_teardown(write_document, setup, teardown),
    };

    if (argc == 2 && strcmp(argv[1], "--write") == 0)
        return cmocka_run_group_tests(writer, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
