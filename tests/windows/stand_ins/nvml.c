/* nvml.dll of the tests: the functions that the product asks (through pynvml), answered with the simulated cards' present
   figures. Return values: nvml.h, nvmlReturn_t. */
#include "card.h"

enum { OK = 0, INVALID_ARGUMENT = 2, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, UNKNOWN = 999 };
enum { IDENTITY, NAME, TOTAL, FREE, USED, RESERVED, MAJOR, MINOR, BUSY, CELSIUS, MILLIWATT, MHZ, BITS };
enum { MEMORY_CLOCK = 2 };

#define API __declspec(dllexport)
typedef unsigned long long u64;
typedef struct { u64 total, free, used; } Memory;
typedef struct { unsigned version; u64 total, reserved, free, used; } Memory2;
typedef struct { unsigned gpu, memory; } Utilization;

enum Moment { STARTING, COUNTING, LOOKING };

static int ask(char *text, enum Moment moment)
{
    char mode[16] = "";
    if (!card_ask(text, moment != LOOKING) || !card_word(text, "nvml", 0, 0, mode, sizeof mode))
        return DRIVER_NOT_LOADED;
    if (!strcmp(mode, "missing"))
        return DRIVER_NOT_LOADED;
    if (!strcmp(mode, "failed"))
        return UNKNOWN;
    if (!strcmp(mode, "hang") && moment == COUNTING)
        Sleep(INFINITE);
    return !strcmp(mode, "lost") && moment != STARTING ? GPU_IS_LOST : OK;
}

/* A device is its index and one: never a null pointer. */
static int number(void *device, int word, u64 *value)
{
    char text[CARD_ROOM];
    int told = ask(text, LOOKING);
    *value = card_number(text, "card", (int)(size_t)device - 1, word);
    return told;
}

static int small(void *device, int word, unsigned *value)
{
    u64 large;
    int told = number(device, word, &large);
    *value = (unsigned)large;
    return told;
}

static int string(const char *line, int nth, int word, char *value, unsigned room)
{
    char text[CARD_ROOM];
    int told = ask(text, LOOKING);
    if (told != OK)
        return told;
    return card_word(text, line, nth, word, value, room) ? OK : INVALID_ARGUMENT;
}

API int nvmlInitWithFlags(unsigned flags)
{
    char text[CARD_ROOM];
    (void)flags;
    return ask(text, STARTING);
}

API int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
API int nvmlShutdown(void) { return OK; }

API const char *nvmlErrorString(int code)
{
    switch (code) {
    case OK: return "The operation was successful";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case GPU_IS_LOST: return "GPU is lost";
    default: return "Unknown Error";
    }
}

API int nvmlSystemGetDriverVersion(char *version, unsigned room) { return string("driver", 0, 0, version, room); }

API int nvmlDeviceGetCount_v2(unsigned *count)
{
    char text[CARD_ROOM], word[128];
    int told = ask(text, COUNTING);
    for (*count = 0; card_word(text, "card", (int)*count, IDENTITY, word, sizeof word); ++*count)
        ;
    return told;
}

API int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    char word[128];
    *device = (void *)(size_t)(index + 1);
    return string("card", (int)index, IDENTITY, word, sizeof word);
}

API int nvmlDeviceGetUUID(void *device, char *uuid, unsigned room)
{
    return string("card", (int)(size_t)device - 1, IDENTITY, uuid, room);
}

API int nvmlDeviceGetName(void *device, char *name, unsigned room)
{
    return string("card", (int)(size_t)device - 1, NAME, name, room);
}

API int nvmlDeviceGetMemoryInfo_v2(void *device, Memory2 *memory)
{
    number(device, TOTAL, &memory->total);
    number(device, RESERVED, &memory->reserved);
    number(device, USED, &memory->used);
    return number(device, FREE, &memory->free);
}

/* The first version counts the driver's reserve as used. */
API int nvmlDeviceGetMemoryInfo(void *device, Memory *memory)
{
    Memory2 second;
    int told = nvmlDeviceGetMemoryInfo_v2(device, &second);
    *memory = (Memory){second.total, second.free, second.total - second.free};
    return told;
}

API int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor)
{
    small(device, MAJOR, (unsigned *)major);
    return small(device, MINOR, (unsigned *)minor);
}

API int nvmlDeviceGetUtilizationRates(void *device, Utilization *busy)
{
    busy->memory = 0;
    return small(device, BUSY, &busy->gpu);
}

API int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius)
{
    return sensor ? INVALID_ARGUMENT : small(device, CELSIUS, celsius);
}

API int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatt) { return small(device, MILLIWATT, milliwatt); }

API int nvmlDeviceGetMaxClockInfo(void *device, int clock, unsigned *mhz)
{
    return clock == MEMORY_CLOCK ? small(device, MHZ, mhz) : INVALID_ARGUMENT;
}

API int nvmlDeviceGetMemoryBusWidth(void *device, unsigned *bits) { return small(device, BITS, bits); }
