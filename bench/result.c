#include "result.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

struct result {
    json_t *values, *settings;
    const char *benchmark;
};

struct result *result_new(const char *benchmark)
{
    struct result *r = calloc(1, sizeof(*r));

    if (!r)
        abort();
    r->values = json_object();
    r->settings = json_object();
    r->benchmark = benchmark;
    return r;
}

void result_put(struct result *r, double value, const char *key, ...)
{
    char name[256];
    va_list ap;

    va_start(ap, key);
    vsnprintf(name, sizeof(name), key, ap);
    va_end(ap);
    json_object_set_new(r->values, name, json_real(value));
}

void result_setting(struct result *r, const char *name, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    json_object_set_new(r->settings, name, json_string(text));
}

static void first_line(char *out, size_t cap, const char *command)
{
    FILE *p = popen(command, "r");

    out[0] = 0;
    if (p && fgets(out, (int)cap, p))
        out[strcspn(out, "\n")] = 0;
    if (p)
        pclose(p);
}

static json_t *meta(struct result *r)
{
    char date[32], commit[64], cpu[256];
    struct utsname u;
    time_t now = time(NULL);
    struct tm tm;

    uname(&u);
    gmtime_r(&now, &tm);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);
    first_line(commit, sizeof(commit), "git describe --always --dirty 2>/dev/null");
    first_line(cpu, sizeof(cpu), "sed -n 's/^model name.*: //p' /proc/cpuinfo");
    return json_pack("{s:s, s:s, s:s, s:{s:s, s:i, s:s, s:f}, s:O}", "benchmark", r->benchmark,
                     "date", date, "commit", commit, "machine", "cpu", cpu, "cores",
                     (int)sysconf(_SC_NPROCESSORS_ONLN), "kernel", u.release, "memory_gib",
                     (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (1 << 30),
                     "settings", r->settings);
}

int result_finish(struct result *r, const char *file)
{
    const char *key;
    json_t *value;
    int rc = 0;

    json_object_foreach(r->values, key, value)
        printf("%-44s %12.3f\n", key, json_real_value(value));
    json_object_set_new(r->values, "_meta", meta(r));
    if (file && json_dump_file(r->values, file, JSON_INDENT(2) | JSON_REAL_PRECISION(7)) < 0) {
        fprintf(stderr, "%s: cannot be written\n", file);
        rc = -1;
    }
    json_decref(r->values);
    json_decref(r->settings);
    free(r);
    return rc;
}

void samples_add(struct samples *s, double v)
{
    if (s->n == s->room) {
        s->room = s->room ? s->room * 2 : 256;
        s->v = realloc(s->v, s->room * sizeof(*s->v));
        if (!s->v)
            abort();
    }
    s->v[s->n++] = v;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double samples_quantile(struct samples *s, double q)
{
    size_t at = (size_t)(q * (double)s->n);

    if (s->n == 0)
        return 0;
    qsort(s->v, s->n, sizeof(*s->v), by_value);
    return s->v[at < s->n ? at : s->n - 1];
}

void samples_free(struct samples *s)
{
    free(s->v);
    *s = (struct samples){0};
}
