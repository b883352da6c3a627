/* SANITIZED_ADDRESS, SANITIZED_THREAD and SANITIZED (either): whether this is compiled for a
 * sanitizer, whose shadow memory is past any limit, and under which all takes longer. 0 or 1.
 */
#ifndef ROOST_BASE_SANITIZED_H
#define ROOST_BASE_SANITIZED_H

#if defined(__has_feature) /* clang's */
#define SANITIZED_HAS(feature) __has_feature(feature)
#else
#define SANITIZED_HAS(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || SANITIZED_HAS(address_sanitizer)
#define SANITIZED_ADDRESS 1
#else
#define SANITIZED_ADDRESS 0
#endif

#if defined(__SANITIZE_THREAD__) || SANITIZED_HAS(thread_sanitizer)
#define SANITIZED_THREAD 1
#else
#define SANITIZED_THREAD 0
#endif

#define SANITIZED (SANITIZED_ADDRESS || SANITIZED_THREAD)

#endif
