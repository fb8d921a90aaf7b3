/* A stand-in for HALCON's header of that name, so that examples/halcon can be compiled and run without HALCON.
 *
 * It has the part of the documented extension package interface that adflow uses, written from knowledge of the names, the order of
 * parameters and what they mean. It is not HALCON's header and no part of it: sizes and numbers may differ, which is fine for
 * sources that are compiled against the one or the other. double.cpp is what stands behind it. */
#ifndef HALCON_DOUBLE_H
#define HALCON_DOUBLE_H

#include <stddef.h>
#include <stdint.h>

typedef unsigned int Herror;
typedef int64_t INT4_8;
typedef int32_t HIMGDIM;
typedef int32_t HIMGCOOR;
typedef int32_t HITEMCNT;
typedef void *Hproc_handle; /* a running operator */
typedef void *Hkey;         /* an object of the database */

enum { H_MSG_OK = 2, H_MSG_TRUE = 2, H_MSG_FAIL = 5 };

/* Pixel types of a channel. */
enum { BYTE_IMAGE = 1, INT4_IMAGE = 2, FLOAT_IMAGE = 4, INT2_IMAGE = 512, UINT2_IMAGE = 1024 };

/* One channel. */
typedef struct Himage {
    int kind;
    union {
        uint8_t *b;
        float *f;
        int32_t *l;
        struct {
            uint16_t *p;
            int8_t num_bits;
        } u;
        struct {
            int16_t *p;
            int8_t num_bits;
        } s;
    } pixel;
    HIMGDIM width, height;
} Himage;

/* A run of a region: a row, its first and its last column. */
typedef struct Hrun {
    HIMGCOOR l, cb, ce;
} Hrun;

typedef struct Hrlregion {
    bool is_compl;
    HITEMCNT num, num_max;
    Hrun *rl;
} Hrlregion;

/* One value of a control parameter. */
enum { LONG_PAR = 1, DOUBLE_PAR = 2, STRING_PAR = 4, HANDLE_PAR = 16 };

typedef struct Hcpar {
    union {
        INT4_8 l;
        double d;
        char *s;
        void *h;
    } par;
    int type;
} Hcpar;

/* A type of handles. */
typedef struct HHandleInfo {
    INT4_8 type_id;
    const char *sem_type;
    Herror (*cb_clear)(Hproc_handle, void *);
} HHandleInfo;

#define HANDLE_INFO_INITIALIZER_NOSER(TYPE_ID, SEM_TYPE, CLEAR, SIGNAL, LIST) {(INT4_8)(TYPE_ID), (SEM_TYPE), (CLEAR)}

#define HUserExport __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

Herror HPGetObj(Hproc_handle ph, int parameter, INT4_8 number, Hkey *object);
Herror HPGetObjNum(Hproc_handle ph, int parameter, INT4_8 *count);
Herror HPNumOfChannels(Hproc_handle ph, int parameter, INT4_8 number, int *count);
Herror HPGetDImage(Hproc_handle ph, Hkey object, int channel, Himage *image);
Herror HPGetFDRL(Hproc_handle ph, Hkey object, Hrlregion **domain);
Herror HPCrObj(Hproc_handle ph, int parameter, Hkey *object);
Herror HPPutDRL(Hproc_handle ph, Hkey object, Hrlregion *region, Hkey *key);
Herror HPPutDImage(Hproc_handle ph, Hkey object, int channel, Himage *image, bool copy, Hkey *key);
Herror HNewImage(Hproc_handle ph, Himage *image, int kind, HIMGDIM width, HIMGDIM height);
Herror HFreeImage(Hproc_handle ph, Himage *image);
Herror HPGetPPar(Hproc_handle ph, int parameter, const Hcpar **values, INT4_8 *count);
Herror HPPutElem(Hproc_handle ph, int parameter, const void *values, INT4_8 count, int type);
Herror HPGetPElemH(Hproc_handle ph, int parameter, const HHandleInfo *type, INT4_8 count, void **data, INT4_8 *found, bool many);
Herror HXAllocOutputHandle(Hproc_handle ph, int parameter, void ***place, const HHandleInfo *type);
Herror HSetErrText(char *text);

#ifdef __cplusplus
}
#endif

/* Statements that return from the supply procedure if the call has failed. */
#define HCkP(CALL)                                        \
    do {                                                  \
        const Herror herror_ = (CALL);                    \
        if (herror_ != H_MSG_OK) return herror_;          \
    } while (0)

#define HGetObj(PH, PARAMETER, NUMBER, OBJECT) HCkP(HPGetObj(PH, PARAMETER, NUMBER, OBJECT))
#define HGetObjNum(PH, PARAMETER, COUNT) HCkP(HPGetObjNum(PH, PARAMETER, COUNT))
#define HGetDImage(PH, OBJECT, CHANNEL, IMAGE) HCkP(HPGetDImage(PH, OBJECT, CHANNEL, IMAGE))
#define HGetFDRL(PH, OBJECT, DOMAIN_) HCkP(HPGetFDRL(PH, OBJECT, DOMAIN_))
#define HCrObj(PH, PARAMETER, OBJECT) HCkP(HPCrObj(PH, PARAMETER, OBJECT))
#define HPutDRL(PH, OBJECT, REGION, KEY) HCkP(HPPutDRL(PH, OBJECT, REGION, KEY))
#define HPutDImage(PH, OBJECT, CHANNEL, IMAGE, COPY, KEY) HCkP(HPPutDImage(PH, OBJECT, CHANNEL, IMAGE, COPY, KEY))
#define HGetPPar(PH, PARAMETER, VALUES, COUNT) HCkP(HPGetPPar(PH, PARAMETER, VALUES, COUNT))
#define HPutElem(PH, PARAMETER, VALUES, COUNT, TYPE) HCkP(HPPutElem(PH, PARAMETER, VALUES, COUNT, TYPE))
#define HGetCElemH1(PH, PARAMETER, TYPE, DATA) HCkP(HPGetPElemH(PH, PARAMETER, TYPE, 1, (void **)(DATA), NULL, false))
#define HAllocOutputHandle(PH, PARAMETER, PLACE, TYPE) HXAllocOutputHandle(PH, PARAMETER, (void ***)(PLACE), TYPE)

#endif
