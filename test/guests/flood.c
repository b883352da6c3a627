/* Floods its log: LINES lines (100,000) by log, and as many bytes to stdout without a line end. */
#include "bad.h"

#include <stdlib.h>
#include <unistd.h>

ROOST_HANDLE
{
    const char *text = getenv("LINES");
    unsigned long lines = text ? strtoul(text, NULL, 10) : 100000;

    if (spared())
        return 0;
    for (unsigned long i = 0; i < lines; i++) {
        if (roost_abi_log(ROOST_INFO, "flood", 5) != 0)
            return 1;
        if (write(1, "x", 1) != 1)
            return 2;
    }
    return 0;
}
