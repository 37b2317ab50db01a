/* pdh.dll of the tests: the three GPU counters of the simulated cards. Everything else that pywin32 and psutil import
   from pdh.dll is there, since they do not load without it, and says that it is not implemented. */
#include "card.h"
#include <pdhmsg.h>

#define API __declspec(dllexport)
#define ABSENT(name) API LONG __stdcall name(void) { return PDH_NOT_IMPLEMENTED; }

typedef struct { DWORD status; union { double real; LONGLONG large; } value; } Value;
typedef struct { wchar_t *name; Value value; } Item;
typedef struct { char text[CARD_ROOM]; } Query;
typedef struct { Query *query; int which; } Counter;

static const wchar_t *PATHS[] = {
    L"\\GPU Adapter Memory(*)\\Shared Usage",
    L"\\GPU Process Memory(*)\\Dedicated Usage",
    L"\\GPU Process Memory(*)\\Shared Usage",
};

static int present(char *text)
{
    char mode[16];
    return card_ask(text, 1) && card_word(text, "counters", 0, 0, mode, sizeof mode) && !strcmp(mode, "normal");
}

API LONG __stdcall PdhOpenQueryW(const wchar_t *source, DWORD_PTR data, Query **query)
{
    (void)source, (void)data;
    *query = calloc(1, sizeof(Query));
    return ERROR_SUCCESS;
}

API LONG __stdcall PdhCloseQuery(Query *query)
{
    free(query);
    return ERROR_SUCCESS;
}

API LONG __stdcall PdhAddEnglishCounterW(Query *query, const wchar_t *path, DWORD_PTR data, Counter **counter)
{
    (void)data;
    if (!present(query->text))
        return PDH_CSTATUS_NO_OBJECT;
    for (int which = 0; which < 3; which++)
        if (!wcscmp(path, PATHS[which])) {
            *counter = malloc(sizeof(Counter));
            **counter = (Counter){query, which};
            return ERROR_SUCCESS;
        }
    return PDH_CSTATUS_NO_OBJECT;
}

API LONG __stdcall PdhCollectQueryData(Query *query) { return present(query->text) ? ERROR_SUCCESS : PDH_NO_DATA; }

/* Items first, their names behind them, as PDH lays them out. */
API LONG __stdcall PdhGetFormattedCounterArrayW(Counter *counter, DWORD format, DWORD *size, DWORD *count, Item *items)
{
    const char *text = counter->query->text;
    char word[128];
    DWORD found = 0, need = 0;
    (void)format;
    for (int nth = 0; card_word(text, "item", nth, 0, word, sizeof word); nth++)
        if (atoi(word) == counter->which && card_word(text, "item", nth, 1, word, sizeof word)) {
            found++;
            need += sizeof(Item) + (DWORD)(strlen(word) + 1) * sizeof(wchar_t);
        }
    *count = found;
    if (!items || *size < need) {
        *size = need;
        return PDH_MORE_DATA;
    }
    wchar_t *name = (wchar_t *)(items + found);
    for (int nth = 0; card_word(text, "item", nth, 0, word, sizeof word); nth++)
        if (atoi(word) == counter->which && card_word(text, "item", nth, 1, word, sizeof word)) {
            items->name = name;
            items->value.status = PDH_CSTATUS_VALID_DATA;
            items->value.value.large = (LONGLONG)card_number(text, "item", nth, 2);
            name += MultiByteToWideChar(CP_UTF8, 0, word, -1, name, 128);
            items++;
        }
    return ERROR_SUCCESS;
}

ABSENT(PdhAddCounterW)
ABSENT(PdhBrowseCountersW)
ABSENT(PdhCollectQueryDataEx)
ABSENT(PdhConnectMachineW)
ABSENT(PdhEnumObjectItemsW)
ABSENT(PdhEnumObjectsW)
ABSENT(PdhExpandCounterPathW)
ABSENT(PdhGetCounterInfoW)
ABSENT(PdhGetFormattedCounterValue)
ABSENT(PdhLookupPerfIndexByNameW)
ABSENT(PdhLookupPerfNameByIndexW)
ABSENT(PdhMakeCounterPathW)
ABSENT(PdhParseCounterPathW)
ABSENT(PdhParseInstanceNameW)
ABSENT(PdhRemoveCounter)
ABSENT(PdhSetCounterScaleFactor)
ABSENT(PdhValidatePathW)
