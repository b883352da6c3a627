/* What to do about what a user meets. A row is said once in the code that produces it, by
 * err_blame; test_errors runs that code, and puts the message that came into docs/errors.md. */
#include "base/err.h"

static const struct err_reason_row rows[ERR_REASONS] = {
    [REASON_BAD_FLAG] = {"BadFlag", ERR_USAGE,
                         "Correct the option; `roost serve --help` has them all, with their "
                         "ranges."},
    [REASON_BAD_CONFIGURATION] = {"BadConfiguration", ERR_INVALID,
                                  "Correct the file at that place; `roost serve --config FILE "
                                  "--check-config` says whether it is right, and "
                                  "[config.md](config.md) has every option. A running daemon goes "
                                  "on with what it had."},
    [REASON_BAD_CERTIFICATE] = {"BadCertificate", ERR_INVALID,
                                "Give `admin.certFile` and `admin.keyFile` in PEM, of one pair, "
                                "the key not encrypted. A reload with bad ones changes nothing."},
    [REASON_BAD_TOKEN] = {"BadToken", ERR_INVALID,
                          "Make one: `openssl rand -hex 32 > FILE`. A reload with a bad one "
                          "changes nothing."},
    [REASON_NO_SUCH_GROUP] = {"NoSuchGroup", ERR_NOT_FOUND,
                              "Make the group, and have the daemon in it; or correct "
                              "`admin.group`."},
    [REASON_ADDRESS_IN_USE] = {"AddressInUse", ERR_EXISTS,
                               "Something else listens there: `ss -ltnp` says what. Stop it, or "
                               "choose another port in `admin.listen`."},
    [REASON_SOCKET_IN_USE] = {"SocketInUse", ERR_EXISTS,
                              "Another daemon answers at that socket, or the file is no socket: "
                              "give each daemon an `admin.socket` of its own."},
    [REASON_STATE_IN_USE] = {"StateInUse", ERR_EXISTS,
                             "One daemon at a time has a state directory: stop the other one, or "
                             "give this one another with `--state`."},
    [REASON_STATE_UNSAFE] = {"StateUnsafe", ERR_DENIED,
                             "It must be the daemon's user's and closed to others: `chown` it, "
                             "`chmod 700` it, or use another."},
    [REASON_NO_KUBECONFIG] = {"NoKubeconfig", ERR_NOT_FOUND,
                              "Give one by `--kubeconfig`, `kubernetes.kubeconfig` or "
                              "`$KUBECONFIG`; or run without a cluster, `--no-kubernetes`."},
    [REASON_BAD_KUBECONFIG] = {"BadKubeconfig", ERR_INVALID,
                               "Correct it at that place. `kubectl config view --minify --raw` "
                               "writes a small one of a context that works."},
    [REASON_SERVER_UNTRUSTED] = {"ServerUntrusted", ERR_DENIED,
                                 "Look at whom you connect to. If it is the right one: give its "
                                 "authority (`certificate-authority` of the kubeconfig, "
                                 "`--ca-file`), and use a name that is in its certificate."},
    [REASON_API_SERVER_UNREACHABLE] = {"ApiServerUnreachable", ERR_NET,
                                       "Look at `server` of the kubeconfig and whether it is up. "
                                       "The daemon goes on trying; guests that are awake go on."},
    [REASON_MAY_NOT_WATCH] = {"MayNotWatch", ERR_DENIED,
                              "Give the service account a Role and a RoleBinding for what the "
                              "message names. It is asked again each half minute at most."},
    [REASON_DAEMON_UNREACHABLE] = {"DaemonUnreachable", ERR_NET,
                                   "Start `roost serve`, or say where it is: `--state DIR`, or "
                                   "`--server URL` before the command. Its log says why it ended."},
    [REASON_NO_ANSWER] = {"NoAnswer", ERR_TIMEOUT,
                          "The other side took the question and does not answer: look at its log "
                          "and its load, then try again."},
    [REASON_FILE_TOO_LARGE] = {"FileTooLarge", ERR_LIMIT,
                               "The message has the limit. Look at whether it is the right file; "
                               "divide it if it may be several."},
    [REASON_BAD_MANIFEST] = {"BadManifest", ERR_INVALID,
                             "Correct the manifest at that place. The other guests run."},
    [REASON_NOT_YET] = {"NotYet", ERR_UNSUPPORTED,
                        "This version does not do that: leave the field out, or do as the message "
                        "says."},
    [REASON_DUPLICATE_GUEST] = {"DuplicateGuest", ERR_EXISTS,
                                "The first manifest of a name holds: rename or remove the other."},
    [REASON_NO_MODULE] = {"NoModule", ERR_NOT_FOUND,
                          "Build the module, or correct `spec.module`: a relative path is seen "
                          "from the manifest's folder."},
    [REASON_BAD_MODULE] = {"BadModule", ERR_INVALID,
                           "The file is no WebAssembly, or damaged: build it again. `roost "
                           "inspect FILE` says the same without a daemon."},
    [REASON_MODULE_UNFIT] = {"ModuleUnfit", ERR_UNSUPPORTED,
                             "The module is WebAssembly, but no guest: [abi.md](abi.md) has what "
                             "one exports and may import; `roost inspect FILE` shows what this one "
                             "does."},
    [REASON_CANNOT_SLEEP] = {"CannotSleep", ERR_UNSUPPORTED,
                             "Say `sleep: {mode: never}`, or `fresh`, or build the module without "
                             "what the message names ([abi.md]"
                             "(abi.md#what-a-sleep-keeps-and-what-it-would-lose))."},
    [REASON_IMAGE_DAMAGED] = {"ImageDamaged", ERR_CORRUPT,
                              "Nothing: it is compiled again. If it comes back, look at the disk."},
    [REASON_SNAPSHOT_DAMAGED] = {"SnapshotDamaged", ERR_CORRUPT,
                                 "Nothing: the guest starts afresh, and all its keys are due. If "
                                 "others follow, look at the disk."},
    [REASON_TRAPPED] = {"Trapped", ERR_TRAP,
                        "A bug of the guest's: the message has a backtrace, `roost logs` what it "
                        "said before. It starts afresh after a pause; that key is tried again."},
    [REASON_CPU_LIMIT] = {"CpuLimit", ERR_TRAP,
                          "It computed for too long in one event: a loop without end, or a "
                          "`limits.cpu` that is too small."},
    [REASON_TIME_LIMIT] = {"TimeLimit", ERR_TIMEOUT,
                           "One event took too long by the clock: a call that hangs, or a "
                           "`limits.time` that is too small."},
    [REASON_HANDLER_FAILED] = {"HandlerFailed", ERR_AGAIN,
                               "The guest's own matter: `roost logs` has what it says. The key is "
                               "tried again, later each time."},
    [REASON_DISK_FULL] = {"DiskFull", ERR_IO,
                          "Make room where the state directory is. Guests stay awake meanwhile; "
                          "nothing is to be started again."},
    [REASON_DISK_FAULT] = {"DiskFault", ERR_IO,
                           "Look at the disk (`dmesg`). Guests stay awake meanwhile, and what "
                           "could not be written is tried again."},
};

/* What holds for a code where nothing finer is known. */
static const struct err_reason_row general[ERR_CODES] = {
    [ERR_USAGE] = {"Usage", ERR_USAGE, "Nothing was done. `roost help COMMAND` has the options."},
    [ERR_INVALID] = {"Invalid", ERR_INVALID, "Correct what the message names, at its place."},
    [ERR_NOT_FOUND] = {"NotFound", ERR_NOT_FOUND, "Look at the name that the message has."},
    [ERR_EXISTS] = {"AlreadyExists", ERR_EXISTS, "Choose another name, or remove what is there."},
    [ERR_DENIED] = {"Denied", ERR_DENIED, "Ask whoever may give the right that the message names."},
    [ERR_LIMIT] = {"OverLimit", ERR_LIMIT,
                   "The message has the limit; those that can be set are in [config.md](config.md) "
                   "and in the manifest."},
    [ERR_NOMEM] = {"OutOfMemory", ERR_NOMEM,
                   "More memory, or a smaller `memory` option ([operations.md]"
                   "(operations.md#room-for-guests-that-are-awake))."},
    [ERR_IO] = {"DiskFault", ERR_IO, "Look at the disk or the file that the message names."},
    [ERR_NET] = {"NetworkFault", ERR_NET,
                 "Look at the other side and the way to it; connections are tried again."},
    [ERR_TIMEOUT] = {"Timeout", ERR_TIMEOUT, "Try again; look at the load of the other side."},
    [ERR_AGAIN] = {"TryLater", ERR_AGAIN, "Try again later: nothing is wrong."},
    [ERR_GONE] = {"Gone", ERR_GONE, "It was there and is no longer: ask for it anew."},
    [ERR_CORRUPT] = {"Corrupt", ERR_CORRUPT,
                     "What was kept is not what was written; it is not used. Look at the disk."},
    [ERR_TRAP] = {"Trapped", ERR_TRAP, "A bug of the guest's: `roost logs`, `roost describe`."},
    [ERR_UNSUPPORTED] = {"Unsupported", ERR_UNSUPPORTED, "Do without what the message names."},
};

const struct err_reason_row *err_reason_row(enum err_reason reason)
{
    return (unsigned)reason < ERR_REASONS && rows[reason].name ? &rows[reason] : 0;
}

const struct err_reason_row *err_code_row(enum err_code code)
{
    return (unsigned)code < ERR_CODES && general[code].name ? &general[code] : 0;
}

const char *err_reason_of(const struct err *err)
{
    const struct err_reason_row *row = err_reason_row(err->reason);

    if (!row)
        row = err_code_row(err->code);
    return row ? row->name : "";
}
