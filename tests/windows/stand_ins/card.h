/* What Windows knows of the simulated cards now, asked of the relay: lines of words that tabs part.

   nvml MODE | counters MODE | driver VERSION | card UUID NAME TOTAL FREE USED RESERVED MAJOR MINOR BUSY CELSIUS MILLIWATT MHZ BITS
   | item COUNTER INSTANCE BYTES */
#ifndef KOTARO_CARD_H
#define KOTARO_CARD_H
#include <stdlib.h>
#include <string.h>
#include "relay.h"

enum { CARD_ROOM = 1 << 16, CARD_FRESH_MS = 50 };

/* The lines as they are now; 0 where nobody tells. One answer serves the calls of one look, which begins with `fresh`. */
static int card_ask(char *text, int fresh)
{
    static char kept[CARD_ROOM];
    static ULONGLONG asked_at;
    static SRWLOCK lock = SRWLOCK_INIT;
    DWORD size = 0;
    int told = 1;
    AcquireSRWLockExclusive(&lock);
    if (fresh || !asked_at || GetTickCount64() - asked_at > CARD_FRESH_MS) {
        SOCKET link = relay_connect();
        told = link != INVALID_SOCKET && relay_send(link, 'N', "", 0) && relay_frame(link, kept, CARD_ROOM - 1, &size);
        closesocket(link);
        kept[size] = 0;
        asked_at = told ? GetTickCount64() : 0;
    }
    strcpy(text, kept);
    ReleaseSRWLockExclusive(&lock);
    return told;
}

/* Word `word` of the `nth` line that begins with `name` (its words counted from 0) into `value`; 0 if there is none. */
static int card_word(const char *text, const char *name, int nth, int word, char *value, size_t room)
{
    size_t length = strlen(name);
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, name, length) || line[length] != '\t' || nth--)
            continue;
        const char *at = line + length + 1;
        for (; word && *at && *at != '\n'; word--) {
            at += strcspn(at, "\t\n");
            at += *at == '\t';
        }
        size_t size = strcspn(at, "\t\n");
        if (word || size >= room)
            return 0;
        memcpy(value, at, size);
        value[size] = 0;
        return 1;
    }
    return 0;
}

static unsigned long long card_number(const char *text, const char *name, int nth, int word)
{
    char value[32];
    return card_word(text, name, nth, word, value, sizeof value) ? strtoull(value, NULL, 10) : 0;
}
#endif
