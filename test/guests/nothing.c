/* Does nothing, and imports nothing. */
#include <roost.h>

ROOST_HANDLE
{
    return 0;
}
