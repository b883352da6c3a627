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
#define SCHED_PROMPT_NS      (100u * 1000) /* of the processor at a time, for who must not wait */
#define LOOP_SIGNALS_MAX     4
#define LOOP_CLOSE_TURNS_MAX 1000
#define LOOP_CLOSE_TURN_MS   10 /* waited in one of them for a request in another thread */

#define NOTIFY_BYTES_MAX       1024u /* what a service manager is told at once */
#define NOTIFY_WATCHDOG_MIN_US 2u
#define NOTIFY_WATCHDOG_MAX_US (24ull * 3600 * 1000 * 1000)

/* --- slabs: small blocks that stay --- */
#define SLAB_BLOCK_MAX   512u /* larger ones are malloc's */
#define SLAB_CHUNK_BYTES (64u * KIB)
#define SLAB_EMPTY_KEEP  4u /* empty pages that keep their memory */

/* --- what glibc's malloc keeps for each thread: blocks of 24, 40, ... 1032 bytes --- */
#define HEAP_KEPT_MIN    24u
#define HEAP_KEPT_MAX    1032u
#define HEAP_KEPT_STEP   16u
#define HEAP_KEPT_BLOCKS 32u
#define HEAP_STACK_BYTES (64u * KIB)
#define DIRWATCH_LATEST  10u /* times the settling time: a folder that never rests */

/* --- yaml --- */
#define YAML_BYTES_MAX     (16u * MIB)
#define YAML_DEPTH_MAX     64u
#define YAML_NODES_MAX     100000u
#define YAML_TAG_LINES_MAX 16u
#define NEAREST_WORD_MAX   63u

/* --- HTTP/1.1 on the admin socket --- */
#define HTTP1_HEADERS_MAX       64 /* native/src/lib.rs has the same */
#define HTTP1_HEAD_BYTES_MAX    (16u * KIB)
#define HTTP1_TARGET_MAX        1024u
#define HTTP1_BODY_BYTES_MAX    (64u * MIB)
#define HTTP1_CONNECTIONS_MAX   64u
#define HTTP1_BACKLOG           128
#define HTTP1_BODIES_BYTES_MAX  (96u * MIB) /* of all requests under way */
#define HTTP1_HEAD_TIMEOUT_MS   10000u
#define HTTP1_BODY_TIMEOUT_MS   60000u
#define HTTP1_WORK_TIMEOUT_MS   120000u /* until an answer that comes later is given up */
#define HTTP1_IDLE_TIMEOUT_MS   60000u
#define HTTP1_WRITE_TIMEOUT_MS  30000u
#define HTTP1_CLIENT_TIMEOUT_MS 10000u
#define HTTP1_STREAMS_MAX       32u
#define HTTP1_STREAM_BACKLOG    (256u * KIB)     /* pushed and not taken by the socket */
#define HTTP1_STREAM_FLUSH_NS   (1000ull * 1000) /* what is pushed in this time is one write */
#define ADMIN_PIECE_BYTES       (32u * KIB)      /* of a stream, made in one turn */
#define ADMIN_PARAMS_MAX        3u               /* parts in braces of a route's path */

/* Over TCP, with TLS. */
#define HTTP1_TLS_CLIENTS_MAX    32u
#define HTTP1_TLS_HANDSHAKES_MAX 16u /* at once */
#define HTTP1_TLS_RATE           32u /* handshakes a second; a signature costs up to a millisecond ... */
#define HTTP1_TLS_BURST          64u /* ... and so many at once */
#define HTTP1_TLS_HANDSHAKE_MS   10000u
#define HTTP1_TLS_KEEPALIVE_S    60u /* of silence; then the system asks whether the peer is there */
#define HTTP1_TLS_DRAIN_MS       30000u /* for the last bytes, after the server has closed */
#define HTTP1_TLS_ADDRESS_MAX    64u
#define HTTP1_TLS_OUT_MAX        (64u * KIB)
#define HTTP1_TLS_READ_BYTES     (16u * KIB)
#define HTTP1_TLS_PLAIN_MAX      (2 * HTTP1_TLS_READ_BYTES)
_Static_assert(HTTP1_TLS_CLIENTS_MAX < HTTP1_CONNECTIONS_MAX,
               "clients from elsewhere leave room for those of this host");

_Static_assert(HTTP1_TARGET_MAX < HTTP1_HEAD_BYTES_MAX, "a target is part of a head");
_Static_assert(HTTP1_STREAMS_MAX < HTTP1_CONNECTIONS_MAX, "streams leave room for requests");

/* --- the command line --- */
#define CLI_ACT_TIMEOUT_MS    130000u /* an event in hand is finished first: past the daemon's own */
#define CLI_APPLY_TIMEOUT_MS  130000u
#define CLI_UPLOAD_TIMEOUT_MS 120000u
#define CLI_LINE_BYTES_MAX    (4u * MIB)  /* of a stream */
#define MANIFESTS_BYTES_MAX   (32u * MIB) /* of one apply */

_Static_assert(CLI_ACT_TIMEOUT_MS > HTTP1_WORK_TIMEOUT_MS, "the daemon gives up first");

/* --- a guest's manifest: defaults and ceilings --- */
#define SPEC_FILE_BYTES_MAX    (512u * MIB) /* of any number of documents ... */
#define SPEC_BYTES_MAX         MIB          /* ... of this size */
#define SPEC_FILES_MAX         10000u       /* in one folder */
#define SPEC_GUESTS_MAX        1000000u
#define SPEC_NAME_MAX          63u  /* a DNS-1123 label */
#define SPEC_SUBDOMAIN_MAX     253u /* a DNS-1123 subdomain */
#define SPEC_PATH_MAX          4095u
#define GUEST_MEMORY_DEFAULT   (64ull * MIB)
#define GUEST_MEMORY_MIN       (64ull * KIB) /* one page of Wasm */
#define GUEST_MEMORY_MAX       (4096ull * MIB)
#define GUEST_CPU_DEFAULT_NS   1000000000ull /* running, for each event */
#define GUEST_TIME_DEFAULT_NS  60000000000ull
#define GUEST_DURATION_MIN_NS  1000000ull /* of cpu and time: a tick */
#define GUEST_DURATION_MAX_NS  3600000000000ull
#define GUEST_CALLS_DEFAULT    16u
#define GUEST_CALLS_MAX        256u
#define GUEST_TRIGGERS_MAX     16u
#define GUEST_NAMESPACES_MAX   64u /* of one watch */
#define GUEST_ENV_MAX          64u
#define GUEST_LABELS_MAX       64u
#define GUEST_ARGS_MAX         64u
#define GUEST_ENV_BYTES_MAX    (64u * KIB) /* names, values and arguments together */
#define SLEEP_AFTER_DEFAULT_NS 0ull
#define SLEEP_AFTER_MAX_NS     86400000000000ull

_Static_assert(GUEST_CPU_DEFAULT_NS <= GUEST_TIME_DEFAULT_NS, "running is a part of the time");
_Static_assert(SPEC_BYTES_MAX <= YAML_BYTES_MAX, "a manifest is YAML");
_Static_assert(SPEC_NAME_MAX <= NEAREST_WORD_MAX, "names are compared in messages");

/* --- engine --- */
#define STACKS_FREE_MAX          16u    /* fiber stacks kept for the next guests */
#define STACKS_IDLE_MAX          2u     /* of those while nothing happens */
#define GUEST_TABLE_ELEMENTS_MAX 100000 /* function pointers of a module */
#define GUEST_TABLES_MAX         16
#define RESTORE_READ_PAGES_MAX   8u  /* runs up to here are read at wake, larger ones mapped */
#define COLD_BLOCK_PAGES         16u /* a snapshot on a cold disk is read in such blocks ... */
#define COLD_BLOCKS_MAX          32u /* ... up to so many, then as the kernel likes */
#define RESTORE_IOV_MAX          64u /* runs read with one call */

/* --- kube: watches --- */
#define JSON_DEPTH_MAX              512u
#define KUBE_OBJECT_MAX             (3u * MIB) /* etcd's own limit is 1.5 MiB a request */
#define KUBE_EVENT_MAX              (KUBE_OBJECT_MAX + 4096u) /* an object and what is around it */
#define KUBE_LIST_META_MAX          (64u * KIB) /* a list's members besides its items */
#define KUBE_OBJECT_CUTS_MAX        8u
#define KUBE_NAME_MAX               253u
#define KUBE_NAMESPACE_MAX          63u
#define KUBE_UID_MAX                127u
#define KUBE_VERSION_MAX            127u /* a resourceVersion: opaque, in practice 20 digits */
#define KUBE_CONTINUE_MAX           4096u
#define KUBE_PATH_MAX               8192u
#define KUBE_ANSWER_MAX             (4u * MIB) /* an answer that is read whole (discovery, reviews) */
#define KUBE_ERROR_BODY_MAX         (16u * KIB)
#define FRAME_KEEP_BYTES            (64u * KIB) /* a buffer larger than this is given back at once */
#define REFLECTOR_PAGE_ITEMS        500u
#define REFLECTOR_BACKOFF_MIN_MS    800u
#define REFLECTOR_BACKOFF_MAX_MS    30000u
#define REFLECTOR_RETRY_AFTER_MAX_S 300u
#define REFLECTOR_HEALTHY_S         120u  /* of health end all back-off */
#define REFLECTOR_SHORT_WATCH_MS    1000u /* one that ended within, without an event, is a failure */
#define REFLECTOR_WATCH_MIN_S       300u
#define REFLECTOR_WATCH_MAX_S       600u
#define REFLECTOR_SILENCE_S         60u /* without a byte, of a list or past a watch's own end */
#define REFLECTOR_REWINDS_MAX       5u  /* lists that went back in time, until one is believed */
#define TABLE_ENTRIES_MAX           (4096u * 1024u)
_Static_assert(KUBE_EVENT_MAX < BUF_DEFAULT_MAX, "an event fits in a buffer");

/* --- modules and images (engine/rewrite, engine/imagecache, roost-compile) --- */
#define MODULE_BYTES_MAX            (64u * MIB)
#define IMAGE_BYTES_MAX             (512u * MIB)
#define REWRITE_TYPES_MAX           100000u
#define REWRITE_IMPORTS_MAX         10000u
#define REWRITE_FUNCTIONS_MAX       500000u /* imported and defined */
#define REWRITE_MEMORY_PAGES_MAX    65536u  /* 4 GiB: what 32 bits address */
#define REWRITE_GLOBALS_MAX         4096u   /* imported and defined */
#define REWRITE_EXPORTS_MAX         20000u  /* what the rewriter adds included */
#define REWRITE_SEGMENTS_MAX        100000u /* of data, of elements */
#define REWRITE_NAME_BYTES_MAX      4096u   /* of an import or export */
#define REWRITE_CUSTOM_SECTIONS_MAX 1000u
#define REWRITE_BYTES_MAX           (2u * MODULE_BYTES_MAX) /* of what the rewriter writes */
#define REWRITE_BULK_BYTES          (256u * KIB) /* more in one instruction goes in pieces */
#define REWRITE_BULK_SEGMENTS_MAX   (MODULE_BYTES_MAX / REWRITE_BULK_BYTES) /* that are so long */
#define REWRITE_UNSAVABLE_BYTES     384u /* why a module's state cannot be saved */
#define INSPECT_NAME_BYTES          256u /* of an import or export, as it is shown */
#define GUEST_MEMORIES_MAX          16u  /* of a module; those beyond the first are never saved */
#define COMPILE_MEMORY_BYTES_MAX    (2048ull * MIB)
#define COMPILE_CPU_S_MAX           60u
#define COMPILE_TIME_MS_MAX         300000u /* wall clock: longer than the CPU time, for a busy host */
#define COMPILE_STDERR_BYTES_MAX    4096u
#define COMPILE_JOBS_MAX            2u
#define COMPILE_QUEUE_MAX           4096u
#define COMPILE_FILES_MAX           16u
#define SPAWN_STDERR_BYTES_MAX      (64u * KIB) /* the most that a caller may ask for */

/* --- what is on disk: the database, the arena, snapshots --- */
#define DB_KEY_MAX         511u /* LMDB's own */
#define DB_VALUE_MAX       (1u * MIB)
#define DB_TABLE_NAME_MAX  31u
#define DB_TABLES_MAX      16u
#define DB_BATCH_BYTES_MAX (8u * MIB)
#define DB_GROUP_BYTES_MAX DB_BATCH_BYTES_MAX /* in one transaction */
#define DB_QUEUE_BYTES_MAX (64u * MIB)        /* of batches that wait for the commit thread */
#define DB_MAP_BYTES_MAX   (8ull << 30)       /* of address space, sparse: the database's size */
#define DB_GROUP_DELAY_MS  100u /* gathering batches before a sync: what a kill can cost */
#define DB_RETRY_MIN_NS    (50ull * 1000 * 1000) /* a group that could not be written ... */
#define DB_RETRY_MAX_NS    (5ull * 1000 * 1000 * 1000)
#define DB_GROUP_BYTES     (1u * MIB)   /* no more gathering from here on */
#define DB_REOPEN_BYTES    (256u * KIB) /* written, until LMDB's memory is given back */

#define DB_IDLE_REOPEN_BYTES (16u * KIB) /* read or written, until the same when it is idle ... */
#define DB_IDLE_MS           500u        /* ... for so long */

#define DB_STACK_BYTES   (128u * KIB)
#define DISK_RETRIES_MAX 1000u        /* of one call, interrupted by signals */
#define DISK_IOV_MAX     64u          /* pieces of one vectored call */
#define ARENA_BYTES_MAX  (1ull << 40) /* of the file, sparse */
#define ARENA_GROW_BYTES (64u * MIB)  /* the file grows, and is cut, by this */
#define ARENA_SLOTS_MAX  (4096u * 1024u)
#define ARENA_FREE_KEEP_BYTES                                                                      \
    (48u * MIB) /* free space kept in the page cache: 3 x faster to write */
#define ARENA_PUNCH_MIN_BYTES  (1u * MIB) /* smaller free extents are punched last */
#define ARENA_TRIM_EXTENTS_MAX 64u        /* punched in one call of arena_trim */
#define SAVE_CHUNK_BYTES       (256u * KIB)
#define SNAPSHOT_BYTES_MAX     (4ull << 30) /* guest memory: all that a 32-bit module can have */
#define SNAPSHOT_SLOTS_MAX     16u
#define SNAPSHOT_RUNS_MAX      128u /* a run costs 2 us at each wake; and all fit in a header page */
#define SNAPSHOT_JOIN_PAGES    1u   /* a gap up to here is written too: cheaper than another run */
#define SNAPSHOT_GLOBALS_MAX   4096u
#define SNAPSHOT_RECORD_MAX    (96u * KIB) /* encoded */
_Static_assert(SNAPSHOT_RECORD_MAX * 2 < DB_VALUE_MAX, "a snapshot fits in a guest's record");
_Static_assert(DB_VALUE_MAX + DB_KEY_MAX + 64 < DB_BATCH_BYTES_MAX, "an entry fits in a batch");
_Static_assert(DB_BATCH_BYTES_MAX <= DB_QUEUE_BYTES_MAX, "a batch fits in the queue");
_Static_assert(SNAPSHOT_BYTES_MAX < ARENA_BYTES_MAX, "a snapshot fits in the arena");
_Static_assert(ARENA_BYTES_MAX / 4096 < (1ull << 32), "places in the arena are 32 bits");

/* --- what a guest may ask for in one event (docs/abi.md) --- */
#define ABI_METHOD_MAX       32u
#define ABI_TARGET_MAX       8192u
#define ABI_HEADERS_MAX      16384u
#define ABI_HEADER_LINES_MAX 64u
#define ABI_BODY_MAX         (4u * MIB)
#define ABI_BODIES_MAX       (16u * MIB) /* that the host holds of one guest's calls */
#define ABI_NAME_MAX         256u
#define ABI_VALUE_MAX        4096u
#define ABI_WAIT_MAX         1024u
#define ABI_HANDLES_MAX      1024u
#define ABI_LOG_MAX          1024u
#define ABI_HEAD_MAX         65536u
#define ABI_REQUEUE_MS_MAX   31536000000ull
#define EVENT_ERROR_MAX      256u
#define REFUSAL_MAX          256u /* of why the host refused something, as describe shows it */
#define GUEST_LOG_RATE       100u /* lines a second of one guest */
#define GUEST_LOG_BURST      1000u
#define METRICS_GUESTS_MAX   20u        /* by name in /metrics; the others together */
#define CENSUS_SLICE         256u       /* guests looked at in one turn of the loop */
#define JOURNAL_BYTES_MAX    (4u * MIB) /* of all guests' lines that are kept ... */
#define JOURNAL_GUEST_BYTES                                                                        \
    (256u * KIB)                  /* ... and of one guest's: its burst, if lines are short         \
                                   */
#define JOURNAL_EVENTS_MAX  1024u /* that are routine, and as many others */
#define JOURNAL_SIMILAR_MAX 8u    /* of one guest and reason; the newest counts for more */
#define JOURNAL_TEXT_MAX    400u  /* of an event */
#define JOURNAL_READ_MAX    256u  /* lines looked at while workers may not log */
#define JOURNAL_NEWS_NS     (100ull * 1000 * 1000)  /* events are shown together for so long */
#define JOURNAL_DROPPED_NS  (1000ull * 1000 * 1000) /* how often lines not allowed are told of */

/* --- guests and their threads --- */
#define WORKERS_MAX         64u
#define IO_THREADS_MAX      8u
#define IO_THREAD_NICE      5
#define IO_IDLE_NS          (500ull * 1000 * 1000) /* without a job: memory goes back */
#define GUESTS_MAX          1000000u
#define GUESTS_TIMERS_SPARE 64u /* of the main loop, beside one for each guest */
#define RECORD_RETRY_NS     (1000ull * 1000 * 1000)  /* a record that could not be queued */
#define ORPHAN_KEEP_MS      (7ll * 24 * 3600 * 1000) /* the record of a guest that is missing */
#define RECORD_EXCEPTIONS_MAX                                                                      \
    256u /* keys kept one by one in a record; beyond, the number goes back */
#define CRASH_BACKOFF_MIN_NS (10ull * 1000 * 1000)        /* a guest that traps: 10 ms ... */
#define CRASH_BACKOFF_MAX_NS (60ull * 1000 * 1000 * 1000) /* ... doubling to a minute */
#define BEHIND_RETRY_NS      (100ull * 1000 * 1000)  /* what there was no room for: looked up */
#define SAVE_RETRY_MIN_NS    (1000ull * 1000 * 1000) /* a save that failed: 1 s ... */
#define SAVE_RETRY_MAX_NS    (60ull * 1000 * 1000 * 1000)
#define WAKE_STAY_NS         (10ull * 1000 * 1000 * 1000) /* awake on demand, without an event */
#define TRIES_MAX            2u /* new modules that are being started at once */
/* Mappings of an awake guest: memory, its guard, stack; two for each run mapped. */
#define AWAKE_MAPS           7u
#define AWAKE_PAGES          16u         /* of an awake guest besides its memory: stack, tables */
#define BUDGET_MAPS_KEPT     4096u       /* of vm.max_map_count: the daemon's own */
#define BUDGET_MEMORY_KEPT   (32u * MIB) /* of a memory limit: the daemon's own */
#define BUDGET_GUEST_BYTES   3072u       /* and for each guest, asleep or not */
#define BUDGET_COMING_MAX    256u        /* events on their way to workers; the same */
#define BUDGET_AGAIN_NS      (5ull * 1000 * 1000) /* who waits is looked at */
#define BUDGET_SAVING_MAX    128u  /* guests being saved; from here on nobody wakes */
#define HEAVY_PAGES_MIN      64u   /* a guest that writes less is never prepared for writing */
#define HEAVY_HISTORY        0xffu /* so many in a row: whether it still writes most is looked at */
#define READ_INLINE_PAGES    512u  /* less than a tick of work: cheaper than another thread */
#define WORKER_LATE_NS       (3ull * 1000 * 1000) /* computing; then behind the others ... */
#define WORKER_LATE_SHARE    8u /* ... until it is but a part of the time, one in so many, ... */
#define WORKER_DEBT_MAX_NS   (100ull * 1000 * 1000) /* ... or for at most so much of it */
#define WORKER_LATE_TURNS    16u    /* of the others, until one of those has a turn */
#define SAVE_HERE_PAGES      32u    /* a worker saves by itself what is no larger, ... */
#define SAVE_IDLE_PAGES      320u   /* ... or than this where nobody waits for it, ... */
#define SAVE_HERE_MEMORY     1024u  /* ... of guests up to this, in pages, ... */
#define SAVE_IDLE_MEMORY     25600u /* ... or this (to unmap it takes a millisecond), ... */
#define INSTANCE_PIECE_BYTES MIB    /* of memory that is given back at once */
#define SAVE_HERE_SLOW_NS                                                                          \
    (10ull * 1000 * 1000)                       /* ... unless one took so long, then not for ...   \
                                                 */
#define SAVE_HERE_BUSY_NS       (200ull * 1000) /* while others wait: unless one took so long, ... */
#define SAVE_HERE_REST_NS       (10ull * 1000 * 1000) /* ... then not for this */
#define SAVE_HERE_PAUSE_NS      (1000ull * 1000 * 1000)
#define SAVE_HERE_LOOP_PAUSE_NS (60ull * 1000 * 1000 * 1000) /* of the worker on the loop */
#define OFF_LOOP_NS             (10ull * 1000 * 1000 * 1000) /* for a guest that held the loop up */
#define TICK_REST_NS            (4ull * 1000 * 1000)         /* between ticks while none computes */
#define TICK_LINGER             16u                          /* of those, after the last event */
#define TICKER_STACK_BYTES      (64u * KIB)
#define GUEST_QUICK_US          400u       /* a guest that took less may run on the loop */
#define INSTANCE_LEFT_MAX       16u        /* runs of pages, one by one, of the guest before */
#define SPARES_MAX              12u        /* instances that guests have left ... */
#define SPARES_KEPT_BYTES       (32 * MIB) /* ... and what of them keeps its pages, ... */
#define SPARES_LIGHT_PAGES      64u /* ... and who has more left only for heavy guests, ... */
#define SPARE_NS                (1000ull * 1000 * 1000) /* ... as long as somebody wants them */
#define INSTANCE_USES_MAX       10000u /* guests, one after the other, in an instance */
#define WORKER_ON_LOOP_MAX      16u    /* guests that wait for answers there */
#define QUIET_NS                (10ull * 1000 * 1000) /* what is due later can wait for a tick */
#define TICK_NS                 (1000ull * 1000)      /* a guest that computes yields */
#define CHANNEL_READ_BYTES      (32u * KIB)           /* one read; shared by all connections */
#define CHANNEL_TLS_BYTES       (16u * KIB)           /* a TLS record's largest content */
#define CHANNEL_ADDRESSES_MAX   8u                    /* of a name; the first ones */
#define CHANNEL_OUT_MAX         (256u * KIB)
#define CHANNEL_KEEP_BYTES      (4u * KIB) /* a larger output buffer is freed when it is empty */
#define H2_WRITE_BYTES          (16u * KIB)
#define H2_BACKLOG_MAX          (64u * KIB) /* unsent bytes past which no frame is made */
#define H2_STREAM_WINDOW        (256u * KIB)
#define H2_CONNECTION_WINDOW    (8u * MIB)
#define H2_HEADERS_MAX          128u
#define H2_HEAD_MAX             (64u * KIB)
#define H2_HEAD_KEEP_BYTES      (4u * KIB)
#define H2_STREAMS_MAX          1000u       /* of a connection, where the server allows more */
#define H2_STREAM_ID_MAX        (1u << 30u) /* then the connection is replaced */
_Static_assert(H2_BACKLOG_MAX + 2 * H2_WRITE_BYTES <= CHANNEL_OUT_MAX,
               "what one flush adds to a full backlog must fit");

/* --- kube: the way to the API server --- */
#define KUBECONFIG_BYTES_MAX    (1u * MIB)  /* and each file that it names */
#define KUBE_STREAMS_MAX        16384u      /* under way and waiting, both lanes */
#define KUBE_CONNECTIONS_MAX    64u         /* of a lane; API servers allow 100 streams on each */
#define KUBE_BODY_MAX           (4u * MIB)  /* of a request, not sent yet */
#define KUBE_REQUEST_BYTES_MAX  (64u * KIB) /* head of a request */
#define KUBE_RESENDS_MAX        8u
#define KUBE_CONNECT_TIMEOUT_MS 10000u
#define KUBE_START_AGAIN_MS     10u /* a request that there was no memory for */
#define KUBE_HEAD_TIMEOUT_MS    60000u
#define KUBE_PING_AFTER_MS      25000u
#define KUBE_PING_TIMEOUT_MS    15000u
#define KUBE_BACKOFF_MIN_MS     800u
#define KUBE_BACKOFF_MAX_MS     30000u
#define KUBE_HEALTHY_MS         120000u /* a connection that lived so long resets the back-off */
#define KUBE_CODES_MAX          24u     /* statuses of answers that are counted one by one */
#define KUBE_IDLE_MS            60000u  /* a lane's further connections close after so long */
#define KUBE_STREAM_WINDOW      H2_STREAM_WINDOW
_Static_assert(KUBE_PING_AFTER_MS + KUBE_PING_TIMEOUT_MS < 45000,
               "a dead peer is noticed within 45 s");

/* --- WASI (engine/wasi): what one call of a guest may ask for --- */
#define WASI_LINE_MAX          ABI_LOG_MAX /* of stdout and stderr; longer ones come in pieces */
#define WASI_WRITE_BYTES_MAX   (64u * KIB) /* taken by one fd_write */
#define WASI_WRITE_LINES_MAX   64u        /* likewise: what one host call may cost its neighbours */
#define WASI_RANDOM_BYTES_MAX  (1u * MIB) /* more is EINVAL */
#define WASI_IOVS_MAX          1024u      /* more is EINVAL */
#define WASI_SUBSCRIPTIONS_MAX 1024u      /* more is EINVAL */
_Static_assert(ABI_LOG_MAX * 6 + 1024 < 4 * LOG_LINE_MAX, "a guest's line fits, all of it escaped");

/* --- a guest's mailbox: client-go's default rate limiters --- */
#define MAILBOX_KEYS_MAX       1000000u
#define MAILBOX_KEY_BYTES_MAX  512u             /* "namespace/name" takes 317 */
#define MAILBOX_BACKOFF_MIN_NS 5000000ull       /* a key's first failure: 5 ms, doubling ... */
#define MAILBOX_BACKOFF_MAX_NS 1000000000000ull /* ... to 1000 s */
#define MAILBOX_RETRY_BURST    100ull       /* failures of all keys without a delay of their own */
#define MAILBOX_RETRY_TOKEN_NS 100000000ull /* then 10 a second */
_Static_assert(KUBE_NAMESPACE_MAX + 1 + KUBE_NAME_MAX <= MAILBOX_KEY_BYTES_MAX,
               "a mailbox takes the name of any object");

/* --- trigger: watch --- */
#define WATCH_BATCH_MAX    500u  /* changes in one batch for the database */
#define WATCH_FORGET_EVERY 1000u /* changes, until tombstones are looked through */
#define WATCH_REVIEWS_MAX  64u   /* access reviews under way at once */
#define WATCH_ANSWERS_MAX  1024u /* of reviews, remembered while others wait for theirs */
#define WATCH_RETRY_MIN_MS 500u  /* kinds that do not exist yet, rights not given yet */
#define WATCH_RETRY_MAX_MS 30000u

/* --- the daemon --- */
#define OPTION_SOCKET_MAX         107u /* a Unix socket's path */
#define OPTION_GROUP_MAX          64u
#define OPTION_LISTEN_MAX         64u          /* [IPv6]:PORT */
#define ADMIN_PEM_BYTES_MAX       (256u * KIB) /* of a certificate with its chain, or a key */
#define ADMIN_LOG_LEVEL_BYTES_MAX 256u
#define ADMIN_TOKEN_MIN           16u
#define ADMIN_TOKEN_MAX           512u
#define OPTIONS_FILE_BYTES_MAX    (256u * KIB)            /* of a configuration file */
#define TRIM_EVERY_NS             (1000ull * 1000 * 1000) /* freed memory goes back to the system */
#define TRIM_RESTS                3u /* steps in which all of it does, after the last sleep */
#define MODULE_KEEP_MS            (10ull * 60 * 1000) /* a module that was sent, without a guest */
#define MODULE_SWEEP_NS           (600ull * 1000 * 1000 * 1000)
#define APPLY_BYTES_MAX           (32u * MIB)  /* of one request */
#define APPLY_DOCUMENT_MAX        (256u * KIB) /* of one manifest in it */
#define APPLY_ERRORS_MAX          1000u        /* told of one request */
#define APPLY_FILES_MAX           10000u
#define APPLY_AT_ONCE             4u /* guests that are made in one turn of the loop */
#define APPLIES_MAX               4u /* under way at once */
#define GUESTS_DIR_SETTLE_MS      200u
#define GUESTS_DIR_ERRORS_MAX     10000u
#define LIST_AT_ONCE              16u         /* guests that are written in one turn of the loop */
#define LIST_BYTES_MAX            (48u * MIB) /* then it goes on with the next page */
#define GUESTS_TELL_NS            (100ull * 1000 * 1000) /* a guest that changes all the time */
#define GUEST_LINE_BYTES_MAX      (64u * KIB)            /* of one guest in a stream */
#define LISTS_MAX                 8u                     /* under way at once */
#define LIST_LIMIT_MAX            1000000u
#define SELECTOR_BYTES_MAX        1024u
#define SELECTOR_TERMS_MAX        32u
_Static_assert(LIST_BYTES_MAX + GUEST_LINE_BYTES_MAX < HTTP1_BODY_BYTES_MAX, "a page is an answer");
_Static_assert(MODULE_BYTES_MAX <= HTTP1_BODIES_BYTES_MAX, "a module can be sent");

#endif
