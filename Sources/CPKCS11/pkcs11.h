// The part of PKCS #11 v2.40 (OASIS) that finding a key and signing with it takes.
// Names and numbers are the standard's; the text is ours. A token's module is loaded at run time.
#pragma once

typedef unsigned char CK_BYTE;
typedef unsigned long CK_ULONG;
typedef CK_ULONG CK_RV;
typedef CK_ULONG CK_SLOT_ID;
typedef CK_ULONG CK_SESSION_HANDLE;
typedef CK_ULONG CK_OBJECT_HANDLE;

typedef struct { CK_ULONG type; void *pValue; CK_ULONG ulValueLen; } CK_ATTRIBUTE;
typedef struct { CK_ULONG mechanism; void *pParameter; CK_ULONG ulParameterLen; } CK_MECHANISM;
typedef struct { CK_ULONG hashAlg; CK_ULONG mgf; CK_ULONG sLen; } CK_RSA_PKCS_PSS_PARAMS;
typedef struct { CK_BYTE major; CK_BYTE minor; } CK_VERSION;

typedef struct {
    CK_BYTE label[32];
    CK_BYTE manufacturerID[32];
    CK_BYTE model[16];
    CK_BYTE serialNumber[16];
    CK_ULONG flags;
    CK_ULONG counts[10];
    CK_VERSION hardwareVersion;
    CK_VERSION firmwareVersion;
    CK_BYTE utcTime[16];
} CK_TOKEN_INFO;

typedef void (*CK_UNUSED)(void);

// Every entry is a pointer; those that are not called here keep their place only.
typedef struct {
    CK_VERSION version;
    CK_RV (*C_Initialize)(void *);
    CK_RV (*C_Finalize)(void *);
    CK_UNUSED getInfo, getFunctionList;
    CK_RV (*C_GetSlotList)(CK_BYTE tokenPresent, CK_SLOT_ID *, CK_ULONG *);
    CK_UNUSED getSlotInfo;
    CK_RV (*C_GetTokenInfo)(CK_SLOT_ID, CK_TOKEN_INFO *);
    CK_UNUSED getMechanismList, getMechanismInfo, initToken, initPIN, setPIN;
    CK_RV (*C_OpenSession)(CK_SLOT_ID, CK_ULONG flags, void *, void *, CK_SESSION_HANDLE *);
    CK_RV (*C_CloseSession)(CK_SESSION_HANDLE);
    CK_UNUSED closeAllSessions, getSessionInfo, getOperationState, setOperationState;
    CK_RV (*C_Login)(CK_SESSION_HANDLE, CK_ULONG user, CK_BYTE *pin, CK_ULONG length);
    CK_RV (*C_Logout)(CK_SESSION_HANDLE);
    CK_UNUSED createObject, copyObject, destroyObject, getObjectSize;
    CK_RV (*C_GetAttributeValue)(CK_SESSION_HANDLE, CK_OBJECT_HANDLE, CK_ATTRIBUTE *, CK_ULONG count);
    CK_UNUSED setAttributeValue;
    CK_RV (*C_FindObjectsInit)(CK_SESSION_HANDLE, CK_ATTRIBUTE *, CK_ULONG count);
    CK_RV (*C_FindObjects)(CK_SESSION_HANDLE, CK_OBJECT_HANDLE *, CK_ULONG room, CK_ULONG *found);
    CK_RV (*C_FindObjectsFinal)(CK_SESSION_HANDLE);
    CK_UNUSED encrypt[4], decrypt[4], digest[5];
    CK_RV (*C_SignInit)(CK_SESSION_HANDLE, CK_MECHANISM *, CK_OBJECT_HANDLE);
    CK_RV (*C_Sign)(CK_SESSION_HANDLE, CK_BYTE *data, CK_ULONG length, CK_BYTE *signature, CK_ULONG *room);
} CK_FUNCTION_LIST;

typedef CK_RV (*CK_GET_FUNCTION_LIST)(CK_FUNCTION_LIST **);

enum {
    CKR_OK_ = 0x0,
    CKR_PIN_INCORRECT_ = 0xA0,
    CKR_USER_ALREADY_LOGGED_IN_ = 0x100,
    CKR_ALREADY_INITIALIZED_ = 0x191,
    CKU_USER_ = 1,
    CKF_SERIAL_SESSION_ = 0x4,
    CKO_PUBLIC_KEY_ = 2,
    CKO_PRIVATE_KEY_ = 3,
    CKK_RSA_ = 0,
    CKK_EC_ = 3,
    CKA_CLASS_ = 0x0,
    CKA_LABEL_ = 0x3,
    CKA_KEY_TYPE_ = 0x100,
    CKA_MODULUS_ = 0x120,
    CKA_PUBLIC_EXPONENT_ = 0x122,
    CKA_EC_PARAMS_ = 0x180,
    CKA_EC_POINT_ = 0x181,
    CKM_SHA256_ = 0x250,
    CKM_SHA256_RSA_PKCS_PSS_ = 0x43,
    CKM_ECDSA_ = 0x1041,
    CKG_MGF1_SHA256_ = 2,
};
