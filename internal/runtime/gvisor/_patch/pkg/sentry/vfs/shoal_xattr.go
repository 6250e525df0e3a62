package vfs

import (
	"strings"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/sentry/kernel/auth"
)

// CheckXattrFilePermissions checks what access to an extended attribute needs of the file's own
// permissions. To read what is the system's needs none (fs/xattr.c:xattr_permission), so that
// `ls -l` can ask for security.selinux of files that its user may not read.
func CheckXattrFilePermissions(creds *auth.Credentials, ats AccessTypes, mode linux.FileMode, acl *PosixACL, kuid auth.KUID, kgid auth.KGID, name string) error {
	if !ats.MayWrite() && (strings.HasPrefix(name, linux.XATTR_SECURITY_PREFIX) ||
		strings.HasPrefix(name, linux.XATTR_TRUSTED_PREFIX)) {
		return nil
	}
	return GenericCheckPermissions(creds, ats, mode, acl, kuid, kgid)
}
