#include "textflag.h"

// func callVDSO(function uintptr, clock int64, time *[2]int64)
TEXT ·callVDSO(SB), NOSPLIT, $256-24
	MOVQ function+0(FP), AX
	MOVQ clock+8(FP), DI
	MOVQ time+16(FP), SI
	MOVQ SP, R12 // C functions keep it
	ANDQ $~15, SP
	CALL AX
	MOVQ R12, SP
	RET
