/* The usual packet from a socket's bytes to a frame in its route, in one call: unmask, compare with a
 * proven layout, read the stamp, decode, place, append. HOT.
 *
 * Python is the truth: whatever is not the usual case is left where it is, untouched, for
 * `MediaSocket.feed`. What is decided here must be what `PacketReader.read`, `Place.place` and
 * `Session.receive` decide; `tests/gateway/test_kernel.py` compares them. The three states are the
 * bases of `Axis`, `Place` and `Stream`, so that both sides work on the same numbers. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>

#if PY_BIG_ENDIAN
#error "frames are little-endian; without this module everything works"
#endif

enum { LANE_HEAD = 8, FRAME_HEAD = 40, WINDOW = 100, STAMP_SECOND = 19 };
enum { KIND_AUDIO = 2, FLAG_SILENT = 1 };
static const int64_t US = 1000000, NEAR_US = 40000;

/* The states */

typedef struct {
    PyObject_HEAD
    long long zero_us, baseline_us, grain_us, base_us, head_us;
    char settled;
} Axis;

typedef struct {
    PyObject_HEAD
    PyObject *axis, *window, *first_position;
    long long rate, position, seq, packet_samples, base_us, owed, median_us, count, window_end;
    char is_late, is_clock_jump;
} Place;

typedef struct {
    PyObject_HEAD
    PyObject *place, *held;
    long long index, silent;
} Stream;

static PyMemberDef axis_members[] = {
    {"zero_us", T_LONGLONG, offsetof(Axis, zero_us), 0, NULL},
    {"baseline_us", T_LONGLONG, offsetof(Axis, baseline_us), 0, NULL},
    {"grain_us", T_LONGLONG, offsetof(Axis, grain_us), 0, NULL},
    {"base_us", T_LONGLONG, offsetof(Axis, base_us), 0, NULL},
    {"head_us", T_LONGLONG, offsetof(Axis, head_us), 0, NULL},
    {"settled", T_BOOL, offsetof(Axis, settled), 0, NULL},
    {NULL}};

static PyMemberDef place_members[] = {
    {"_axis", T_OBJECT_EX, offsetof(Place, axis), 0, NULL},
    {"_window", T_OBJECT_EX, offsetof(Place, window), 0, NULL},
    {"first_position", T_OBJECT, offsetof(Place, first_position), 0, NULL},
    {"rate", T_LONGLONG, offsetof(Place, rate), 0, NULL},
    {"position", T_LONGLONG, offsetof(Place, position), 0, NULL},
    {"seq", T_LONGLONG, offsetof(Place, seq), 0, NULL},
    {"packet_samples", T_LONGLONG, offsetof(Place, packet_samples), 0, NULL},
    {"base_us", T_LONGLONG, offsetof(Place, base_us), 0, NULL},
    {"owed", T_LONGLONG, offsetof(Place, owed), 0, NULL},
    {"_median_us", T_LONGLONG, offsetof(Place, median_us), 0, NULL},
    {"_count", T_LONGLONG, offsetof(Place, count), 0, NULL},
    {"_window_end", T_LONGLONG, offsetof(Place, window_end), 0, NULL},
    {"is_late", T_BOOL, offsetof(Place, is_late), 0, NULL},
    {"is_clock_jump", T_BOOL, offsetof(Place, is_clock_jump), 0, NULL},
    {NULL}};

static PyMemberDef stream_members[] = {
    {"place", T_OBJECT_EX, offsetof(Stream, place), 0, NULL},
    {"held", T_OBJECT, offsetof(Stream, held), 0, NULL},
    {"index", T_LONGLONG, offsetof(Stream, index), 0, NULL},
    {"silent", T_LONGLONG, offsetof(Stream, silent), 0, NULL},
    {NULL}};

static int place_traverse(PyObject *self, visitproc visit, void *arg) {
    Place *place = (Place *)self;
    Py_VISIT(place->axis);
    Py_VISIT(place->window);
    Py_VISIT(place->first_position);
    return 0;
}

static int place_clear(PyObject *self) {
    Place *place = (Place *)self;
    Py_CLEAR(place->axis);
    Py_CLEAR(place->window);
    Py_CLEAR(place->first_position);
    return 0;
}

static int stream_traverse(PyObject *self, visitproc visit, void *arg) {
    Stream *stream = (Stream *)self;
    Py_VISIT(stream->place);
    Py_VISIT(stream->held);
    return 0;
}

static int stream_clear(PyObject *self) {
    Stream *stream = (Stream *)self;
    Py_CLEAR(stream->place);
    Py_CLEAR(stream->held);
    return 0;
}

static void place_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    place_clear(self);
    Py_TYPE(self)->tp_free(self);
}

static void stream_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    stream_clear(self);
    Py_TYPE(self)->tp_free(self);
}

#define STATE(NAME, STRUCT, MEMBERS, TEXT)                                                       \
    .tp_name = "gateway._kernel." NAME, .tp_basicsize = sizeof(STRUCT), .tp_members = MEMBERS,    \
    .tp_new = PyType_GenericNew, .tp_doc = TEXT

static PyTypeObject AxisType = {
    PyVarObject_HEAD_INIT(NULL, 0) STATE("AxisState", Axis, axis_members, "See `ledger.Axis`."),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE};

static PyTypeObject PlaceType = {
    PyVarObject_HEAD_INIT(NULL, 0) STATE("PlaceState", Place, place_members, "See `ledger.Place`."),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_traverse = place_traverse, .tp_clear = place_clear, .tp_dealloc = place_dealloc};

static PyTypeObject StreamType = {
    PyVarObject_HEAD_INIT(NULL, 0) STATE("StreamState", Stream, stream_members, "See `session`."),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_traverse = stream_traverse, .tp_clear = stream_clear, .tp_dealloc = stream_dealloc};

/* Masked bytes. `at` counts from the payload's begin, where the mask begins. */

typedef struct {
    const uint8_t *bytes;
    Py_ssize_t length;
    uint8_t mask[4];
} Payload;

static uint64_t mask_at(const Payload *payload, Py_ssize_t at) {
    uint8_t turned[8];
    for (int i = 0; i < 8; i++) turned[i] = payload->mask[(at + i) & 3];
    uint64_t found;
    memcpy(&found, turned, 8);
    return found;
}

/* Whether the text from `at` on is `wanted`; the caller has checked that it lies within. */
static int is_text(const Payload *payload, Py_ssize_t at, const char *wanted, Py_ssize_t length) {
    const uint8_t *bytes = payload->bytes + at;
    uint64_t mask = mask_at(payload, at), differs = 0, one, other;
    Py_ssize_t i = 0;
    for (; i + 8 <= length; i += 8) {
        memcpy(&one, bytes + i, 8);
        memcpy(&other, wanted + i, 8);
        differs |= one ^ other ^ mask;
    }
    for (; i < length; i++) differs |= bytes[i] ^ (uint8_t)wanted[i] ^ payload->mask[(at + i) & 3];
    return differs == 0;
}

/* Stamps */

static int number(const char *text, int digits) {
    int found = 0;
    for (int i = 0; i < digits; i++) {
        if (text[i] < '0' || text[i] > '9') return -1;
        found = 10 * found + text[i] - '0';
    }
    return found;
}

/* Days since 1970 of a date of the Gregorian calendar; years begin in March. */
static int64_t days(int64_t year, int month, int day) {
    if (month <= 2) {
        year--;
        month += 12;
    }
    return 365 * year + year / 4 - year / 100 + year / 400 + (153 * (month - 3) + 2) / 5 + day - 719469;
}

/* `2030-01-31T12:00:00` in us; 0 where it is anything else: the truth decides. */
static int64_t second_us(const char *text) {
    static const char lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' || text[16] != ':')
        return 0;
    int year = number(text, 4), month = number(text + 5, 2), day = number(text + 8, 2);
    int hour = number(text + 11, 2), minute = number(text + 14, 2), second = number(text + 17, 2);
    if (year < 1971 || month < 1 || month > 12 || day < 1 || day > lengths[month - 1]) return 0;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) return 0;
    return (((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * US;
}

/* The stamp between `begin` and `end`; 0 where it is not a plain one. */
static int64_t stamp_us(const Payload *payload, Py_ssize_t begin, Py_ssize_t end) {
    /* All packets of a process are within a few seconds of each other. */
    static char known[STAMP_SECOND];
    static int64_t known_us;
    char text[24];
    Py_ssize_t length = end - begin;
    if (length != 20 && length != 24) return 0;
    for (Py_ssize_t i = 0; i < length; i++)
        text[i] = (char)(payload->bytes[begin + i] ^ payload->mask[(begin + i) & 3]);
    if (text[length - 1] != 'Z') return 0;
    int thousandths = 0;
    if (length == 24) {
        thousandths = number(text + 20, 3);
        if (text[STAMP_SECOND] != '.' || thousandths < 0) return 0;
    }
    if (!known_us || memcmp(known, text, STAMP_SECOND)) {
        int64_t found = second_us(text);
        if (!found) return 0;
        memcpy(known, text, STAMP_SECOND);
        known_us = found;
    }
    return known_us + thousandths * 1000;
}

/* Base64, strict. Each table has a character's six bits where they belong in three bytes. */

static uint32_t places[4][256];
static const uint32_t NO_CHARACTER = 0x80000000u;

static void make_tables(void) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < 4; i++)
        for (int c = 0; c < 256; c++) places[i][c] = NO_CHARACTER;
    for (uint32_t value = 0; value < 64; value++) {
        int c = alphabet[value];
        places[0][c] = value << 2;
        places[1][c] = value >> 4 | (value & 15) << 12;
        places[2][c] = (value >> 2) << 8 | (value & 3) << 22;
        places[3][c] = value << 16;
    }
}

/* Decode `quads` × 4 characters from `at` on, none of them padding. */
static int decode(const Payload *payload, Py_ssize_t at, Py_ssize_t quads, uint8_t *target) {
    const uint8_t *bytes = payload->bytes + at;
    uint8_t turned[8];
    uint64_t mask = mask_at(payload, at);
    memcpy(turned, &mask, 8);
    const uint8_t a = turned[0], b = turned[1], c = turned[2], d = turned[3];
    uint32_t wrong = 0;
    for (; quads; quads--, bytes += 4, target += 3) {
        uint32_t three = places[0][bytes[0] ^ a] | places[1][bytes[1] ^ b] |
                         places[2][bytes[2] ^ c] | places[3][bytes[3] ^ d];
        wrong |= three;
        memcpy(target, &three, 3);
    }
    return !(wrong & NO_CHARACTER);
}

/* New bytes of the PCM between two places; NULL without an exception where it is not plain. */
static PyObject *pcm_of(const Payload *payload, Py_ssize_t begin, Py_ssize_t end) {
    Py_ssize_t characters = end - begin, padding = 0;
    if (characters < 4 || characters & 3) return NULL;
    while (padding < 2 && (payload->bytes[end - 1 - padding] ^ payload->mask[(end - 1 - padding) & 3]) == '=')
        padding++;
    Py_ssize_t size = characters / 4 * 3 - padding, whole = characters / 4 - (padding > 0);
    if (size & 1) return NULL;
    PyObject *pcm = PyBytes_FromStringAndSize(NULL, size);
    if (pcm == NULL) return NULL;
    uint8_t *target = (uint8_t *)PyBytes_AS_STRING(pcm);
    int is_sound = decode(payload, begin, whole, target);
    if (padding) {
        uint32_t last = 0;
        for (Py_ssize_t i = 0; i < 4 - padding; i++)
            last |= places[i][payload->bytes[end - 4 + i] ^ payload->mask[(end - 4 + i) & 3]];
        /* Bits beyond the last byte: what they may be is not for us to say. */
        is_sound = is_sound && last >> (8 * (3 - padding)) == 0;
        memcpy(target + 3 * whole, &last, 3 - padding);
    }
    if (is_sound) return pcm;
    Py_DECREF(pcm);
    return NULL;
}

/* Layouts: the tuples of `acs/reader.py`. */

typedef struct {
    Py_ssize_t stamp, stamp_end, data, data_end;
    PyObject *participant;
    int silent;
} Layout;

/* 1 where the payload is laid out so; 0 where it is not; -1 with an exception. */
static int is_laid_out(const Payload *payload, PyObject *tuple, Layout *found) {
    PyObject *const *items = &PyTuple_GET_ITEM(tuple, 0);
    found->stamp = PyLong_AsSsize_t(items[0]);
    found->stamp_end = PyLong_AsSsize_t(items[2]);
    found->data = PyLong_AsSsize_t(items[3]);
    found->data_end = PyLong_AsSsize_t(items[4]);
    if (PyErr_Occurred()) return -1;
    PyObject *head = items[5], *middle = items[6], *tail = items[7];
    if (!PyBytes_Check(head) || !PyBytes_Check(middle) || !PyBytes_Check(tail)) return 0;
    /* Whatever a layout says, nothing outside of the payload is read. */
    if (found->stamp < 0 || found->stamp_end < found->stamp || found->data_end < found->data ||
        PyBytes_GET_SIZE(head) != found->stamp ||
        PyBytes_GET_SIZE(middle) != found->data - found->stamp_end ||
        PyBytes_GET_SIZE(tail) != payload->length - found->data_end)
        return 0;
    found->participant = items[8];
    found->silent = items[9] == Py_True;
    return is_text(payload, found->stamp_end, PyBytes_AS_STRING(middle), PyBytes_GET_SIZE(middle)) &&
           is_text(payload, found->data_end, PyBytes_AS_STRING(tail), PyBytes_GET_SIZE(tail)) &&
           is_text(payload, 0, PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head));
}

/* 1, 0 or -1 as above, of all layouts of the payload's length. */
static int find_layout(const Payload *payload, PyObject *layouts, Layout *found) {
    PyObject *length = PyLong_FromSsize_t(payload->length);
    if (length == NULL) return -1;
    PyObject *alike = PyDict_GetItemWithError(layouts, length);
    Py_DECREF(length);
    if (alike == NULL) return PyErr_Occurred() ? -1 : 0;
    for (Py_ssize_t i = 0; PyList_Check(alike) && i < PyList_GET_SIZE(alike); i++) {
        PyObject *tuple = PyList_GET_ITEM(alike, i);
        if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) != 10) return 0;
        int is_found = is_laid_out(payload, tuple, found);
        if (is_found) return is_found;
    }
    return 0;
}

/* Places */

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

/* Whether a packet goes right behind its predecessor, as far as `Place.place` sees at once; then
 * its deviation is in `deviation_us`. Nothing is changed. */
static int is_contiguous(const Place *place, const Axis *axis, int64_t stamp, int64_t *deviation_us) {
    if (place->first_position == NULL || place->first_position == Py_None || place->rate <= 0)
        return 0;
    if (place->count < 0 || place->owed || axis->grain_us || !axis->settled || place->position >= place->window_end)
        return 0;
    if (place->position > INT64_MAX / US || place->position < INT64_MIN / US) return 0;
    int64_t at_us = floor_div(place->position * US, place->rate);
    *deviation_us = stamp - axis->zero_us - at_us - place->base_us - axis->baseline_us;
    int64_t off_us = *deviation_us - place->median_us;
    return -NEAR_US <= off_us && off_us <= NEAR_US;
}

/* What `Place.place` changes for such a packet. */
static void move_on(Place *place, Axis *axis, int64_t *window, int64_t deviation_us, Py_ssize_t samples) {
    window[place->count % WINDOW] = deviation_us;
    place->count++;
    place->is_late = place->is_clock_jump = 0;
    place->seq++;
    axis->head_us = floor_div(place->position * US, place->rate);
    place->position += samples;
    place->packet_samples = samples;
}

/* Frames */

typedef struct {
    uint8_t kind, flags;
    uint16_t stream;
    uint32_t length;
    uint64_t session;
    uint32_t seq, samples;
    int64_t stamp_us, position;
} Head;

_Static_assert(sizeof(Head) == FRAME_HEAD, "as FRAME of gateway/wire/frame.py");

static int append_both(PyObject *heads, PyObject *head, PyObject *payloads, PyObject *pcm) {
    if (PyList_Append(heads, head)) return -1;
    if (PyList_Append(payloads, pcm) == 0) return 0;
    Py_ssize_t last = PyList_GET_SIZE(heads) - 1;
    PyList_SetSlice(heads, last, last + 1, NULL);
    return -1;
}

typedef struct {
    PyObject *layouts, *streams, *heads, *payloads;
    uint64_t session;
    Py_ssize_t room;
} Route;

/* The stream of a packet, borrowed, if it is to be placed here; else NULL, perhaps with an exception. */
static Stream *usual_stream(const Route *route, const Layout *layout) {
    PyObject *found = PyDict_GetItemWithError(route->streams, layout->participant);
    if (found == NULL || !PyObject_TypeCheck(found, &StreamType)) return NULL;
    Stream *stream = (Stream *)found;
    if ((stream->held != NULL && stream->held != Py_None) || stream->place == NULL) return NULL;
    if (!PyObject_TypeCheck(stream->place, &PlaceType)) return NULL;
    Place *place = (Place *)stream->place;
    if (place->axis == NULL || place->window == NULL) return NULL;
    if (!PyObject_TypeCheck(place->axis, &AxisType)) return NULL;
    if (stream->index < 0 || stream->index > UINT16_MAX) return NULL;
    return place->seq >= 0 && place->seq < UINT32_MAX ? stream : NULL;
}

/* Append the frame of a packet. 0 or -1. */
static int append(const Route *route, const Stream *stream, int silent, int64_t stamp, PyObject *pcm) {
    const Place *place = (const Place *)stream->place;
    Py_ssize_t size = PyBytes_GET_SIZE(pcm);
    Head head = {KIND_AUDIO, silent ? FLAG_SILENT : 0, (uint16_t)stream->index, (uint32_t)size,
                 route->session, (uint32_t)place->seq, (uint32_t)(size / 2), stamp, place->position};
    PyObject *packed = PyBytes_FromStringAndSize((const char *)&head, sizeof head);
    if (packed == NULL) return -1;
    int failed = append_both(route->heads, packed, route->payloads, pcm);
    Py_DECREF(packed);
    return failed;
}

/* One payload, whose stream's window of deviations is at hand. As `take_one`. */
static int place_one(const Payload *payload, Route *route, const Layout *layout, Stream *stream, int64_t *window) {
    Place *place = (Place *)stream->place;
    Axis *axis = (Axis *)place->axis;
    int64_t stamp = stamp_us(payload, layout->stamp, layout->stamp_end), deviation_us;
    if (!stamp || !is_contiguous(place, axis, stamp, &deviation_us)) return 0;
    PyObject *pcm = pcm_of(payload, layout->data, layout->data_end);
    if (pcm == NULL) return PyErr_Occurred() ? -1 : 0;
    Py_ssize_t size = PyBytes_GET_SIZE(pcm);
    int failed = append(route, stream, layout->silent, stamp, pcm);
    Py_DECREF(pcm);
    if (failed) return -1;
    move_on(place, axis, window, deviation_us, size / 2);
    stream->silent += layout->silent;
    route->room -= size + FRAME_HEAD;
    return 1;
}

/* One payload. 1: a frame of `*last` was appended; 0: it is not the usual case, and nothing has
 * changed; -1: an exception, likewise. */
static int take_one(const Payload *payload, Route *route, Stream **last) {
    Layout layout;
    int is_found = find_layout(payload, route->layouts, &layout);
    if (is_found <= 0) return is_found;
    Stream *stream = usual_stream(route, &layout);
    if (stream == NULL) return PyErr_Occurred() ? -1 : 0;
    Py_buffer window;
    if (PyObject_GetBuffer(((Place *)stream->place)->window, &window, PyBUF_WRITABLE)) return -1;
    int is_whole = window.len == WINDOW * (Py_ssize_t)sizeof(int64_t);
    int is_taken = is_whole ? place_one(payload, route, &layout, stream, window.buf) : 0;
    PyBuffer_Release(&window);
    if (is_taken > 0) *last = stream;
    return is_taken;
}

/* The payload of a whole frame of the lane's shape at `at`; 0 where there is none. */
static int lane_frame(const Py_buffer *data, Py_ssize_t at, Py_ssize_t most, Payload *payload) {
    const uint8_t *bytes = (const uint8_t *)data->buf + at;
    if (data->len - at <= LANE_HEAD || bytes[0] != 0x81 || bytes[1] != 0xFE) return 0;
    payload->length = bytes[2] << 8 | bytes[3];
    payload->bytes = bytes + LANE_HEAD;
    memcpy(payload->mask, bytes + 4, 4);
    return payload->length <= most && payload->length <= data->len - at - LANE_HEAD;
}

PyDoc_STRVAR(take_doc,
    "take(data, at, bytes_max, layouts, streams, session, heads, payloads, room)\n"
    "    -> (at, packets, room, stream)\n\n"
    "Append the frames of usual packets from `data[at:]` on, until one is not, or room is used up.\n"
    "Returns where it ended, how many packets there were, the room left and the last one's stream.");

static PyObject *take(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 9 || !PyDict_Check(args[3]) || !PyDict_Check(args[4]) || !PyList_Check(args[6]) ||
        !PyList_Check(args[7]))
        return PyErr_Format(PyExc_TypeError, "take() has other arguments");
    Py_ssize_t at = PyLong_AsSsize_t(args[1]), most = PyLong_AsSsize_t(args[2]), packets = 0;
    Route route = {args[3], args[4], args[6], args[7], PyLong_AsUnsignedLongLong(args[5]),
                   PyLong_AsSsize_t(args[8])};
    Py_buffer data;
    if (PyErr_Occurred() || PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE)) return NULL;
    Stream *last = NULL;
    Payload payload;
    int is_taken = at >= 0;
    while (is_taken > 0 && route.room > 0 && lane_frame(&data, at, most, &payload)) {
        is_taken = take_one(&payload, &route, &last);
        if (is_taken > 0) {
            packets++;
            at += LANE_HEAD + payload.length;
        }
    }
    PyBuffer_Release(&data);
    if (is_taken < 0) return NULL;
    return Py_BuildValue("(nnnO)", at, packets, route.room, last ? (PyObject *)last : Py_None);
}

static PyMethodDef methods[] = {
    {"take", (PyCFunction)(void (*)(void))take, METH_FASTCALL, take_doc}, {NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_kernel", "The usual packet, from bytes to a frame.", -1, methods};

PyMODINIT_FUNC PyInit__kernel(void) {
    make_tables();
    PyObject *made = PyModule_Create(&module);
    if (made == NULL || PyModule_AddType(made, &AxisType) || PyModule_AddType(made, &PlaceType) ||
        PyModule_AddType(made, &StreamType) || PyModule_AddIntConstant(made, "NEAR_US", NEAR_US) ||
        PyModule_AddIntConstant(made, "WINDOW", WINDOW)) {
        Py_XDECREF(made);
        return NULL;
    }
    return made;
}
