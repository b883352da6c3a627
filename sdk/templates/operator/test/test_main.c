/* @NAME@, compiled natively, against a host of a few lines: what it decides, and what it then asks
 * for. Exits with the number of checks that failed. */
#include <roost_fake.h>

#include "../src/main.c"

static int failed;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                         \
            failed++;                                                                              \
        }                                                                                          \
    } while (0)

/* Handles an event about the object ("": it is gone); the host answers a call with the status. */
static int handle(const char *object, int status)
{
    fake_reset();
    fake_attr(0, "namespace", "@NAMESPACE@");
    fake_attr(1, "name", "one");
    fake.event_body = object;
    fake.answers[0].status = status;
    return roost_handle();
}

static void test_an_object_is_greeted(void)
{
    CHECK(handle("@OBJECT_NEW@", 200) == 0);
    CHECK(fake.ncalls == 1);
    CHECK(strcmp(fake.calls[0].method, "PATCH") == 0);
    CHECK(strcmp(fake.calls[0].target, "@TARGET@/one@SUBRESOURCE@") == 0);
    CHECK(strcmp(fake.calls[0].body, "{\"@OUTPUT_MEMBER@\":{\"greeting\":\"Hello, world!\"}}") ==
          0);
}

static void test_what_is_right_is_left_alone(void)
{
    CHECK(handle("@OBJECT_DONE@", 200) == 0);
    CHECK(fake.ncalls == 0);
    CHECK(handle("{}", 200) == 0);
    CHECK(fake.ncalls == 0);
    CHECK(handle("", 200) == 0);
    CHECK(fake.ncalls == 0);
}

static void test_failures_come_again(void)
{
    CHECK(handle("@OBJECT_NEW@", 404) == 0); /* gone meanwhile: nothing to do */
    CHECK(handle("@OBJECT_NEW@", 409) != 0);
    CHECK(handle("@OBJECT_NEW@", 503) != 0);
    CHECK(handle("{\"@INPUT_MEMBER@\":{\"name\":7}}", 200) != 0);
    CHECK(fake.ncalls == 0);
}

int main(void)
{
    test_an_object_is_greeted();
    test_what_is_right_is_left_alone();
    test_failures_come_again();
    printf("test_main: %s\n", failed ? "failed" : "all is well");
    return failed != 0;
}
