package api

import (
	"testing"

	"shoal/internal/shoal"
)

// TestRetryAdvice: SDKs repeat some statuses by themselves, so each kind of error with one of
// them, or with one that may pass by itself, has a decision here.
func TestRetryAdvice(t *testing.T) {
	decided := map[*shoal.Kind]advice{
		shoal.ErrSandboxState:          retrySoon,
		shoal.ErrIdempotencyInProgress: retrySoon,

		shoal.ErrConcurrencyLimit:    neverRetry,
		shoal.ErrSandboxLimit:        neverRetry,
		shoal.ErrBuildLimit:          neverRetry,
		shoal.ErrKeptLimit:           neverRetry,
		shoal.ErrTagLimit:            neverRetry,
		shoal.ErrWebhookLimit:        neverRetry,
		shoal.ErrWebhookDisabled:     neverRetry, // it stays so until somebody enables it
		shoal.ErrStorageLimit:        neverRetry,
		shoal.ErrNoNode:              neverRetry,
		shoal.ErrPlacementTimeout:    neverRetry, // the start may have happened
		shoal.ErrIdempotencyUnknown:  neverRetry,
		shoal.ErrDaemonSilent:        neverRetry,
		shoal.ErrResumeTimeout:       neverRetry, // it goes on
		shoal.ErrRequestTime:         neverRetry, // it may go on
		shoal.ErrStoreLost:           neverRetry, // it may be done
		shoal.ErrKeyLimit:            neverRetry,
		shoal.ErrSignInTries:         neverRetry,
		shoal.ErrTokenLimit:          neverRetry,
		shoal.ErrServiceAccountLimit: neverRetry,
		shoal.ErrTemplateLimit:       neverRetry,
		shoal.ErrSecretLimit:         neverRetry,
		shoal.ErrSecretExists:        neverRetry,
		shoal.ErrSecretTime:          neverRetry, // it may be done
		shoal.ErrVolumeLimit:         neverRetry,

		// Nothing was done, and the next moment may be better.
		shoal.ErrCapacity:           byStatus,
		shoal.ErrNodeUnreachable:    byStatus, // what it may have started is ended
		shoal.ErrNetworkExhausted:   byStatus,
		shoal.ErrUnavailable:        byStatus,
		shoal.ErrStoreAway:          byStatus,
		shoal.ErrSandboxUnreachable: byStatus,
		shoal.ErrSealCommand:        byStatus,
		shoal.ErrVolumeUnavailable:  byStatus,
		shoal.ErrRequestRate:        byStatus, // Retry-After says when
		shoal.ErrCreateRate:         byStatus,
		shoal.ErrSourceRate:         byStatus,
		// Final by their status.
		shoal.ErrTierExists:           byStatus,
		shoal.ErrTierInUse:            byStatus,
		shoal.ErrSwitchFixed:          byStatus,
		shoal.ErrSandboxPaused:        byStatus,
		shoal.ErrSandboxRunning:       byStatus,
		shoal.ErrSnapshotSilent:       byStatus,
		shoal.ErrStartInFlight:        byStatus, // a repeat would find it running, with its memory
		shoal.ErrTemplateNameTaken:    byStatus,
		shoal.ErrServiceAccountExists: byStatus,
		// Not answers of the API.
		shoal.ErrSignInIssuer:         byStatus,
		shoal.ErrSignInBusy:           byStatus,
		shoal.ErrForeignStore:         byStatus,
		shoal.ErrSuspiciousStore:      byStatus,
		shoal.ErrDatabaseUnreachable:  byStatus,
		shoal.ErrDatabaseNotEmpty:     byStatus,
		shoal.ErrBackupExists:         byStatus,
		shoal.ErrLogRate:              byStatus,
		shoal.ErrSandboxRequests:      byStatus,
		shoal.ErrTeamRequests:         byStatus,
		shoal.ErrProxyBusy:            byStatus,
		shoal.ErrLookupLimit:          byStatus,
		shoal.ErrTransformFill:        byStatus,
		shoal.ErrTransformCertificate: byStatus,
		shoal.ErrTransformServer:      byStatus,
		shoal.ErrTransformPinned:      byStatus,
		shoal.ErrFillUnavailable:      byStatus,
	}
	for _, kind := range shoal.Catalogue {
		want, known := decided[kind]
		switch kind.Status {
		case 409, 429, 502, 503, 504:
			if !known {
				t.Errorf("%s: may SDKs repeat it?", kind.Code)
			}
		}
		if got := retryAdvice(kind); got != want {
			t.Errorf("%s: advice %d, want %d", kind.Code, got, want)
		}
	}
}
