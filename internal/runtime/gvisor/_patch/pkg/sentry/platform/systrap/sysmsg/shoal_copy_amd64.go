package sysmsg

import "bytes"

// byteByByte is the memcpy of SighandlerBlob. The handler of signals copies the processor's state
// by it, some kilobytes for each fault and for each system call that is not patched.
var byteByByte = []byte{
	0xf3, 0x0f, 0x1e, 0xfa, // endbr64
	0x48, 0x85, 0xd2, // test rdx, rdx
	0x74, 0x17, // je to ret
	0x31, 0xc0, // xor eax, eax
	0x0f, 0x1f, 0x44, 0x00, 0x00, // nop
	0x0f, 0xb6, 0x0c, 0x06, // movzx ecx, byte [rsi+rax]
	0x88, 0x0c, 0x07, // mov [rdi+rax], cl
	0x48, 0x83, 0xc0, 0x01, // add rax, 1
	0x48, 0x39, 0xc2, // cmp rdx, rax
	0x75, 0xf0, // jne to movzx
	0xc3, // ret
}

// asAWhole copies the same by one instruction, and leaves the same registers as they were.
var asAWhole = []byte{
	0xf3, 0x0f, 0x1e, 0xfa, // endbr64
	0x57,             // push rdi
	0x56,             // push rsi
	0x48, 0x89, 0xd1, // mov rcx, rdx
	0x48, 0x89, 0xd0, // mov rax, rdx
	0xf3, 0xa4, // rep movsb; signals are handled with the direction flag clear
	0x5e, // pop rsi
	0x5f, // pop rdi
	0xc3, // ret
}

// CopyAsAWhole replaces the memcpy in a copy of SighandlerBlob, and says whether it was there.
func CopyAsAWhole(blob []byte) bool {
	at := bytes.Index(blob, byteByByte)
	if at < 0 {
		return false
	}
	copy(blob[at:], asAWhole)
	return true
}
